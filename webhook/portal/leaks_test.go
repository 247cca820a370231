package portal_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	eventsv1 "k8s.io/api/events/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/hack/lib/portaltest"
	"apitokens.dev/operator/internal/token"
	"apitokens.dev/operator/webhook/portal/leaks"
	"apitokens.dev/operator/webhook/portal/selfservice"
)

// gitHubKey signs as GitHub does. gitLabToken is what GitLab sends.
var gitHubKey, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)

const gitLabToken = "the token of GitLab, for this test only"

// runWithScanners runs the tests with a portal that takes messages of GitHub and GitLab.
func runWithScanners(m *testing.M) int {
	folder, err := os.MkdirTemp("", "leaks")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(folder) }()
	env.Leaks = leaks.Options{GitHubKeys: filepath.Join(folder, "keys.json"), GitLabToken: filepath.Join(folder, "token")}
	writeKeys("1", &gitHubKey.PublicKey)
	if err := os.WriteFile(env.Leaks.GitLabToken, []byte(gitLabToken+"\n"), 0o600); err != nil {
		panic(err)
	}
	return env.Main(m)
}

// writeKeys writes the file that GitHub's API returns.
func writeKeys(identifier string, key *ecdsa.PublicKey) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		panic(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	file, _ := json.Marshal(map[string]any{"public_keys": []any{map[string]any{"key_identifier": identifier, "key": string(text), "is_current": true}}})
	if err := os.WriteFile(env.Leaks.GitHubKeys, file, 0o600); err != nil {
		panic(err)
	}
}

// leak is one find of a message.
type leak map[string]string

const gitHubPath, gitLabPath = "/rest/api-tokens/latest/leaks/github", "/rest/api-tokens/latest/leaks/gitlab/v1/revoke_tokens"

func reportToGitLab(t *testing.T, w *portaltest.World, finds ...leak) (status int, body string) {
	t.Helper()
	message, err := json.Marshal(finds)
	must(t, err)
	return exchange{method: "POST", target: gitLabPath, body: string(message), header: http.Header{"Authorization": {gitLabToken}}, media: "application/json"}.answer(t, w)
}

// signed are the headers of GitHub's message.
func signed(t *testing.T, with *ecdsa.PrivateKey, identifier, body string) http.Header {
	t.Helper()
	digest := sha256.Sum256([]byte(body))
	signature, err := ecdsa.SignASN1(rand.Reader, with, digest[:])
	must(t, err)
	return http.Header{"Github-Public-Key-Identifier": {identifier}, "Github-Public-Key-Signature": {base64.StdEncoding.EncodeToString(signature)}}
}

func reportToGitHub(t *testing.T, w *portaltest.World, finds ...leak) (status int, body string) {
	t.Helper()
	message, err := json.Marshal(finds)
	must(t, err)
	return exchange{method: "POST", target: gitHubPath, body: string(message), header: signed(t, gitHubKey, "1", string(message)), media: "application/json"}.answer(t, w)
}

// GitHub reports tokens of two sites at one of them, one of them twice, among texts that are none. They are revoked with their
// descendants, the owners learn where they were found, and the same message again changes nothing.
func TestLeaksFromGitHub(t *testing.T) {
	w, other := env.Jira(t), env.Confluence(t)
	id, text := create(t, w, "alice")
	childID, child := createWith(t, w, text)
	otherID, otherText := create(t, other, "bob")
	_, stays := create(t, w, "alice")
	wrong, err := token.New(id, rand.Reader)
	must(t, err)
	const at = "https://github.com/octocat/hello/blob/1234/config.txt"
	message := []leak{
		{"token": text, "type": "api_token", "url": at, "source": "content"}, {"token": text, "type": "api_token", "url": "https://github.com/second", "source": "commit"},
		{"token": otherText, "url": "https://github.com/" + stays + "/x"}, {"token": wrong}, {"token": "some_token", "url": "some_url"}, {},
	}
	owners := map[string]string{id: apiTokenName(t, w, id), childID: apiTokenName(t, w, childID), otherID: apiTokenName(t, other, otherID)}
	for range 2 {
		if status, body := reportToGitHub(t, w, message...); status != http.StatusOK || body != "" {
			t.Fatalf("%d %s", status, body)
		}
		for _, dead := range []struct {
			at   *portaltest.World
			text string
		}{{w, text}, {w, child}, {other, otherText}} {
			if accepted(t, dead.at, dead.text) == nil {
				t.Error("a leaked token works")
			}
		}
	}
	must(t, accepted(t, w, stays))
	for id, want := range map[string]string{
		id: `"scanner":"GitHub","foundAt":"` + at + `"`, childID: `"scanner":"GitHub","foundAt":""`, otherID: `"scanner":"GitHub","foundAt":"https://github.com"`,
	} {
		if line := lineAbout(id); strings.Count(env.Audit(), "GitHub has revoked API Token ("+id+")") != 1 || !strings.Contains(line, want) || !strings.Contains(line, `"actor":""`) {
			t.Errorf("the line is %s, want %s", line, want)
		}
	}
	notes := map[string]string{}
	for _, namespace := range []string{w.Site.Namespace, other.Site.Namespace} {
		var events eventsv1.EventList
		must(t, env.Admin.List(t.Context(), &events, client.InNamespace(namespace)))
		for _, e := range events.Items {
			if e.Reason == selfservice.ReasonLeaked && e.Regarding.Kind == "APIToken" && e.Regarding.UID != "" {
				notes[e.Regarding.Name] += e.Note
			}
		}
	}
	const end = " It was revoked. Look for its use in the log."
	for id, want := range map[string]string{
		id:      "GitHub reported that it found this API token at " + at + "." + end,
		childID: "GitHub reported that it found the API token with which this one was made." + end,
		otherID: "GitHub reported that it found this API token at https://github.com." + end,
	} {
		if got := notes[owners[id]]; got != want {
			t.Errorf("the owner of %s is told %q, want %q", id, got, want)
		}
	}
}

