package gateways_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"apitokens.dev/operator/internal/authn"
)

// change puts the site of a world with a change.
func (w *world) change(edit func(*authn.Site)) {
	s := authn.Site{Name: site, UID: "site-uid", Product: "Jira", Origin: "http://" + w.productAt, TokenPaths: []string{"/rest/"}}
	edit(&s)
	w.index.PutSite(s)
}

// identities returns the values of a header, in any spelling that a product could take for it.
func identities(h http.Header, name string) (values []string) {
	for spelled, of := range h {
		if strings.EqualFold(strings.NewReplacer("_", "-", ".", "-").Replace(spelled), name) {
			values = append(values, of...)
		}
	}
	return slices.DeleteFunc(values, func(v string) bool { return v == "" })
}

// checkIdentity sends every credential with every forged spelling of the header: the product gets the owner of the token in it, and
// nothing without one.
func (w *world) checkIdentity(t *testing.T, gateway, name string, paths ...string) (passed int) {
	t.Helper()
	forgeries := []string{"X-Nothing: x"}
	for _, spelled := range []string{name, strings.ToLower(name), strings.ReplaceAll(name, "-", "_"), strings.ReplaceAll(name, "-", ".")} {
		forgeries = append(forgeries, spelled+": root")
	}
	for _, c := range w.credentials() {
		for _, forged := range forgeries {
			for _, path := range paths {
				got := w.send(t, gateway, "GET", path, append(slices.Clone(c.headers), forged)...)
				var want []string
				isToken := strings.HasPrefix(c.name, "a token") && !c.refused && strings.HasPrefix(path, "/rest/")
				if isToken {
					want = []string{"alice"}
				}
				for _, seen := range got.seen {
					if values := identities(seen.Header, name); !slices.Equal(values, want) {
						t.Errorf("%s with %s and %s: the product got %q, want %q", path, c.name, forged, values, want)
					}
					if isToken && (len(seen.Header["Authorization"]) > 0 && seen.Header.Get("Authorization") != "" || seen.Header.Get("Cookie") != "") {
						t.Errorf("%s with %s: the product got a credential beside the name: %v", path, c.name, seen.Header)
					}
				}
				if isToken && len(got.seen) != 1 {
					t.Errorf("%s with %s: %d, and the product saw %d requests", path, c.name, got.status, len(got.seen))
				}
				passed++
			}
		}
	}
	return passed
}

// A site that hands users over in X-Forwarded-User needs no other configuration of a gateway, but that it asks about every path.
func TestIdentityHeader(t *testing.T) {
	for _, p := range programs() {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			gateway := p.start(t, w)
			w.index.DeleteUpstreamCredential(site, "alice")
			w.change(func(s *authn.Site) { s.IdentityHeader = "X-Forwarded-User" })
			paths := []string{myself}
			if !p.restAlone {
				paths = append(paths, "/secure/Dashboard.jspa")
			}
			t.Logf("%s: %d cases passed", p.name, w.checkIdentity(t, gateway, "X-Forwarded-User", paths...))
		})
	}
}

// The sample of nginx with the changes of docs/how-to/identity-header.md: a header of another name, and every path is asked about.
func TestNginxWithAnotherIdentityHeader(t *testing.T) {
	w := newWorld(t)
	conf := sample(t, "nginx.conf")
	for _, change := range [][2]string{
		{"    location /rest/ {\n        return 418;\n    }\n\n", ""},
		{"        if ($http_authorization) {\n            return 418;\n        }\n        proxy_pass http://product;\n", "        return 418;\n"},
		{"    proxy_set_header X-Forwarded-User \"\";\n", "    proxy_set_header X-Forwarded-User \"\";\n    proxy_set_header X-Remote-User \"\";\n    proxy_hide_header X-Remote-User;\n"},
		{"        auth_request /.api-token/ask;\n", "        auth_request /.api-token/ask;\n        auth_request_set $api_token_identity $upstream_http_x_remote_user;\n"},
		{"        proxy_set_header X-Forwarded-User $api_token_user;\n", "        proxy_set_header X-Forwarded-User $api_token_user;\n        proxy_set_header X-Remote-User $api_token_identity;\n"},
	} {
		if strings.Count(conf, change[0]) != 1 {
			t.Fatalf("the sample does not have %q once", change[0])
		}
		conf = strings.Replace(conf, change[0], change[1], 1)
	}
	gateway := startNginxWith(t, w, conf)
	w.index.DeleteUpstreamCredential(site, "alice")
	w.change(func(s *authn.Site) { s.IdentityHeader = "X-Remote-User" })
	w.checkIdentity(t, gateway, "X-Remote-User", myself, "/secure/Dashboard.jspa", "/")
	if exchanges, _ := w.asked(); len(exchanges) == 0 {
		t.Error("the webhook was not asked")
	}
	w.send(t, gateway, "GET", "/secure/Dashboard.jspa")
	if exchanges, _ := w.asked(); len(exchanges) != 1 {
		t.Errorf("asked %d times about a page", len(exchanges))
	}
}

// What a site says of passwords, sessions and anonymous requests reaches the client through every gateway, and a refused request
// does not reach the product.
func TestOtherCredentials(t *testing.T) {
	for _, p := range programs() {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			gateway := p.start(t, w)
			w.change(func(s *authn.Site) {
				s.Bearer = true
				s.Others = authn.OtherCredentials{
					Password: authn.ActionRefuse, Session: authn.ActionRefuse, Anonymous: authn.ActionObserve,
					ExemptUsers: []string{"bob"}, ChallengePaths: []string{"/rest/api/2/search"},
				}
			})
			session := "Cookie: " + w.product.SignIn("bob").String()
			for name, tc := range map[string]struct {
				path    string
				headers []string
				status  int
				reason  string
			}{
				"a token as Bearer":    {myself, []string{"Authorization: Bearer " + w.token}, 200, "authenticated"},
				"a password":           {myself, []string{"Authorization: " + basic("alice", password)}, 403, "PasswordRefused"},
				"an exempt password":   {myself, []string{"Authorization: " + basic("bob", "bobs password")}, 200, "password_observed"},
				"in the query":         {myself + "?os_username=alice&os_password=x", nil, 403, "PasswordRefused"},
				"a session":            {myself, []string{session}, 403, "SessionRefused"},
				"a PAT":                {myself, []string{"Authorization: Bearer " + pat}, 200, "no_token"},
				"nothing":              {myself, nil, 401, "anonymous_observed"},
				"nothing, and waiting": {"/rest/api/2/search", nil, 401, "challenge"},
			} {
				got := w.send(t, gateway, "GET", tc.path, tc.headers...)
				exchanges, _ := w.asked()
				if len(exchanges) != 1 || string(exchanges[0].Decision.Reason) != tc.reason || got.status != tc.status {
					t.Errorf("%s: %d, asked %+v", name, got.status, exchanges)
				}
				refused := tc.status == 403 || tc.reason == "challenge"
				if len(got.seen) == 0 != refused {
					t.Errorf("%s: the product saw %d requests", name, len(got.seen))
				}
				if challenge := got.header.Get("WWW-Authenticate"); tc.reason == "challenge" && !strings.HasPrefix(challenge, `Basic realm="API token"`) {
					t.Errorf("%s: the challenge is %q", name, challenge)
				}
			}
		})
	}
}
