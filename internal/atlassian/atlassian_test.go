package atlassian_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"apitokens.dev/operator/hack/lib/fakeproduct"
	"apitokens.dev/operator/internal/atlassian"
)

func jira(url string) atlassian.Upstream {
	return atlassian.Upstream{Product: atlassian.Jira, URL: url}
}

func TestWhoAmIAtTheDouble(t *testing.T) {
	product := fakeproduct.NewJira(fakeproduct.Options{ContextPath: "/jira", Users: []fakeproduct.User{{Name: "Alice", PATs: []string{"pat"}}}})
	server := httptest.NewServer(product)
	defer server.Close()
	c := atlassian.NewClient()

	if user, err := c.WhoAmI(t.Context(), jira(server.URL+"/jira"), atlassian.Bearer("pat")); err != nil || user.Name != "Alice" {
		t.Errorf("the bearer of the PAT is %q, %v", user, err)
	}
	if user, err := c.WhoAmI(t.Context(), jira(server.URL+"/jira"), atlassian.Bearer("wrong")); !errors.Is(err, atlassian.ErrRefused) || user != (atlassian.User{}) {
		t.Errorf("with a wrong PAT: %q, %v", user, err)
	}
	if _, err := c.WhoAmI(t.Context(), jira(server.URL), atlassian.Bearer("pat")); !errors.Is(err, atlassian.ErrUnexpected) {
		t.Errorf("outside the context path: %v", err)
	}
	if err := c.Probe(t.Context(), jira(server.URL+"/jira")); err != nil {
		t.Errorf("Probe: %v", err)
	}
	if err := c.Probe(t.Context(), jira(server.URL)); !errors.Is(err, atlassian.ErrUnexpected) {
		t.Errorf("Probe outside the context path: %v", err)
	}
}

func TestCredentialsStayWithTheirOrigin(t *testing.T) {
	var elsewhere int
	thief := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere++ }))
	defer thief.Close()
	product := httptest.NewServer(http.RedirectHandler(thief.URL, http.StatusFound))
	defer product.Close()
	t.Setenv("HTTP_PROXY", thief.URL)

	if _, err := atlassian.NewClient().WhoAmI(t.Context(), jira(product.URL), atlassian.Bearer("pat")); !errors.Is(err, atlassian.ErrUnexpected) {
		t.Errorf("a redirect: %v", err)
	}
	if elsewhere != 0 {
		t.Error("the redirect was followed")
	}
}

func TestWhoAmINeedsAName(t *testing.T) {
	for _, body := range []string{"", "{}", `{"name":""}`, "<html>", `[]`} {
		product := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) }))
		if user, err := atlassian.NewClient().WhoAmI(t.Context(), jira(product.URL), atlassian.Bearer("pat")); !errors.Is(err, atlassian.ErrUnexpected) {
			t.Errorf("%q: %q, %v", body, user, err)
		}
		product.Close()
	}
}
