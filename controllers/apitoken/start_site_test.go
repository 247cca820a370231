package apitoken

import (
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

// A change of a site has the Secret of each of its APITokens read once, as docs/reference/performance.md says, also while the
// controller starts.
func TestChangeOfASiteAtTheStartHasSecretsRead(t *testing.T) {
	for _, listedFirst := range []bool{true, false} {
		changeSiteAtTheStart(t, listedFirst)
	}
}

// changeSiteAtTheStart has the change of the site come before the initial list of APITokens, or after it.
func changeSiteAtTheStart(t *testing.T, listedFirst bool) {
	t.Helper()
	c := newCrowd(t, 3)
	c.reconciler.found = newFound(nil)
	list := func() {
		for _, name := range c.names {
			c.reconciler.found.add(name)
		}
	}
	if listedFirst {
		list()
	}
	var site tokensv1alpha1.AtlassianSite
	c.must(c.cache.Get(t.Context(), client.ObjectKey{Namespace: "jira", Name: "main"}, &site))
	site.Spec.BaseURL = "https://issues.example"
	c.put(&site)
	if requests := c.reconciler.tokensOfSite(t.Context(), &site); len(requests) != len(c.names) {
		t.Fatalf("the change of a site leads to %d passes", len(requests))
	}
	if !listedFirst {
		list()
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
