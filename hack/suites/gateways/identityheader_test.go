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

// identities returns the values of a header, in any spelling that a product could take for it, but for those with the given characters.
func identities(h http.Header, name, but string) (values []string) {
	for spelled, of := range h {
		if !strings.ContainsAny(spelled, but) && strings.EqualFold(strings.NewReplacer("_", "-", ".", "-").Replace(spelled), name) {
			values = append(values, of...)
		}
	}
	return slices.DeleteFunc(values, func(v string) bool { return v == "" })
}

// checkIdentity sends every credential with every forged spelling of the header: the product gets the owner of the token in it, and
// nothing without one.
func (w *world) checkIdentity(t *testing.T, p program, gateway, name string, paths ...string) {
	t.Helper()
	forgeries := []string{"X-Nothing: x"}
	for _, spelled := range []string{name, strings.ToLower(name), strings.ReplaceAll(name, "-", "_"), strings.ReplaceAll(name, "-", ".")} {
		forgeries = append(forgeries, spelled+": root")
	}
	for _, c := range w.credentials() {
		for _, forged := range forgeries {
			for _, path := range paths {
				p.judge(t, path+" with "+c.name+" and "+forged, func(fail func(format string, a ...any)) {
					w.judgeIdentity(fail, p, w.send(t, gateway, "GET", path, append(slices.Clone(c.headers), forged)...), c, name, path)
				})
			}
		}
	}
}

func (w *world) judgeIdentity(fail func(format string, a ...any), p program, got received, c credential, name, path string) {
	var want []string
	isToken := strings.HasPrefix(c.name, "a token") && !c.refused && strings.HasPrefix(path, "/rest/")
	if isToken {
		want = []string{"alice"}
	}
	for _, seen := range got.seen {
		if values := identities(seen.Header, name, p.passes); !slices.Equal(values, want) {
			fail("the product got %q, want %q", values, want)
		}
		if isToken && (seen.Header.Get("Authorization") != "" || seen.Header.Get("Cookie") != "") {
			fail("the product got a credential beside the name: %v", seen.Header)
		}
	}
	if isToken && len(got.seen) != 1 {
		fail("%d, and the product saw %d requests", got.status, len(got.seen))
	}
}

// A site that hands users over in X-Forwarded-User needs no other configuration of a gateway, but that it asks about every path.
func TestIdentityHeader(t *testing.T) {
	through(t, append(programs(), variants()...), func(t *testing.T, p program) {
		w := newWorld(t)
		gateway := p.start(t, w)
		w.index.DeleteUpstreamCredential(site, "alice")
		w.change(func(s *authn.Site) { s.IdentityHeader = "X-Forwarded-User" })
		paths := []string{myself}
		if !p.restAlone {
			paths = append(paths, "/secure/Dashboard.jspa")
		}
		w.checkIdentity(t, p, gateway, "X-Forwarded-User", paths...)
	})
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
	w.checkIdentity(t, program{name: "nginx"}, gateway, "X-Remote-User", myself, "/secure/Dashboard.jspa", "/")
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
	through(t, programs(), func(t *testing.T, p program) {
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
			p.judge(t, name, func(fail func(format string, a ...any)) {
				got := w.send(t, gateway, "GET", tc.path, tc.headers...)
				exchanges, _ := w.asked()
				if len(exchanges) != 1 || string(exchanges[0].Decision.Reason) != tc.reason || got.status != tc.status {
					fail("%d, asked %+v", got.status, exchanges)
				}
				refused := tc.status == 403 || tc.reason == "challenge"
				if len(got.seen) == 0 != refused {
					fail("the product saw %d requests", len(got.seen))
				}
				if challenge := got.header.Get("WWW-Authenticate"); tc.reason == "challenge" && !strings.HasPrefix(challenge, `Basic realm="API token"`) {
					fail("the challenge is %q", challenge)
				}
			})
		}
	})
}
