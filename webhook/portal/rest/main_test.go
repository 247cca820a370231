package rest_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/portaltest"
)

var env portaltest.Env

func TestMain(m *testing.M) { os.Exit(env.Main(m)) }

// eachProduct runs a test at a site of Jira and at one of Confluence.
func eachProduct(t *testing.T, test func(*testing.T, *portaltest.World), mods ...func(*tokensv1alpha1.AtlassianSite)) {
	t.Helper()
	for name, site := range map[string]func(*testing.T, ...func(*tokensv1alpha1.AtlassianSite)) *portaltest.World{
		"Jira": env.Jira, "Confluence": env.Confluence,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, site(t, mods...))
		})
	}
}

// client sends requests to one site.
type client struct {
	*portaltest.World

	t *testing.T
	// as are the headers that authenticate the client.
	as http.Header
	// version is the version of the API. Empty means latest.
	version string
}

// session returns a client that is signed in to the product.
func session(t *testing.T, w *portaltest.World, user string) client {
	t.Helper()
	return client{World: w, t: t, as: http.Header{"Cookie": {w.Product.SignIn(user).String()}}}
}

// with returns a client with these headers instead.
func (c client) with(headers ...string) client {
	c.as = http.Header{}
	for i := 0; i < len(headers); i += 2 {
		c.as.Add(headers[i], headers[i+1])
	}
	return c
}

// withToken returns a client that authenticates with an API token.
func (c client) withToken(user, token string) client {
	return c.with("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user+":"+token)))
}

type answer struct {
	status int
	header http.Header
	body   string
}

// fields returns the fields of a JSON object.
func (a answer) fields(t *testing.T) map[string]any {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal([]byte(a.body), &fields); err != nil {
		t.Fatalf("%d %q is no JSON object: %v", a.status, a.body, err)
	}
	return fields
}

// fieldsOf returns the fields of an answer, or nil if it is not a JSON object.
func fieldsOf(a answer) (fields map[string]any) {
	_ = json.Unmarshal([]byte(a.body), &fields) // nil is fine
	return fields
}

func (a answer) text(t *testing.T, field string) string {
	t.Helper()
	text, _ := a.fields(t)[field].(string)
	return text
}

// says reports whether an error contains a message, for a field if one is named, in the format of the site's product.
func (a answer) says(t *testing.T, w *portaltest.World, field, message string) bool {
	t.Helper()
	var of struct {
		ErrorMessages []string
		Errors        map[string]string
		Message       string
	}
	if err := json.Unmarshal([]byte(a.body), &of); err != nil {
		t.Fatalf("%d %q is no error: %v", a.status, a.body, err)
	}
	said := of.Message
	switch {
	case w.Site.Spec.Product == tokensv1alpha1.ProductConfluence:
		if !strings.Contains(said, field) {
			return false
		}
	case field != "":
		said = of.Errors[field]
	default:
		said = strings.Join(of.ErrorMessages, "\n")
	}
	return said != "" && strings.Contains(said, message)
}

// send sends a request below the version, and checks the answer against the OpenAPI document.
func (c client) send(method, path, body string, more ...string) answer {
	c.t.Helper()
	a, err := c.try(method, path, body, more...)
	if err != nil {
		c.t.Fatal(err)
	}
	return a
}

// try is send for requests that may fail, from any goroutine.
func (c client) try(method, path, body string, more ...string) (answer, error) {
	return c.tryUntil(c.t.Context(), method, path, body, more...)
}

// tryUntil disconnects when ctx is done.
func (c client) tryUntil(ctx context.Context, method, path, body string, more ...string) (answer, error) {
	target := "/" + cmp.Or(c.version, "latest") + path
	request, err := http.NewRequestWithContext(ctx, method, c.URL+"/rest/api-tokens"+target, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if request.Header = c.as.Clone(); request.Header == nil {
		request.Header = http.Header{}
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(more); i += 2 {
		request.Header.Set(more[i], more[i+1])
	}
	a, err := roundTrip(request)
	if err != nil {
		return answer{}, err
	}
	if err := described().check(method, target, a); err != nil {
		c.t.Errorf("%s %s: %d %s is not as described: %v", method, target, a.status, a.body, err)
	}
	return a, nil
}

func roundTrip(request *http.Request) (answer, error) {
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{}, err
	}
	return answer{response.StatusCode, response.Header, string(bytes.TrimSpace(text))}, nil
}

// expect sends a request and checks the status of the answer.
func (c client) expect(status int, method, path, body string, more ...string) answer {
	c.t.Helper()
	a := c.send(method, path, body, more...)
	if a.status != status {
		c.t.Fatalf("%s %s %s: %d %s, want %d", method, path, body, a.status, a.body, status)
	}
	return a
}

// create creates a token and returns its id and plaintext.
func (c client) create(body string) (id, token string) {
	c.t.Helper()
	made := c.expect(http.StatusCreated, http.MethodPost, "/", body)
	return made.text(c.t, "id"), made.text(c.t, "token")
}

// list returns the listed tokens.
func (c client) list() (all []map[string]any) {
	c.t.Helper()
	a := c.expect(http.StatusOK, http.MethodGet, "/", "")
	if err := json.Unmarshal([]byte(a.body), &all); err != nil {
		c.t.Fatal(err)
	}
	return all
}
