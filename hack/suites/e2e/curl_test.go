//go:build e2e

package e2e_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"
)

const tokensPath = "/rest/api-tokens/latest"

// who is a caller: the arguments of curl that authenticate them.
type who struct {
	*site

	user string
	args []string
}

// session returns a caller who is signed in to the product.
func (s *site) session(user string) who {
	cookie := s.product.SignIn(user)
	return who{s, user, []string{"--cookie", cookie.Name + "=" + cookie.Value}}
}

// bearer returns a caller with a personal access token of the product.
func (s *site) bearer(user, pat string) who {
	return who{s, user, []string{"--header", "Authorization: Bearer " + pat}}
}

// basic returns a caller with an API token.
func (s *site) basic(user, token string) who {
	return who{s, user, []string{"--user", user + ":" + token}}
}

// answer is the response that curl received.
type answer struct {
	status int
	header http.Header
	body   string
}

// curl runs curl for one request.
func (w who) curl(t *testing.T, method, path, body string) answer {
	t.Helper()
	args := append([]string{"--silent", "--show-error", "--include", "--raw", "--max-time", "30", "--request", method}, w.args...)
	if body != "" {
		args = append(args, "--header", "Content-Type: application/json", "--data", body)
	}
	out, err := exec.CommandContext(t.Context(), "curl", append(args, w.url+path)...).CombinedOutput()
	if err != nil {
		t.Fatalf("curl --request %s %s: %v: %s", method, path, err, out)
	}
	response, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(out)), nil)
	if err != nil {
		t.Fatalf("what curl printed of %s: %v", path, err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, strings.TrimSpace(string(text))}
}

// tokens calls the REST API and fails unless the status is the expected one.
func (w who) tokens(t *testing.T, want int, method, path, body string) answer {
	t.Helper()
	a := w.curl(t, method, tokensPath+path, body)
	if a.status != want {
		t.Fatalf("%s %s %s: %d %s, want %d", method, path, body, a.status, a.body, want)
	}
	return a
}

// create creates a token and returns its id and plaintext.
func (w who) create(t *testing.T, body string) (id, text string) {
	t.Helper()
	made := w.tokens(t, http.StatusCreated, "POST", "/", body).object(t)
	id, _ = made["id"].(string)
	text, _ = made["token"].(string)
	return id, text
}

// is fails unless the product takes the caller for this user.
func (w who) is(t *testing.T, user string) {
	t.Helper()
	await(t, "the product takes the caller for "+user, func() (bool, string) {
		a := w.curl(t, "GET", w.myself, "")
		return a.status == http.StatusOK && a.object(t)[w.named] == user, a.body
	})
}

// isRefused fails unless the caller is refused with this status.
func (w who) isRefused(t *testing.T, status int) answer {
	t.Helper()
	var a answer
	await(t, http.StatusText(status), func() (bool, string) {
		a = w.curl(t, "GET", w.myself, "")
		return a.status == status, a.body
	})
	return a
}

func (a answer) object(t *testing.T) map[string]any {
	t.Helper()
	var object map[string]any
	if err := json.Unmarshal([]byte(a.body), &object); err != nil {
		t.Fatalf("%d %q is no JSON object: %v", a.status, a.body, err)
	}
	return object
}

// ids returns the ids of a list of tokens.
func (a answer) ids(t *testing.T) (ids []string) {
	t.Helper()
	var list []struct{ ID string }
	if err := json.Unmarshal([]byte(a.body), &list); err != nil {
		t.Fatalf("%d %q is no list: %v", a.status, a.body, err)
	}
	for _, one := range list {
		ids = append(ids, one.ID)
	}
	return ids
}
