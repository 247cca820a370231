package site

import (
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/index"
	"apitokens.dev/operator/controllers/site/credential"
	"apitokens.dev/operator/hack/lib/kubetest"
)

// The deletion of an APIToken is a reason for a pass over its site only if it was the last one of its user there.
func TestDeletionOfTheLastToken(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := tokensv1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	of := func(user, site string) *tokensv1alpha1.APIToken {
		return kubetest.Token("jira", user+"-"+site, func(t *tokensv1alpha1.APIToken) { t.Spec.User, t.Spec.SiteRef.Name = user, site })
	}
	r := &Reconciler{Memory: credential.NewMemory(), Client: fake.NewClientBuilder().WithScheme(scheme).WithObjects(of("alice", "main"), of("bob", "other")).
		WithIndex(&tokensv1alpha1.APIToken{}, index.ByOwner, index.Of(index.Keys[index.ByOwner])).Build()}
	for user, want := range map[string]int{"alice": 0, "Alice": 0, "bob": 1, "carol": 1} {
		got := r.siteOfLastToken(t.Context(), of(user, "main"))
		if len(got) != want || want == 1 && got[0] != (reconcile.Request{NamespacedName: types.NamespacedName{Namespace: "jira", Name: "main"}}) {
			t.Errorf("a deleted token of %s has passes over %v", user, got)
		}
	}
}
