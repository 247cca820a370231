package rest_test

import (
	"net/http"
	"strings"
	"testing"

	"apitokens.dev/operator/hack/lib/portaltest"
)

const expectedUser = "X-Api-Token-Expected-User"

// A page of the product says in each request whose it is. It stays open when somebody else signs in, and then nothing is done or shown.
func TestExpectedUser(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		carol := session(t, w, "carol")
		id, text := carol.create(`{"label":"stays"}`)
		for path, methods := range described().paths() {
			for method := range methods.(map[string]any) {
				if security, _ := described().at("paths", path, method, "security"); security != nil || method == "parameters" {
					continue // nobody has to be signed in
				}
				target := strings.Replace(path, "{id}", id, 1)
				if path == "/admin/tokens" {
					target += "?user=carol"
				}
				body := ""
				if method == "post" && path == "/" {
					body = `{"label":"made for another user"}`
				}
				for _, named := range []string{"alice", "c%61rl", "", "carol x"} {
					refused := carol.expect(http.StatusConflict, strings.ToUpper(method), target, body, expectedUser, named)
					if !refused.says(t, w, "", "You are signed in as carol now, and this page was made for another user. Nothing was done.") {
						t.Errorf("%s %s for %q: %s", method, path, named, refused.body)
					}
				}
				carol.expect(http.StatusBadRequest, strings.ToUpper(method), target, body, expectedUser, "carol%")
			}
		}
		for _, named := range []string{"carol", "CAROL", "c%61rol"} {
			if got := carol.expect(http.StatusOK, http.MethodGet, "/", "", expectedUser, named); strings.Count(got.body, `"id"`) != 1 || !strings.Contains(got.body, id) {
				t.Errorf("for %q: %s", named, got.body)
			}
		}
		// Each of several counts, and an API token is its owner's.
		carol.as.Set(expectedUser, "carol")
		carol.as.Add(expectedUser, "alice")
		carol.expect(http.StatusConflict, http.MethodDelete, "/all", "")
		script := carol.withToken("carol", text)
		script.expect(http.StatusConflict, http.MethodDelete, "/"+id, "", expectedUser, "alice")
		script.expect(http.StatusNoContent, http.MethodDelete, "/"+id, "", expectedUser, "carol")
	})
}
