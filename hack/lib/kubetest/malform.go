package kubetest

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

// Malform sets a field in the spec of a stored APIToken or AtlassianSite to a value that the schema refuses. It removes the
// rules of the field from the CRD, until the test ends or calls restore. Tests that call it are not parallel.
func (e *Env) Malform(t *testing.T, object client.Object, field string, value any) (restore func()) {
	t.Helper()
	kind := kindOf(object)
	crd := &unstructured.Unstructured{}
	crd.SetAPIVersion("apiextensions.k8s.io/v1")
	crd.SetKind("CustomResourceDefinition")
	must(t, e.Admin.Get(t.Context(), client.ObjectKey{Name: strings.ToLower(kind) + "s.apitokens.dev"}, crd))
	rules := crd.DeepCopy()

	const spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec"
	must(t, e.Admin.Patch(t.Context(), crd, client.RawPatch(types.JSONPatchType, []byte(`[
		{"op": "add", "path": "`+spec+`/x-kubernetes-validations", "value": []},
		{"op": "add", "path": "`+spec+`/properties/`+field+`", "value": {"x-kubernetes-preserve-unknown-fields": true}}
	]`))))
	stored := &unstructured.Unstructured{}
	stored.SetGroupVersionKind(tokensv1alpha1.GroupVersion.WithKind(kind))
	stored.SetNamespace(object.GetNamespace())
	stored.SetName(object.GetName())
	send := func(ctx context.Context, value any, options ...client.PatchOption) error {
		patch, err := json.Marshal(map[string]any{"spec": map[string]any{field: value}})
		must(t, err)
		return e.Admin.Patch(ctx, stored.DeepCopy(), client.RawPatch(types.MergePatchType, patch), options...)
	}
	Eventually(t, func() error { return send(t.Context(), value) })
	restore = sync.OnceFunc(func() {
		ctx := context.Background()
		now := rules.DeepCopy()
		must(t, e.Admin.Get(ctx, client.ObjectKeyFromObject(rules), now))
		now.Object["spec"] = rules.Object["spec"]
		must(t, e.Admin.Update(ctx, now))
		// Another wrong value is refused as soon as the rules apply again.
		var last error
		err := wait.PollUntilContextTimeout(ctx, 10*time.Millisecond, timeout, true, func(ctx context.Context) (bool, error) {
			last = send(ctx, "tomorrow", client.DryRunAll)
			return last != nil && strings.Contains(last.Error(), field) || apierrors.IsNotFound(last), nil
		})
		if err != nil {
			t.Errorf("the rules of %s do not apply again: %v, last answer: %v", field, err, last)
		}
	})
	t.Cleanup(restore)
	return restore
}

func kindOf(object client.Object) string {
	if _, ok := object.(*tokensv1alpha1.AtlassianSite); ok {
		return "AtlassianSite"
	}
	return "APIToken"
}
