package kubetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

// Malform sets a field in the spec of a stored APIToken or AtlassianSite to a value that the schema refuses. For that time it
// removes the rules of the field from the CRD.
func (e *Env) Malform(t *testing.T, object client.Object, field string, value any) {
	t.Helper()
	e.crds.Lock()
	defer e.crds.Unlock()
	kind := kindOf(object)
	crd := &unstructured.Unstructured{}
	crd.SetAPIVersion("apiextensions.k8s.io/v1")
	crd.SetKind("CustomResourceDefinition")
	must(t, e.Admin.Get(t.Context(), client.ObjectKey{Name: strings.ToLower(kind) + "s.apitokens.dev"}, crd))
	rules := crd.DeepCopy()

	const spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec"
	must(t, e.Admin.Patch(t.Context(), crd, client.RawPatch(types.JSONPatchType, []byte(`[
		{"op": "remove", "path": "`+spec+`/x-kubernetes-validations"},
		{"op": "add", "path": "`+spec+`/properties/`+field+`", "value": {"x-kubernetes-preserve-unknown-fields": true}}
	]`))))
	stored := &unstructured.Unstructured{}
	stored.SetGroupVersionKind(tokensv1alpha1.GroupVersion.WithKind(kind))
	stored.SetNamespace(object.GetNamespace())
	stored.SetName(object.GetName())
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{field: value}})
	must(t, err)
	send := func(options ...client.PatchOption) error {
		return e.Admin.Patch(t.Context(), stored.DeepCopy(), client.RawPatch(types.MergePatchType, patch), options...)
	}
	Eventually(t, func() error { return send() })

	rules.SetResourceVersion(crd.GetResourceVersion())
	must(t, e.Admin.Update(t.Context(), rules))
	// The schema ignores a wrong value that does not change, so try with another one.
	patch, err = json.Marshal(map[string]any{"spec": map[string]any{field: "tomorrow"}})
	must(t, err)
	Eventually(t, func() error {
		if err := send(client.DryRunAll); err == nil || !strings.Contains(err.Error(), field) {
			return fmt.Errorf("the rules of %s do not apply yet: %w", field, errors.Join(err))
		}
		return nil
	})
}

func kindOf(object client.Object) string {
	if _, ok := object.(*tokensv1alpha1.AtlassianSite); ok {
		return "AtlassianSite"
	}
	return "APIToken"
}
