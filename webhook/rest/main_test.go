package rest_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"apitokens.dev/operator/hack/portaltest"
)

var env portaltest.Env

func TestMain(m *testing.M) { os.Exit(env.Main(m)) }

// client sends requests to one site as somebody.
type client struct {
	*portaltest.World

	t *testing.T
	// as are the headers by which he is known.
	as http.Header
}

// session is somebody who is signed in to the product.
func session(t *testing.T, w *portaltest.World, user string) client {
	t.Helper()
	return client{w, t, http.Header{"Cookie": {w.Product.SignIn(user).String()}}}
}

// bearer is somebody who brings a token.
func (c client) bearer(user, token string) client {
	c.as = http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+token))}}
	return c
}

type answer struct {
	status int
	header http.Header
	body   string
}

// fields are those of a JSON object.
func (a answer) fields(t *testing.T) map[string]any {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal([]byte(a.body), &fields); err != nil {
		t.Fatalf("%d %q is no JSON object: %v", a.status, a.body, err)
	}
	return fields
}

func (a answer) text(t *testing.T, field string) string {
	t.Helper()
	text, _ := a.fields(t)[field].(string)
	return text
}

// send sends a request below /rest/api-tokens/latest.
func (c client) send(method, path, body string, more ...string) answer {
	c.t.Helper()
	request, err := http.NewRequestWithContext(c.t.Context(), method, c.URL+"/rest/api-tokens/latest"+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	request.Header = c.as.Clone()
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(more); i += 2 {
		request.Header.Set(more[i], more[i+1])
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(bytes.TrimSpace(text))}
}

// expect sends a request whose answer must have this status.
func (c client) expect(status int, method, path, body string, more ...string) answer {
	c.t.Helper()
	a := c.send(method, path, body, more...)
	if a.status != status {
		c.t.Fatalf("%s %s %s: %d %s, want %d", method, path, body, a.status, a.body, status)
	}
	return a
}

// create makes a token and returns its id and plaintext.
func (c client) create(body string) (id, token string) {
	c.t.Helper()
	made := c.expect(http.StatusCreated, http.MethodPost, "/", body)
	return made.text(c.t, "id"), made.text(c.t, "token")
}
