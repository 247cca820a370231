package rest_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"apitokens.dev/operator/hack/lib/kubetest"
)

// An API token that cannot be decoded is listed as damaged, and the others are created, listed and revoked as before.
func TestMalformedTokenCostsOnlyItself(t *testing.T) {
	w := env.Jira(t)
	alice := session(t, w, "alice")
	id := func() string {
		return alice.expect(http.StatusCreated, "POST", "/", `{"label":"CI scripts"}`).text(t, "id")
	}
	malformed, sound := id(), id()
	env.MalformToken(t, w, apiToken(t, w, malformed), "expirationTime", "2027-06-30t00:00:00z")
	kubetest.Eventually(t, func() error {
		switch seen := alice.expect(http.StatusOK, "GET", "/"+malformed, ""); {
		case seen.text(t, "state") != "Damaged" || seen.text(t, "credential") != "Portal":
			return errors.New(seen.body)
		default:
			alice.expect(http.StatusOK, "GET", "/"+sound, "")
			return nil
		}
	})
	if refused := alice.expect(http.StatusConflict, "POST", "/"+malformed+"/rotate", ""); !refused.says(t, w, "", "damaged") {
		t.Error(refused.body)
	}
	later := id()
	alice.expect(http.StatusNoContent, "DELETE", "/"+sound, "")
	if list := alice.expect(http.StatusOK, "GET", "/", "").body; strings.Contains(list, sound) || !strings.Contains(list, later) {
		t.Errorf("the list is %s", list)
	}
	session(t, w, "bob").expect(http.StatusCreated, "POST", "/", `{"label":"CI scripts"}`)
}
