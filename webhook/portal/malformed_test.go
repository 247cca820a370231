package portal_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/hack/lib/portaltest"
)

const malformedTime = "2027-06-30t00:00:00z"

// status sends a request of a user to the REST API and returns the status of the answer.
func status(t *testing.T, w *portaltest.World, method, path string, header http.Header) int {
	t.Helper()
	x := exchange{method: method, target: "/rest/api-tokens/latest" + path, header: header, media: "application/json", body: `{"label":"x"}`}
	if method != http.MethodPost {
		x.body = ""
	}
	response, _ := x.send(t, w)
	return response.StatusCode
}

// An APIToken that cannot be decoded does not authenticate, and affects no other one. Its owner sees it. Revoking all of a user's
// tokens deletes it: corrected, it would authenticate again.
func TestMalformedAPIToken(t *testing.T) {
	w := env.Jira(t)
	_, text := create(t, w, "bob")
	var list tokensv1alpha1.APITokenList
	must(t, env.Admin.List(t.Context(), &list, client.InNamespace(w.Site.Namespace)))
	malformed := &list.Items[0]
	restore := env.MalformToken(t, w, malformed, "expirationTime", malformedTime)
	restore()
	basic := http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte("bob:"+text))}}
	kubetest.Eventually(t, func() error {
		if got := status(t, w, "GET", "/", basic); got != http.StatusUnauthorized {
			return fmt.Errorf("the malformed token: %d", got)
		}
		return nil
	})
	for _, user := range []string{"alice", "bob"} {
		id, _ := create(t, w, user)
		if all := call(t, w, "GET", "/rest/api-tokens/latest/", "", session(w, user)); !strings.Contains(all, id) || strings.Contains(all, text[:20]) != (user == "bob") {
			t.Errorf("the tokens of %s are %s", user, all)
		}
	}
	if got := status(t, w, "DELETE", "/all", session(w, "bob")); got != http.StatusNoContent {
		t.Errorf("revoking all: %d", got)
	}
	if err := env.Admin.Get(t.Context(), client.ObjectKeyFromObject(malformed), malformed); !apierrors.IsNotFound(err) {
		t.Errorf("the malformed APIToken is still there: %v", err)
	}
}

// An AtlassianSite that cannot be decoded is not served, and affects no other one.
func TestMalformedSite(t *testing.T) {
	w, other := env.Jira(t), env.Jira(t)
	create(t, w, "alice")
	env.Malform(t, w.Site, "issuedAfter", malformedTime)
	kubetest.Eventually(t, func() error {
		if got := status(t, w, "GET", "/", session(w, "alice")); got != http.StatusServiceUnavailable {
			return fmt.Errorf("the malformed site: %d", got)
		}
		return nil
	})
	create(t, other, "alice")
}
