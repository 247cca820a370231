package apitoken

import (
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

// A change of a site has the Secret of each of its APITokens read once, as docs/reference/performance.md says, also while the
// controller starts.
func TestChangeOfASiteAtTheStartHasSecretsRead(t *testing.T) {
	c := newCrowd(t, 3)
	c.reconciler.found = &found{names: map[types.NamespacedName]struct{}{}}
	for _, name := range c.names {
		c.reconciler.found.add(name)
	}
	var before tokensv1alpha1.AtlassianSite
	c.must(c.cache.Get(t.Context(), client.ObjectKey{Namespace: "jira", Name: "main"}, &before))
	now := before.DeepCopy()
	now.Generation, now.Spec.BaseURL = 2, "https://issues.example"
	c.put(now)
	if !c.reconciler.siteChanged().Update(event.UpdateEvent{ObjectOld: &before, ObjectNew: now}) {
		t.Fatal("the change of a site leads to no pass")
	}
	var token tokensv1alpha1.APIToken
	c.must(c.cache.Get(t.Context(), c.names[0], &token))
	read := 0
	c.live.read = func(client.ObjectKey) { read++ }
	defer func() {
		_ = recover() // the memory panics at the write that repairs the Secret
		if read == 0 {
			t.Error("the Secret keeps the URL of the site before: nobody read it")
		}
	}()
	_, _ = c.reconciler.Reconcile(t.Context(), &token)
}
