package token_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"apitokens.dev/operator/internal/token"
)

// TestScanners checks that the rule of each leak scanner finds tokens in all that surrounds them, and nothing else. gitleaks,
// TruffleHog and GitLab use Go's regular expressions, and Kingfisher's are a superset of what is used here.
func TestScanners(t *testing.T) {
	files, err := filepath.Glob("../../config/scanners/*")
	if err != nil || len(files) < 4 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	var tokens []string
	for range 200 {
		_, text := newToken(t)
		tokens = append(tokens, text)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		rule := regexp.MustCompile(ruleIn(t, file, text))
		for _, tok := range tokens {
			for _, around := range []string{"%", "alice:%@host", `"password": "%"`, "TOKEN=%\n", "<b>%</b>", "(%).", "%%3D"} {
				if found := rule.FindString(strings.Replace(around, "%", tok, 1)); found != tok {
					t.Fatalf("%s finds %q in %q", file, found, around)
				}
			}
		}
		for _, other := range others(tokens[0]) {
			if rule.MatchString(other) {
				t.Errorf("%s takes %d characters for a token", file, len(other))
			}
		}
	}
}

// ruleIn returns the regular expression of a rule file.
func ruleIn(t *testing.T, file string, text []byte) string {
	t.Helper()
	if filepath.Ext(file) == ".toml" {
		m := regexp.MustCompile(`(?m)^regex = '+([^']+)'+$`).FindSubmatch(text)
		if m == nil {
			t.Fatalf("%s has no rule", file)
		}
		return string(m[1])
	}
	var rules struct {
		Detectors []struct{ Regex map[string]string } `json:"detectors"`
		Rules     []struct {
			Pattern  string   `json:"pattern"`
			Examples []string `json:"examples"`
		} `json:"rules"`
	}
	if err := yaml.Unmarshal(text, &rules); err != nil {
		t.Fatal(err)
	}
	if len(rules.Detectors) == 1 {
		return rules.Detectors[0].Regex["token"]
	}
	for _, example := range rules.Rules[0].Examples {
		if _, ok := token.Parse([]byte(example)); !ok {
			t.Errorf("%s has an example with a wrong checksum", file)
		}
	}
	return rules.Rules[0].Pattern
}

// others are texts that are no token, though they look like this one.
func others(tok string) []string {
	return []string{tok[:token.IDLength], tok[:token.Length-1], tok + "A", "x" + tok, strings.Replace(tok, "asp_", "ASP_", 1)}
}
