// Package gitleaks_test tries the rules of config/scanners with gitleaks itself.
package gitleaks_test

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const scanners = "../../../config/scanners"

// digits returns n random digits of base62.
func digits(n int) string {
	const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	random := make([]byte, n)
	_, _ = rand.Read(random) // it never fails
	for i, b := range random {
		random[i] = alphabet[int(b)%len(alphabet)]
	}
	return string(random)
}

// finding is what gitleaks reports.
type finding struct{ RuleID, Secret, File string }

// scan returns what gitleaks finds in these files with a configuration.
func scan(t *testing.T, config string, files map[string]string) (found []finding) {
	t.Helper()
	folder := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	report := filepath.Join(t.TempDir(), "report.json")
	command := exec.CommandContext(t.Context(), "go", "tool", "gitleaks", "dir", folder, "--config", config, "--no-banner", "--report-path", report)
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := command.CombinedOutput()
	leaks := (*exec.ExitError)(nil)
	if err != nil && !errors.As(err, &leaks) {
		t.Fatalf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(report)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := json.Unmarshal(text, &found); err != nil {
		t.Fatal(err)
	}
	return found
}

// gitlabRules writes the rules that the configuration of GitLab's secret detection hands to gitleaks. GitLab's own rules, which it
// extends, are only in its image.
func gitlabRules(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(scanners, "gitlab.toml"))
	if err != nil {
		t.Fatal(err)
	}
	value := regexp.MustCompile(`(?s)value = '''\n(.*)\n'''`).FindSubmatch(text)
	if value == nil {
		t.Fatal("there is no value")
	}
	rules, ok := strings.CutPrefix(string(value[1]), "[extend]\npath = \"/gitleaks.toml\"\n")
	if !ok {
		t.Fatalf("it begins with %.50q", value[1])
	}
	file := filepath.Join(t.TempDir(), "gitleaks.toml")
	if err := os.WriteFile(file, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// gitleaks finds each token in what surrounds it, by our rule, and nothing in what is no token. Its own rules stay.
func TestRules(t *testing.T) {
	text := "asp_" + digits(16) + "_" + digits(46)
	own, err := filepath.Abs(filepath.Join(scanners, "gitleaks.toml"))
	if err != nil {
		t.Fatal(err)
	}
	with := map[string]string{"url.txt": "alice:%@jira.example.com", "config.json": `{"password": "%"}`, ".env": "TOKEN=%\n", "page.html": "<b>%</b>", "main.go": "(\"%\")", "query": "?t=%&x"}
	files := map[string]string{}
	for name, around := range with {
		files[name] = strings.Replace(around, "%", text, 1)
	}
	for name, other := range map[string]string{"id": text[:20], "short": text[:66], "long": text + "A", "inside": "x" + text} {
		files[name] = other + "\n"
	}
	files["other.txt"] = "glpat-" + digits(20) + "\n"
	for config, more := range map[string]string{own: "gitlab-pat", gitlabRules(t): ""} {
		var got, want, others []string
		for _, f := range scan(t, config, files) {
			switch f.RuleID {
			case "apitokens-dev":
				if f.Secret != text {
					t.Errorf("%s: found %q", f.File, f.Secret)
				}
				got = append(got, filepath.Base(f.File))
			case "gitlab-pat":
				others = append(others, f.RuleID)
			}
		}
		for name := range with {
			want = append(want, name)
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: found in %q, want in %q", config, got, want)
		}
		if fmt.Sprint(others) != "["+more+"]" {
			t.Errorf("%s: its other rules found %q", config, others)
		}
	}
}
