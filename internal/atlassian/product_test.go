package atlassian_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"apitokens.dev/operator/hack/lib/fakeproduct"
	"apitokens.dev/operator/internal/atlassian"
)

func confluence(url string) atlassian.Upstream {
	return atlassian.Upstream{Product: atlassian.Confluence, URL: url}
}

func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL
}

func TestWhoAmIAtConfluence(t *testing.T) {
	product := fakeproduct.NewConfluence(fakeproduct.Options{ContextPath: "/wiki", Users: []fakeproduct.User{{Name: "Alice", PATs: []string{"pat"}}}})
	url := serve(t, product)
	c := atlassian.NewClient()

	if user, err := c.WhoAmI(t.Context(), confluence(url+"/wiki"), atlassian.Bearer("pat")); err != nil || user.Name != "Alice" {
		t.Errorf("the bearer of the PAT is %q, %v", user, err)
	}
	if user, err := c.WhoAmI(t.Context(), confluence(url+"/wiki"), atlassian.Bearer("wrong")); !errors.Is(err, atlassian.ErrRefused) || user != (atlassian.User{}) {
		t.Errorf("with a wrong PAT: %q, %v", user, err)
	}
	if _, err := c.WhoAmI(t.Context(), confluence(url), atlassian.Bearer("pat")); !errors.Is(err, atlassian.ErrUnexpected) {
		t.Errorf("outside the context path: %v", err)
	}
	if err := c.Probe(t.Context(), confluence(url+"/wiki")); err != nil {
		t.Errorf("Probe: %v", err)
	}
	if err := c.Probe(t.Context(), confluence(url)); !errors.Is(err, atlassian.ErrUnexpected) {
		t.Errorf("Probe outside the context path: %v", err)
	}
	for _, seen := range product.Requests() {
		if seen.Path != "/wiki/rest/api/user/current" && seen.Path != "/rest/api/user/current" && seen.Header.Get("Authorization") != "" {
			t.Errorf("a credential was sent to %s", seen.Path)
		}
	}
}

// A Confluence that ignores a credential answers 200, as to an anonymous caller.
func TestAnonymousIsRefused(t *testing.T) {
	product := fakeproduct.NewConfluence(fakeproduct.Options{})
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Authorization")
		product.ServeHTTP(w, r)
	}))
	if user, err := atlassian.NewClient().WhoAmI(t.Context(), confluence(url), atlassian.Bearer("pat")); !errors.Is(err, atlassian.ErrRefused) || user != (atlassian.User{}) {
		t.Errorf("the bearer of a PAT that counts for nothing is %q, %v", user, err)
	}
}

