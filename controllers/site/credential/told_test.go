package credential

import (
	"context"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/upstream"
)

// refusing is a product that accepts no personal access token.
type refusing struct{ Product }

func (refusing) WhoAmI(context.Context, atlassian.Upstream, atlassian.Credential) (atlassian.User, error) {
	return atlassian.User{}, atlassian.ErrRefused
}

// A user with API tokens is told that their personal access token is not in use, however old it is, and from wherever it came.
// No other user is.
func TestOwnersAreTold(t *testing.T) {
	troubles := map[string]func(*upstream.Credential){
		"refused":             func(c *upstream.Credential) { c.Refused = time.Now().Add(-time.Minute).UTC() },
		"for another product": func(c *upstream.Credential) { c.Origin = "https://elsewhere.example" },
	}
	for what, trouble := range troubles {
		for _, source := range []upstream.Source{upstream.Enrolled, upstream.Pasted} {
			for _, age := range []time.Duration{time.Minute, 2 * settlePeriod, pastedPeriod - time.Hour, 2 * pastedPeriod} {
				c := upstream.Credential{
					Namespace: "dev", Site: "main", User: "alice", Origin: here, Token: "x", Source: source, Stored: time.Now().Add(-age).UTC(),
				}
				if source == upstream.Enrolled {
					c.ID = 7
				}
				trouble(&c)
				name := fmt.Sprintf("%s, %s, %s", what, source, age)
				if !told(t, c, true) {
					t.Errorf("%s: the owner is not told", name)
				}
				if !outlives(c, time.Now()) && told(t, c, false) { // else it ends
					t.Errorf("%s: a user without an API token is told", name)
				}
			}
		}
	}
}

// told makes a pass over a site with a working copy, and reports whether its user is told something. They may have an APIToken.
func told(t *testing.T, c upstream.Credential, owned bool) bool {
	t.Helper()
	k, s := slowSite(0, refusing{})
	if err := k.store(t.Context(), c, nil); err != nil {
		t.Fatal(err)
	}
	if owned {
		token := &tokensv1alpha1.APIToken{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: "ci"}}
		token.Spec.SiteRef.Name, token.Spec.User = s.Name, c.User
		if err := k.Client.Create(t.Context(), token); err != nil {
			t.Fatal(err)
		}
	}
	found, err := k.Reconcile(t.Context(), s, &atlassian.Upstream{Product: atlassian.Jira, URL: here})
	if err != nil {
		t.Fatal(err)
	}
	return len(found.Rejections) == 1 && found.Rejections[0].User == c.User
}