// Only GitHub's signature over the very body counts, and GitLab's token. A key counts as soon as the file has it.
func TestLeaksAreAuthenticated(t *testing.T) {
	w := env.Jira(t)
	_, text := create(t, w, "alice")
	body := `[{"token":"` + text + `","url":"https://github.com/a"}]`
	otherKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	good := signed(t, gitHubKey, "1", body)
	twice := good.Clone()
	twice.Add("Github-Public-Key-Signature", twice.Get("Github-Public-Key-Signature"))
	unsigned := good.Clone()
	unsigned.Del("Github-Public-Key-Signature")
	for name, sent := range map[string]exchange{
		"without headers":          {target: gitHubPath, header: http.Header{}},
		"without a signature":      {target: gitHubPath, header: unsigned},
		"with two signatures":      {target: gitHubPath, header: twice},
		"with another key":         {target: gitHubPath, header: signed(t, otherKey, "1", body)},
		"with an unknown key":      {target: gitHubPath, header: signed(t, gitHubKey, "2", body)},
		"of another body":          {target: gitHubPath, header: signed(t, gitHubKey, "1", body+" ")},
		"signed for GitLab":        {target: gitLabPath, header: good},
		"with another token":       {target: gitLabPath, header: http.Header{"Authorization": {gitLabToken + "x"}}},
		"with a scheme":            {target: gitLabPath, header: http.Header{"Authorization": {"Bearer " + gitLabToken}}},
		"with two tokens":          {target: gitLabPath, header: http.Header{"Authorization": {gitLabToken, gitLabToken}}},
		"with an empty token":      {target: gitLabPath, header: http.Header{"Authorization": {""}}},
		"with the API token found": {target: gitLabPath, header: basic(text)},
	} {
		sent.method, sent.body, sent.media = "POST", body, "application/json"
		if status, said := sent.answer(t, w); status != http.StatusUnauthorized || !strings.Contains(said, "not authenticated") {
			t.Errorf("%s: %d %s", name, status, said)
		}
	}
	must(t, accepted(t, w, text))
	defer writeKeys("1", &gitHubKey.PublicKey)
	writeKeys("2", &otherKey.PublicKey)
	if status, said := (exchange{method: "POST", target: gitHubPath, body: body, header: signed(t, otherKey, "2", body)}).answer(t, w); status != http.StatusOK {
		t.Errorf("with the new key: %d %s", status, said)
	}
	must(t, os.Remove(env.Leaks.GitHubKeys))
	if status, said := (exchange{method: "POST", target: gitHubPath, body: body, header: good}).answer(t, w); status != http.StatusInternalServerError || strings.Contains(said, "keys.json") {
		t.Errorf("without a file: %d %s", status, said)
	}
}

func TestLeaksFromGitLab(t *testing.T) {
	w := env.Jira(t)
	id, text := create(t, w, "alice")
	types := exchange{method: "GET", target: "/rest/api-tokens/latest/leaks/gitlab/v1/revocable_token_types", header: http.Header{"Authorization": {gitLabToken}}}
	if status, body := types.answer(t, w); status != http.StatusOK || body != `{"types":["gitleaks_rule_id_apitokens-dev"]}`+"\n" {
		t.Errorf("%d %s", status, body)
	}
	types.header = http.Header{}
	if status, _ := types.answer(t, w); status != http.StatusUnauthorized {
		t.Errorf("without a token: %d", status)
	}
	find := leak{"type": leaks.TokenType, "token": text, "location": "https://gitlab.example.com/a/b/-/blob/1234/.env#L3", "vulnerability": ""}
	if status, body := reportToGitLab(t, w, find, leak{"type": "aws_secret", "token": "x"}); status != http.StatusBadRequest || !strings.Contains(body, leaks.TokenType) {
		t.Errorf("another type: %d %s", status, body)
	}
	must(t, accepted(t, w, text))
	if status, body := reportToGitLab(t, w, find, find); status != http.StatusNoContent || body != "" {
		t.Errorf("%d %s", status, body)
	}
	if accepted(t, w, text) == nil {
		t.Error("a leaked token works")
	}
	if line := lineAbout(id); !strings.Contains(line, `"scanner":"GitLab","foundAt":"https://gitlab.example.com/a/b/-/blob/1234/.env#L3"`) {
		t.Error(line)
	}
}

