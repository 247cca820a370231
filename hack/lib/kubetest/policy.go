package kubetest

import (
	"context"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// WithoutPolicy removes the binding of an admission policy until the test ends. It returns when probe, a request that the
// policy refuses, succeeds.
func (e *Env) WithoutPolicy(t *testing.T, name string, probe func() error) {
	t.Helper()
	binding := &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: name}}
	must(t, e.Admin.Get(t.Context(), client.ObjectKeyFromObject(binding), binding))
	must(t, e.Admin.Delete(t.Context(), binding.DeepCopy()))
	t.Cleanup(func() {
		binding.ResourceVersion, binding.UID = "", ""
		must(t, e.Admin.Create(context.Background(), binding))
	})
	Eventually(t, probe)
}
