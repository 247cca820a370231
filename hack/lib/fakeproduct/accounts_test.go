package fakeproduct

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// bothProducts serves both fake products at the root, with the same users. It returns
// the path of the who-am-I call of each.
func bothProducts(t *testing.T, o Options) map[string]asked {
	t.Helper()
	j, c := NewJira(o), NewConfluence(o)
	all := map[string]asked{
		"Jira":       {Product: &j.Product, whoAmI: "/rest/api/2/myself"},
		"Confluence": {Product: &c.Product, whoAmI: "/rest/api/user/current"},
	}
	for name, product := range all {
		server := httptest.NewServer(product.Product)
		t.Cleanup(server.Close)
		product.url = server.URL
		all[name] = product
	}
	return all
}

type asked struct {
	*Product
	url, whoAmI string
}

// as calls a path with a credential. An empty one means anonymous.
func (a asked) as(t *testing.T, credential change, method, path, body string) answer {
	t.Helper()
	r := request(t, method, a.url+path, body)
	if credential != nil {
		credential(r)
	}
	return do(t, r)
}

func bearer(token string) change { return authorization("Bearer " + token) }

func cookie(c *http.Cookie) change { return func(r *http.Request) { r.AddCookie(c) } }

func twoUsers() []User {
	return []User{
		{Name: "alice", Key: "K1", DisplayName: "Alice", Password: "alice-password", PATs: []string{"alice-pat"}},
		{Name: "bob", Password: "bob-password", PATs: []string{"bob-pat"}},
	}
}

func TestDeactivate(t *testing.T) {
	for product, p := range bothProducts(t, Options{BasicAuth: true, Users: twoUsers()}) {
		credentials := map[string]change{
			"PAT":     bearer("alice-pat"),
			"session": cookie(p.SignIn("alice")),
			"Basic":   basic("alice", "alice-password"),
		}
		for name, credential := range credentials {
			if got := p.as(t, credential, "GET", p.whoAmI, ""); got.StatusCode != http.StatusOK {
				t.Fatalf("%s, %s before: %d %s", product, name, got.StatusCode, got.body)
			}
		}
		if !p.Deactivate("alice") || p.Deactivate("nobody") {
			t.Errorf("%s: Deactivate does not tell who is there", product)
		}
		for name, credential := range credentials {
			if got := p.as(t, credential, "GET", p.whoAmI, ""); got.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s, %s after: %d %s, want 401", product, name, got.StatusCode, got.body)
			}
		}
		if p.SignIn("alice") != nil || p.SignIn("nobody") != nil {
			t.Errorf("%s: a session for somebody who may not sign in", product)
		}
		if got := p.as(t, bearer("bob-pat"), "GET", p.whoAmI, ""); got.StatusCode != http.StatusOK {
			t.Errorf("%s: bob went too: %d %s", product, got.StatusCode, got.body)
		}
	}
}

func TestRename(t *testing.T) {
	for product, p := range bothProducts(t, Options{BasicAuth: true, Users: twoUsers()}) {
		session := cookie(p.SignIn("alice"))
		for _, refused := range [][2]string{{"nobody", "somebody"}, {"alice", "bob"}, {"alice", ""}} {
			if p.Rename(refused[0], refused[1]) {
				t.Errorf("%s: renamed %s to %q", product, refused[0], refused[1])
			}
		}
		if !p.Rename("alice", "alicia") {
			t.Fatalf("%s: not renamed", product)
		}
		for name, credential := range map[string]change{
			"PAT": bearer("alice-pat"), "session": session, "Basic": basic("alicia", "alice-password"),
		} {
			got := p.as(t, credential, "GET", p.whoAmI, "")
			if !strings.Contains(got.body, `ame":"alicia"`) || !strings.Contains(got.body, `ey":"K1"`) || got.Header.Get("X-AUSERNAME") != "alicia" {
				t.Errorf("%s, %s: %d %s", product, name, got.StatusCode, got.body)
			}
		}
		if got := p.as(t, basic("alice", "alice-password"), "GET", p.whoAmI, ""); got.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: the old name signs in: %d %s", product, got.StatusCode, got.body)
		}
		// The old name is free: somebody else may get it, and nothing of hers.
		if !p.Rename("bob", "alice") {
			t.Errorf("%s: the old name is not free", product)
		}
		if got := p.as(t, bearer("bob-pat"), "GET", p.whoAmI, ""); !strings.Contains(got.body, `ey":"bob"`) {
			t.Errorf("%s: the new alice is %s", product, got.body)
		}
	}
}

func TestSignIn(t *testing.T) {
	for context, path := range map[string]string{"": "/", "/jira": "/jira"} {
		got := NewJira(Options{ContextPath: context, Users: twoUsers()}).SignIn("bob")
		if got == nil || got.Name != sessionCookie || got.Path != path || !got.HttpOnly {
			t.Errorf("at %q: the cookie is %v", context, got)
		}
	}
}

// Run with -race: tests change accounts while requests are served.
func TestChangesAreSafeWhileServing(t *testing.T) {
	for _, p := range bothProducts(t, Options{Users: twoUsers()}) {
		var group sync.WaitGroup
		for i := range 10 {
			group.Go(func() {
				if i%2 == 0 {
					p.Rename("alice", "alicia")
				} else {
					p.Rename("alicia", "alice")
				}
				p.as(t, bearer("alice-pat"), "GET", p.whoAmI, "")
				p.as(t, cookie(p.SignIn("bob")), "GET", p.whoAmI, "")
			})
		}
		group.Wait()
		p.Deactivate("alice")
	}
}