func TestAnswers(t *testing.T) {
	const somebody = `{"type":"known","username":"alice","userKey":"k"}`
	for name, tc := range map[string]struct {
		product atlassian.Product
		status  int
		body    string
		user    string
		err     error // of who-am-I
		answers bool  // to a probe
	}{
		"Jira":                                {atlassian.Jira, 200, `{"name":"alice","key":"k"}`, "alice", nil, true},
		"Jira, unauthorized":                  {atlassian.Jira, 401, `{}`, "", atlassian.ErrRefused, true},
		"Jira, forbidden":                     {atlassian.Jira, 403, `{}`, "", atlassian.ErrRefused, true},
		"Jira, somebody of Confluence":        {atlassian.Jira, 200, somebody, "", atlassian.ErrUnexpected, false},
		"Jira, anonymous of Confluence":       {atlassian.Jira, 200, `{"type":"anonymous"}`, "", atlassian.ErrUnexpected, false},
		"Confluence":                          {atlassian.Confluence, 200, somebody, "alice", nil, true},
		"Confluence, unauthorized":            {atlassian.Confluence, 401, ``, "", atlassian.ErrRefused, true},
		"Confluence, forbidden":               {atlassian.Confluence, 403, ``, "", atlassian.ErrRefused, true},
		"Confluence, anonymous":               {atlassian.Confluence, 200, `{"type":"anonymous","displayName":"Anonymous"}`, "", atlassian.ErrRefused, true},
		"Confluence, anonymous with a name":   {atlassian.Confluence, 200, `{"type":"anonymous","username":"alice"}`, "", atlassian.ErrRefused, true},
		"Confluence, somebody unknown":        {atlassian.Confluence, 200, `{"type":"unknown","username":"alice"}`, "", atlassian.ErrUnexpected, false},
		"Confluence, of no type":              {atlassian.Confluence, 200, `{"username":"alice"}`, "", atlassian.ErrUnexpected, false},
		"Confluence, without a name":          {atlassian.Confluence, 200, `{"type":"known"}`, "", atlassian.ErrUnexpected, false},
		"Confluence, somebody of Jira":        {atlassian.Confluence, 200, `{"name":"alice"}`, "", atlassian.ErrUnexpected, false},
		"Confluence, a page":                  {atlassian.Confluence, 200, `<html>`, "", atlassian.ErrUnexpected, false},
		"Confluence, a name that is none":     {atlassian.Confluence, 200, `{"type":"known","username":{}}`, "", atlassian.ErrUnexpected, false},
		"Confluence, nothing there":           {atlassian.Confluence, 404, somebody, "", atlassian.ErrUnexpected, false},
		"Confluence, redirect":                {atlassian.Confluence, 302, ``, "", atlassian.ErrUnexpected, false},
		"Confluence, unavailable":             {atlassian.Confluence, 503, ``, "", atlassian.ErrUnexpected, false},
		"Confluence, somebody, but not found": {atlassian.Confluence, 404, `{"type":"anonymous"}`, "", atlassian.ErrUnexpected, false},
	} {
		t.Run(name, func(t *testing.T) {
			u := atlassian.Upstream{Product: tc.product, URL: serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(tc.status)
				_, _ = w.Write([]byte(tc.body))
			}))}
			user, err := atlassian.NewClient().WhoAmI(t.Context(), u, atlassian.Bearer("pat"))
			if user.Name != tc.user || !errors.Is(err, tc.err) {
				t.Errorf("who-am-I: %q, %v; want %q, %v", user, err, tc.user, tc.err)
			}
			if err := atlassian.NewClient().Probe(t.Context(), u); (err == nil) != tc.answers {
				t.Errorf("Probe: %v, want an answer: %t", err, tc.answers)
			}
		})
	}
}

// The probe names another product, without sending it a credential.
func TestOtherProduct(t *testing.T) {
	user := []fakeproduct.User{{Name: "alice", PATs: []string{"pat"}}}
	jiras, confluences := fakeproduct.NewJira(fakeproduct.Options{Users: user}), fakeproduct.NewConfluence(fakeproduct.Options{Users: user})
	for _, tc := range []struct {
		asked atlassian.Upstream
		is    atlassian.Product
	}{
		{confluence(serve(t, jiras)), atlassian.Jira},
		{jira(serve(t, confluences)), atlassian.Confluence},
	} {
		err := atlassian.NewClient().Probe(t.Context(), tc.asked)
		if other := (*atlassian.OtherProductError)(nil); !errors.As(err, &other) || other.Product != tc.is {
			t.Errorf("asked for %s, %s answers: %v", tc.asked.Product, tc.is, err)
		}
		if user, err := atlassian.NewClient().WhoAmI(t.Context(), tc.asked, atlassian.Bearer("pat")); !errors.Is(err, atlassian.ErrUnexpected) || user != (atlassian.User{}) {
			t.Errorf("the %s that is asked as %s says %q, %v", tc.is, tc.asked.Product, user, err)
		}
	}
}

// A server that refuses every request, but not as a product does, does not pass for one.
func TestNoProduct(t *testing.T) {
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden} {
		url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/rest/api/user/current" {
				http.NotFound(w, r)
				return
			}
			http.Error(w, "RBAC: access denied", status)
		}))
		err := atlassian.NewClient().Probe(t.Context(), confluence(url))
		if other := (*atlassian.OtherProductError)(nil); errors.As(err, &other) || !errors.Is(err, atlassian.ErrUnexpected) {
			t.Errorf("%d: %v", status, err)
		}
	}
}

func TestUnknownProduct(t *testing.T) {
	asked := false
	u := atlassian.Upstream{Product: "Bamboo", URL: serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))}
	if err := atlassian.NewClient().Probe(t.Context(), u); err == nil {
		t.Error("Probe: no error")
	}
	if user, err := atlassian.NewClient().WhoAmI(t.Context(), u, atlassian.Bearer("pat")); err == nil || user != (atlassian.User{}) {
		t.Errorf("who-am-I: %q, %v", user, err)
	}
	if asked {
		t.Error("it was asked something")
	}
}
