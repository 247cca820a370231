package feed_test

import (
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/authn"
)

// An object that cannot be decoded costs only itself: it does not count, and all others are followed as before, in a watch
// and from the initial list on.
func TestMalformedObjectsCostOnlyThemselves(t *testing.T) {
	for name, starts := range map[string]struct{ before, after bool }{"in a watch": {before: true}, "in the initial list": {after: true}} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			if starts.before {
				f.start()
				f.eventually(authn.ReasonAuthenticated)
			}
			sound := f.token
			f.token = f.Issue(t, "malformed", func(t *tokensv1alpha1.APIToken) { t.Spec.User = "Alice" })
			restore := env.Malform(t, f.token.APIToken, "expirationTime", "2027-06-30t00:00:00z")
			if starts.after {
				f.start()
			}
			kubetest.Eventually(t, func() error { return f.damaged("apitokens", 1) })
			f.eventually(authn.ReasonUnknownToken)

			// Once it is corrected, it counts again. Nothing else was delayed.
			must(t, env.Admin.Patch(t.Context(), f.token.APIToken, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"expirationTime":null}}`))))
			f.eventually(authn.ReasonAuthenticated)
			restore()
			env.Malform(t, f.token.APIToken, "expirationTime", "2027-06-30t00:00:00z")
			f.eventually(authn.ReasonUnknownToken)
			f.token = sound
			f.eventually(authn.ReasonAuthenticated)

			// Revocation does not wait.
			f.token.Spec.State = tokensv1alpha1.StateSuspended
			must(t, env.Admin.Update(t.Context(), f.token.APIToken))
			f.eventually(authn.ReasonSuspended)
			must(t, env.Admin.Delete(t.Context(), f.token.APIToken))
			f.eventually(authn.ReasonDeleted)
		})
	}
}

// The tokens of a site that cannot be decoded are refused until it can: nothing is known of what would revoke them.
func TestMalformedSite(t *testing.T) {
	f, other := newFixture(t), newFixture(t)
	f.start()
	f.eventually(authn.ReasonAuthenticated)
	env.Malform(t, f.Site, "issuedAfter", "2027-06-30t00:00:00z")
	f.eventually(authn.ReasonUnknownSite)
	other.index = f.index
	other.eventually(authn.ReasonAuthenticated)
}
