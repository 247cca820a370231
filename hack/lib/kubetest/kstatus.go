package kubetest

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

// Status reads a stored APIToken or AtlassianSite and returns its status as Flux, Argo CD and kpt see it.
func (e *Env) Status(t *testing.T, object client.Object) status.Status {
	t.Helper()
	stored := &unstructured.Unstructured{}
	stored.SetGroupVersionKind(tokensv1alpha1.GroupVersion.WithKind(kindOf(object)))
	must(t, e.Admin.Get(t.Context(), client.ObjectKeyFromObject(object), stored))
	result, err := status.Compute(stored)
	must(t, err)
	return result.Status
}
