//go:build e2e

package e2e_test

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"apitokens.dev/operator/hack/lib/fakeproduct"
	"apitokens.dev/operator/hack/lib/rig"
)

// alice is not enrolled and creates a token with her session. Requests with it reach the product with a personal access
// token that was created in the same moment, never with the token itself. After the revocation the token is refused.
func TestMainJob(t *testing.T) {
	for _, s := range []*site{world.jira, world.wiki} {
		t.Run(s.name, func(t *testing.T) {
			if _, ok := s.held(t, "alice"); ok {
				t.Fatal("the operator has a personal access token of alice already")
			}
			alice := s.session("alice")
			before := s.product.PersonalAccessTokens("alice")
			id, text := alice.create(t, `{"label":"CI scripts"}`)
			script := s.basic("alice", text)
			script.is(t, "alice")

			held, ok := s.held(t, "alice")
			made := s.product.PersonalAccessTokens("alice")[len(before):]
			if !ok || len(made) != 1 || made[0].ID != held.ID || !strings.HasPrefix(made[0].Name, "API tokens at the ingress ") {
				t.Fatalf("the product has made %v, and the operator has number %d", made, held.ID)
			}
			s.product.Reset()
			script.is(t, "alice")
			sawOnly(t, s.product, held.Token, text)

			alice.tokens(t, http.StatusNoContent, "DELETE", "/"+id, "")
			script.isRefused(t, http.StatusUnauthorized)
		})
	}
}

// sawOnly fails unless the product received one request, with this personal access token and without the API token.
func sawOnly(t *testing.T, product *fakeproduct.Product, pat, text string) {
	t.Helper()
	seen := rig.ThroughNginx(product)
	if len(seen) != 1 || seen[0].Header.Get("Authorization") != "Bearer "+pat {
		t.Errorf("the product received %d requests, and not one with alice's own personal access token", len(seen))
	}
	for _, one := range seen {
		for name, values := range one.Header {
			if strings.Contains(strings.Join(values, " "), text) {
				t.Errorf("the product received the API token in %s", name)
			}
		}
	}
}

// Every call of the REST API, with a session, with a personal access token of the product, and with an API token.
func TestREST(t *testing.T) {
	for _, at := range []struct {
		*site

		pat string
	}{{world.jira, rig.PersonalAccessToken}, {world.wiki, rig.ConfluencePersonalAccessToken}} {
		s := at.site
		session := s.session("alice")
		_, own := session.create(t, `{"label":"brings itself"}`)
		called := map[string]bool{}
		for _, by := range []struct {
			who

			name string
		}{{session, "session"}, {s.bearer("alice", at.pat), "personal access token"}, {s.basic("alice", own), "API token"}} {
			t.Run(s.name+" by "+by.name, func(t *testing.T) { callEverything(t, by.who, by.name == "API token", called) })
		}
		t.Run(s.name+" as an administrator", func(t *testing.T) { administer(t, s, called) })
		t.Run(s.name+" all of one's own", func(t *testing.T) {
			session.call(t, called, http.StatusNoContent, "DELETE", "/all", "")
			if left := session.tokens(t, http.StatusOK, "GET", "", "").ids(t); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
			s.basic("alice", own).isRefused(t, http.StatusUnauthorized)
		})
		for _, operation := range operations {
			if !called[operation] {
				t.Errorf("%s was not called", operation)
			}
		}
	}
}

// call calls the REST API, and remembers the operation.
func (w who) call(t *testing.T, called map[string]bool, want int, method, path, body string) answer {
	t.Helper()
	parts := strings.Split(path, "/")
	for i, part := range parts {
		part, _, _ = strings.Cut(part, "?")
		if strings.HasPrefix(part, "asp_") {
			part = "{id}"
		}
		parts[i] = part
	}
	called[method+" /"+strings.TrimPrefix(strings.Join(parts, "/"), "/")] = true
	return w.tokens(t, want, method, path, body)
}

