package rest_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"apitokens.dev/operator/hack/lib/kubetest"
)

// An API token that cannot be decoded is not listed, and the others are created, listed and revoked as before.
func TestMalformedTokenCostsOnlyItself(t *testing.T) {
	w := env.Jira(t)
	alice := session(t, w, "alice")
	id := func() string {
		return alice.expect(http.StatusCreated, "POST", "/", `{"label":"CI scripts"}`).text(t, "id")
	}
	malformed, sound := id(), id()
	env.Malform(t, apiToken(t, w, malformed), "expirationTime", "2027-06-30t00:00:00z")
	kubetest.Eventually(t, func() error {
		if list := alice.expect(http.StatusOK, "GET", "/", "").body; strings.Contains(list, malformed) || !strings.Contains(list, sound) {
			return errors.New(list)
		}
		return nil
	})
	later := id()
	alice.expect(http.StatusNoContent, "DELETE", "/"+sound, "")
	if list := alice.expect(http.StatusOK, "GET", "/", "").body; strings.Contains(list, sound) || !strings.Contains(list, later) {
		t.Errorf("the list is %s", list)
	}
	session(t, w, "bob").expect(http.StatusCreated, "POST", "/", `{"label":"CI scripts"}`)
}