// Messages are bounded, and what is malformed changes nothing.
func TestMalformedLeaks(t *testing.T) {
	w := env.Jira(t)
	_, text := create(t, w, "alice")
	one := `{"type":"` + leaks.TokenType + `","token":"` + text + `"}`
	for body, want := range map[string]int{
		"": 400, "{": 400, one: 400, `"x"`: 400, "[" + one + "]x": 400, `[{"type":"` + leaks.TokenType + `","token":1}]`: 400, "[" + one: 400,
		"[" + strings.Repeat(one+",", 500) + one + "]": http.StatusRequestEntityTooLarge,
		"[" + one + strings.Repeat(" ", 256<<10) + "]": http.StatusRequestEntityTooLarge,
		"[]":   http.StatusNoContent,
		"null": http.StatusNoContent,
	} {
		x := exchange{method: "POST", target: gitLabPath, body: body, header: http.Header{"Authorization": {gitLabToken}}}
		if status, said := x.answer(t, w); status != want {
			t.Errorf("%.60q: %d %s, want %d", body, status, said, want)
		}
	}
	for target, method := range map[string]string{gitHubPath: "GET", gitLabPath: "DELETE", strings.Replace(gitLabPath, "revoke_tokens", "revocable_token_types", 1): "POST"} {
		if status, _ := (exchange{method: method, target: target, header: http.Header{}}).answer(t, w); status != http.StatusMethodNotAllowed {
			t.Errorf("%s %s: %d", method, target, status)
		}
	}
	must(t, accepted(t, w, text))
}

// A message with as many tokens as it may have, all well-formed and unknown, costs few lists of the API server.
func TestManyUnknownLeaks(t *testing.T) {
	w := env.Jira(t)
	_, text := create(t, w, "alice")
	finds := []leak{{"token": text}}
	for len(finds) < 500 {
		id, err := token.NewID(rand.Reader)
		must(t, err)
		unknown, err := token.New(id, rand.Reader)
		must(t, err)
		finds = append(finds, leak{"token": unknown})
	}
	var lists atomic.Int64
	api.intercept(func(r *http.Request) lossKind {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/secrets") && r.URL.Query().Get("labelSelector") != "" {
			lists.Add(1)
		}
		return nothingLost
	})
	defer api.intercept(nil)
	if status, body := reportToGitHub(t, w, finds...); status != http.StatusOK {
		t.Errorf("%d %s", status, body)
	}
	if lists.Load() != 5 {
		t.Errorf("%d lists, want 5", lists.Load())
	}
	if accepted(t, w, text) == nil {
		t.Error("a leaked token works")
	}
}

// While the API server is away, the scanner is told to come again.
func TestLeaksDuringAnOutage(t *testing.T) {
	w := env.Jira(t)
	_, text := create(t, w, "alice")
	api.set(0, http.StatusServiceUnavailable)
	status, body := reportToGitHub(t, w, leak{"token": text})
	api.set(0, 0)
	if status != http.StatusServiceUnavailable {
		t.Errorf("%d %s", status, body)
	}
	kubetest.Eventually(t, func() error {
		if status, body := reportToGitHub(t, w, leak{"token": text}); status != http.StatusOK {
			return fmt.Errorf("%d %s", status, body)
		}
		return nil
	})
	if accepted(t, w, text) == nil {
		t.Error("a leaked token works")
	}
}

// createWith creates a token with another one.
func createWith(t *testing.T, w *portaltest.World, parent string) (id, text string) {
	t.Helper()
	var created struct{ ID, Token string }
	must(t, json.Unmarshal([]byte(call(t, w, "POST", "/rest/api-tokens/latest/", `{"label":"child"}`, basic(parent))), &created))
	return created.ID, created.Token
}

// apiTokenName returns the name of the APIToken with an id.
func apiTokenName(t *testing.T, w *portaltest.World, id string) string {
	t.Helper()
	for _, of := range apiTokens(t, w) {
		if recordOf(t, &of).TokenID == id {
			return of.Name
		}
	}
	t.Fatalf("there is no APIToken with the id %s", id)
	return ""
}

// lineAbout returns the line of the log about the revocation of a token.
func lineAbout(id string) string {
	for line := range bytes.Lines([]byte(env.Audit())) {
		if bytes.Contains(line, []byte("has revoked API Token ("+id+")")) {
			return string(line)
		}
	}
	return ""
}
