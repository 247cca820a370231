package rest_test

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/hack/lib/portaltest"
	"apitokens.dev/operator/internal/token"
)

// ask is the body of a question whether a text is a token that works.
func ask(text string) string {
	encoded, _ := json.Marshal(map[string]string{"token": text}) // a string can be encoded
	return string(encoded)
}

// refusesToVerify returns an error as long as a text is said to be a token that works.
func refusesToVerify(as client, text string) error {
	if got := as.send("POST", "/verify", ask(text)); got.status != http.StatusUnauthorized {
		return fmt.Errorf("verified: %d", got.status)
	}
	return nil
}

// Leak scanners learn whether a token works, and nothing else.
func TestVerify(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		other := env.Confluence(t)
		alice, scanner := session(t, w, "alice"), client{World: w, t: t}
		id, text := alice.create(`{"label":"leaked","access":"ReadOnly","allowedSources":["198.51.100.0/24"]}`)
		_, foreign := session(t, other, "alice").create(`{"label":"of another site"}`)
		wrong, err := token.New(id, rand.Reader)
		must(t, err)
		before := env.Audit()
		for _, body := range []string{
			ask(text), `{"apitokens.dev":{"token":["` + text + `","` + text + `"]}}`, `{"apitokens.dev":{"token":["` + text + `"]}}`,
		} {
			if got := scanner.expect(http.StatusOK, "POST", "/verify", body); got.body != "" {
				t.Error(got.body)
			}
		}
		var refused []string
		for _, presented := range []string{wrong, foreign, id, text[:66], text + "x", " " + text, "", "x", "\x00", strings.Repeat("asp_", 1000), strings.ToUpper(text)} {
			refused = append(refused, scanner.expect(http.StatusUnauthorized, "POST", "/verify", ask(presented)).body)
		}
		refused = append(refused, alice.withToken("alice", wrong).expect(http.StatusUnauthorized, "GET", "/", "").body)
		if refused = slices.Compact(refused); len(refused) != 1 {
			t.Errorf("the answers differ: %q", refused)
		}
		for body, field := range map[string]string{
			`{}`: "token", `{"token":null}`: "token", `{"token":1}`: "token", `{"text":"x"}`: "text", `[]`: "", `{"apitokens.dev":{"token":[]}}`: "token",
			`{"token":"x","apitokens.dev":{"token":["x"]}}`: "token",
		} {
			if got := scanner.expect(http.StatusBadRequest, "POST", "/verify", body); !got.says(t, w, field, "") {
				t.Errorf("%s: %s", body, got.body)
			}
		}
		for line := range strings.Lines(strings.TrimPrefix(env.Audit(), before)) {
			if strings.Contains(line, `/verify"`) {
				t.Errorf("a question is in the log: %s", line)
			}
		}
		if used := alice.expect(http.StatusOK, "GET", "/"+id, "").fields(t)["lastAccessed"]; used != nil {
			t.Errorf("to ask was a use at %v", used)
		}
		alice.expect(http.StatusNoContent, "DELETE", "/"+id, "")
		kubetest.Eventually(t, func() error { return refusesToVerify(scanner, text) })
	})
}

// A token that is suspended does not work, and one whose user is blocked does not either.
func TestVerifyOfStoppedTokens(t *testing.T) {
	w := env.Jira(t)
	alice, scanner := session(t, w, "alice"), client{World: w, t: t}
	suspended := declare(t, w, kubetest.Token(w.Site.Namespace, "ci", func(tok *tokensv1alpha1.APIToken) { tok.Spec.State = tokensv1alpha1.StateSuspended }))
	kubetest.Eventually(t, func() error { return wantIDs(alice, suspended.id) })
	scanner.expect(http.StatusUnauthorized, "POST", "/verify", ask(suspended.text))
	_, text := alice.create(`{"label":"works"}`)
	scanner.expect(http.StatusOK, "POST", "/verify", ask(text))
	policy(t, w, func(s *tokensv1alpha1.AtlassianSite) {
		s.Spec.BlockedUsers = []tokensv1alpha1.BlockedUser{{Name: "alice"}}
	})
	kubetest.Eventually(t, func() error { return refusesToVerify(scanner, text) })
}

// TruffleHog and Kingfisher ask, and revoke, as their rule files say.
func TestScannersAsk(t *testing.T) {
	w := env.Jira(t)
	alice, scanner := session(t, w, "alice"), client{World: w, t: t}
	_, text := alice.create(`{"label":"leaked"}`)
	send := func(status int, method, url, body, media string) {
		t.Helper()
		path, ok := strings.CutPrefix(url, "https://jira.example.com/rest/api-tokens/latest")
		if !ok || media != "application/json" {
			t.Fatalf("asks %s with %s", url, media)
		}
		scanner.expect(status, method, path, body)
	}
	var hog struct {
		Detectors []struct {
			Name     string            `json:"name"`
			Keywords []string          `json:"keywords"`
			Regex    map[string]string `json:"regex"`
			Verify   []struct {
				Endpoint string   `json:"endpoint"`
				Headers  []string `json:"headers"`
			} `json:"verify"`
		} `json:"detectors"`
	}
	readRules(t, "trufflehog.yaml", &hog)
	detector := hog.Detectors[0]
	if len(detector.Keywords) != 1 || !strings.Contains(text, detector.Keywords[0]) {
		t.Errorf("a token has none of the keywords %q", detector.Keywords)
	}
	groups := map[string][]string{}
	for name, expression := range detector.Regex {
		groups[name] = regexp.MustCompile(expression).FindStringSubmatch("password=" + text)
	}
	body, err := json.Marshal(map[string]any{detector.Name: groups})
	must(t, err)
	media, _ := strings.CutPrefix(detector.Verify[0].Headers[0], "Content-Type: ")
	send(http.StatusOK, "POST", detector.Verify[0].Endpoint, string(body), media)

	type step struct {
		Content struct {
			Request struct {
				Method  string            `json:"method"`
				URL     string            `json:"url"`
				Headers map[string]string `json:"headers"`
				Body    string            `json:"body"`
				Matcher []struct {
					Status []int `json:"status"`
				} `json:"response_matcher"`
			} `json:"request"`
		} `json:"content"`
	}
	var fisher struct {
		Rules []struct {
			Validation step `json:"validation"`
			Revocation step `json:"revocation"`
		} `json:"rules"`
	}
	readRules(t, "kingfisher.yaml", &fisher)
	for _, s := range []step{fisher.Rules[0].Validation, fisher.Rules[0].Revocation} {
		r := s.Content.Request
		send(r.Matcher[0].Status[0], r.Method, r.URL, strings.Replace(r.Body, "{{ TOKEN }}", text, 1), r.Headers["Content-Type"])
	}
	send(http.StatusUnauthorized, "POST", detector.Verify[0].Endpoint, string(body), media)
}

func readRules(t *testing.T, name string, into any) {
	t.Helper()
	text, err := os.ReadFile("../../../config/scanners/" + name)
	must(t, err)
	must(t, yaml.Unmarshal(text, into))
}
