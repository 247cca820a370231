package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"apitokens.dev/operator/hack/lib/fakeproduct"
	"apitokens.dev/operator/hack/lib/rig"
	"apitokens.dev/operator/internal/token"
)

// A Jira and a Confluence side by side, each behind an nginx of its own: a token of one is refused at the other, and each
// product receives only its own personal access token. Confluence serves TLS, trusted only through `upstreamCARef`.
func TestSideBySide(t *testing.T) {
	r, err := rig.Start(t.Context(), t.Output())
	t.Cleanup(func() {
		if err := r.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &story{Rig: r, out: t.Output()}
	for _, step := range []func(context.Context) error{s.declareSite, s.openJira, s.startGateway, s.declareToken, s.readDelivered, s.declareConfluence} {
		if err := step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	jira := gateway{
		url: r.URL, path: "/rest/api/2/myself", token: s.token, pat: rig.PersonalAccessToken, product: &r.Product.Product,
		own: `"errorMessages"`, other: `"statusCode"`,
	}
	wiki := gateway{
		url: r.Confluence.URL, path: "/rest/api/user/current", token: s.deliveredAt(t), pat: rig.ConfluencePersonalAccessToken,
		product: &r.Confluence.Product.Product, own: `"statusCode"`, other: `"errorMessages"`,
	}
	for _, pair := range [][2]gateway{{jira, wiki}, {wiki, jira}} {
		here, there := pair[0], pair[1]
		t.Run(here.path, func(t *testing.T) {
			here.accepts(t)
			here.refuses(t, "alice", there.token)
			here.refuses(t, "bob", here.token)
			dead, err := token.New(here.token[:token.IDLength], strings.NewReader(strings.Repeat("x", 100)))
			if err != nil {
				t.Fatal(err)
			}
			here.refuses(t, "alice", dead)
			here.forbids(t)
			here.accepts(t) // what was refused locked nobody out
		})
	}
	s.crossCallerKeys(t, jira.token, wiki.token)
	t.Run("a page", func(t *testing.T) {
		status, body := wiki.send(t, http.MethodPost, "/rest/api/content", "alice", wiki.token, `{"type":"page","title":"T","space":{"key":"S"}}`)
		if status != http.StatusOK || !strings.Contains(body, `"createdBy":{"type":"known","username":"alice"}`) {
			t.Errorf("made a page: %d %s", status, body)
		}
	})
}

// declareConfluence starts the second product, and declares its site and a token of alice for it.
func (s *story) declareConfluence(ctx context.Context) error {
	if err := s.StartConfluence(); err != nil {
		return err
	}
	for _, sample := range []string{"namespace", "issuers", "certificate_authority", "personal_access_token", "site", "apitoken"} {
		text, err := s.Sample("confluence/" + sample + ".yaml")
		if err != nil {
			return err
		}
		as := "admin"
		if sample == "apitoken" {
			as = "alice"
		}
		if _, err := s.KubectlAs(ctx, as, text, "apply", "--namespace", rig.ConfluenceNamespace, "-f", "-"); err != nil {
			return err
		}
	}
	if err := s.open(ctx, rig.ConfluenceNamespace, rig.ConfluenceSite); err != nil {
		return err
	}
	for object, condition := range map[string]string{
		"atlassiansite/" + rig.ConfluenceSite: "UpstreamCredentialsReady", "apitoken/alice-pages": "Ready",
	} {
		_, err := s.KubectlAs(ctx, "admin", nil, "wait", object, "--namespace", rig.ConfluenceNamespace,
			"--for=condition="+condition, "--timeout", settleTimeout.String())
		if err != nil {
			return err
		}
	}
	var urls corev1.Secret
	if err := s.get(ctx, &urls, rig.ConfluenceNamespace, rig.ConfluenceSite+"-auth-urls"); err != nil {
		return err
	}
	return s.StartConfluenceNginx(ctx, string(urls.Data["nginx"]))
}

// open allows APITokens of all namespaces to refer to a site, so that only the wrong site can be the cause of a refusal.
func (s *story) open(ctx context.Context, namespace, site string) error {
	_, err := s.KubectlAs(ctx, "admin", nil, "patch", "atlassiansite", site, "--namespace", namespace, "--type=merge",
		"--patch", `{"spec":{"allowedNamespaces":{"from":"All"}}}`)
	return err
}

func (s *story) openJira(ctx context.Context) error { return s.open(ctx, rig.Namespace, rig.Site) }

// deliveredAt returns the token that was delivered for Confluence.
func (s *story) deliveredAt(t *testing.T) string {
	t.Helper()
	var delivered corev1.Secret
	if err := s.get(t.Context(), &delivered, rig.ConfluenceNamespace, "alice-pages-token"); err != nil {
		t.Fatal(err)
	}
	if string(delivered.Data["url"]) != s.Confluence.URL || string(delivered.Data["username"]) != "alice" {
		t.Errorf("delivered for %s at %s", delivered.Data["username"], delivered.Data["url"])
	}
	return string(delivered.Data["password"])
}

// gateway is an nginx in front of a product.
type gateway struct {
	url, path, token, pat string
	product               *fakeproduct.Product
	// own is the error format of the product, other that of the other product.
	own, other string
}

func (g gateway) send(t *testing.T, method, path, user, password, body string) (status int, answer string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, g.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.SetBasicAuth(user, password)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func (g gateway) accepts(t *testing.T) {
	t.Helper()
	g.product.Reset()
	status, body := g.send(t, http.MethodGet, g.path, "alice", g.token, "")
	seen := rig.ThroughNginx(g.product)
	if status != http.StatusOK || len(seen) != 1 {
		t.Fatalf("answered %d %s, the product saw %d requests", status, body, len(seen))
	}
	if seen[0].User != "alice" || seen[0].Header.Get("Authorization") != "Bearer "+g.pat {
		t.Errorf("the product saw %v as %s", seen[0].Header, seen[0].User)
	}
}

func (g gateway) refuses(t *testing.T, user, password string) {
	t.Helper()
	g.refusesAs(t, http.StatusUnauthorized, g.path, user, password)
}

// forbids checks that a token cannot create another credential.
func (g gateway) forbids(t *testing.T) {
	t.Helper()
	g.refusesAs(t, http.StatusForbidden, "/rest/pat/latest/tokens", "alice", g.token)
}

func (g gateway) refusesAs(t *testing.T, want int, path, user, password string) {
	t.Helper()
	g.product.Reset()
	status, body := g.send(t, http.MethodGet, path, user, password, "")
	if status != want || !json.Valid([]byte(body)) || !strings.Contains(body, g.own) || strings.Contains(body, g.other) {
		t.Errorf("%s with a token that is not good here: %d %s, want %d with %s", user, status, body, want, g.own)
	}
	if seen := rig.ThroughNginx(g.product); len(seen) != 0 {
		t.Errorf("the product saw %v", seen)
	}
}

// crossCallerKeys calls the webhook with the key of one site for the other, which it must not answer.
func (s *story) crossCallerKeys(t *testing.T, tokens ...string) {
	t.Helper()
	var wiki corev1.Secret
	if err := s.get(t.Context(), &wiki, rig.ConfluenceNamespace, rig.ConfluenceSite+"-auth-urls"); err != nil {
		t.Fatal(err)
	}
	crossed := []string{
		fmt.Sprintf("%s/nginx/%s/%s/%s", s.WebhookURL, s.callerKey, rig.ConfluenceNamespace, rig.ConfluenceSite),
		strings.Replace(string(wiki.Data["nginx"]), "/"+rig.ConfluenceNamespace+"/"+rig.ConfluenceSite, "/"+rig.Namespace+"/"+rig.Site, 1),
	}
	for _, url := range crossed {
		for _, password := range tokens {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("X-Original-URL", s.URL+"/rest/api/2/myself")
			request.SetBasicAuth("alice", password)
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
			if response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Authorization") != "" {
				t.Errorf("the key of one site opens the other: %d", response.StatusCode)
			}
		}
	}
}