// callEverything calls every operation that is open to all users. A token may rotate only itself.
func callEverything(t *testing.T, caller who, isToken bool, called map[string]bool) {
	end := `"lifetimeDays":30`
	if isToken { // it could not rotate itself past its end
		end = `"expiresAt":` + strconv.FormatInt(time.Now().Add(30*day).UnixMilli(), 10)
	}
	made := caller.call(t, called, http.StatusCreated, "POST", "/", `{"label":"made over REST",`+end+`}`)
	object := made.object(t)
	id, _ := object["id"].(string)
	text, _ := object["token"].(string)
	if location := made.header.Get("Location"); location != tokensPath+"/"+id || made.header.Get("Cache-Control") != "no-store" {
		t.Errorf("made at %q, to be kept %q", location, made.header.Get("Cache-Control"))
	}
	caller.basic(caller.user, text).is(t, "alice")
	for _, path := range []string{"", "/"} {
		if ids := caller.call(t, called, http.StatusOK, "GET", path, "").ids(t); !slices.Contains(ids, id) {
			t.Errorf("%s is not among %v", id, ids)
		}
	}
	one := caller.call(t, called, http.StatusOK, "GET", "/"+id, "")
	if shown := one.object(t); shown["label"] != "made over REST" || shown["expiresAt"] == nil || shown["token"] != nil {
		t.Errorf("shown as %s", one.body)
	}
	caller.call(t, called, http.StatusOK, "GET", "/openapi.json", "")

	rotating := caller
	if isToken {
		caller.call(t, called, http.StatusForbidden, "POST", "/"+id+"/rotate", "")
		rotating = caller.basic(caller.user, text)
	}
	rotated, _ := rotating.call(t, called, http.StatusOK, "POST", "/"+id+"/rotate", `{"overlapHours":0}`).object(t)["token"].(string)
	caller.basic(caller.user, text).isRefused(t, http.StatusUnauthorized)
	caller.basic(caller.user, rotated).is(t, "alice")

	caller.call(t, called, http.StatusOK, "POST", "/verify", `{"token":"`+rotated+`"}`)
	caller.call(t, called, http.StatusAccepted, "POST", "/revoke", `{"token":"`+rotated+`"}`)
	caller.call(t, called, http.StatusUnauthorized, "POST", "/verify", `{"token":"`+rotated+`"}`)
	caller.basic(caller.user, rotated).isRefused(t, http.StatusUnauthorized)
	caller.call(t, called, http.StatusNotFound, "DELETE", "/"+id, "")
	other, _ := caller.create(t, `{"label":"another one"}`)
	caller.call(t, called, http.StatusNoContent, "DELETE", "/"+other, "")

	caller.call(t, called, http.StatusForbidden, "GET", "/admin", "")
	caller.call(t, called, http.StatusForbidden, "DELETE", "/admin/"+id, "")
	caller.call(t, called, http.StatusForbidden, "DELETE", "/admin/tokens?user=bob", "")
	caller.call(t, called, http.StatusBadRequest, "POST", "/", `{"label":""}`)
	caller.call(t, called, http.StatusBadRequest, "POST", "/", `{"label":"x","unknown":"y"}`)
}

// administer calls the operations for administrators of API tokens, of whom carol is one.
func administer(t *testing.T, s *site, called map[string]bool) {
	carol, bob := s.session("carol"), s.session("bob")
	id, one := bob.create(t, `{"label":"one of bob's"}`)
	_, another := bob.create(t, `{"label":"another one of bob's"}`)
	found := carol.call(t, called, http.StatusOK, "GET", "/admin?user=bob&q=ONE&maxResults=10", "").object(t)
	if total, _ := found["total"].(float64); total != 2 {
		t.Errorf("found %v", found)
	}
	carol.call(t, called, http.StatusNoContent, "DELETE", "/admin/"+id, "")
	s.basic("bob", one).isRefused(t, http.StatusUnauthorized)
	s.basic("bob", another).is(t, "bob")
	carol.call(t, called, http.StatusNoContent, "DELETE", "/admin/tokens?user=bob", "")
	s.basic("bob", another).isRefused(t, http.StatusUnauthorized)
}

// operations returns all operations of the REST API.
var operations = []string{
	"GET /", "POST /", "GET /openapi.json", "POST /revoke", "POST /verify", "DELETE /all", "GET /admin", "DELETE /admin/tokens", "DELETE /admin/{id}",
	"GET /{id}", "DELETE /{id}", "POST /{id}/rotate",
}

// Anonymous callers are refused, and paths that do not exist are refused in the format of the product.
func TestRESTRefusals(t *testing.T) {
	for _, s := range []*site{world.jira, world.wiki} {
		anonymous := who{site: s}
		stale := who{s, "", []string{"--cookie", "JSESSIONID=0123456789"}}
		for _, as := range []who{anonymous, stale, s.bearer("alice", "bm90LWEtcmVhbC1wZXJzb25hbC1hY2Nlc3MtdG9rZW4h"), s.basic("alice", "alices password")} {
			refused := as.tokens(t, http.StatusUnauthorized, "GET", "/", "")
			if !strings.HasPrefix(refused.header.Get("WWW-Authenticate"), "Basic realm=") {
				t.Errorf("challenged with %q", refused.header.Values("WWW-Authenticate"))
			}
		}
		alice := s.session("alice")
		own := map[*site]string{world.jira: `"errorMessages"`, world.wiki: `"statusCode"`}[s]
		for _, wrong := range []struct {
			status                  int
			method, path, body, why string
		}{
			{http.StatusNotFound, "GET", "/asp_0000000000000000", "", "no such token"},
			{http.StatusNotFound, "GET", "/x/y/z", "", "no such resource"},
			{http.StatusMethodNotAllowed, "PUT", "/", `{}`, "no such method"},
			{http.StatusBadRequest, "POST", "/", `[]`, "no object"},
			{http.StatusRequestEntityTooLarge, "POST", "/", `{"label":"` + strings.Repeat("x", 70_000) + `"}`, "too large"},
		} {
			a := alice.curl(t, wrong.method, tokensPath+wrong.path, wrong.body)
			if a.status != wrong.status || !strings.Contains(a.body, own) {
				t.Errorf("%s: %d %s, want %d with %s", wrong.why, a.status, a.body, wrong.status, own)
			}
		}
		form := who{s, "alice", append(slices.Clone(alice.args), "--data", "label=x")}
		if a := form.curl(t, "POST", tokensPath+"/", ""); a.status != http.StatusUnsupportedMediaType {
			t.Errorf("a form: %d %s", a.status, a.body)
		}
	}
}
