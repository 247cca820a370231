package layout_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// found returns what a pattern's first group matches in the files that a glob names, without tests.
func found(t *testing.T, glob string, pattern *regexp.Regexp) (names []string) {
	t.Helper()
	paths, err := filepath.Glob(glob)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range pattern.FindAllSubmatch(text, -1) {
			names = append(names, string(match[1]))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// The reference pages name everything that the code has: a reason, a field, a metric or a flag is never undocumented.
func TestReferenceIsComplete(t *testing.T) {
	const pages = "../../docs/reference/"
	for _, test := range []struct {
		what, glob, pattern string
		pages               []string
		least               int
	}{
		{"reason", "../../api/v1alpha1/conditions.go", `(?m)^\s*(?:Reason|Condition)\w+\s*= "(\w+)"`, []string{"apitoken.md", "atlassiansite.md"}, 40},
		{"field", "../../api/v1alpha1/apitoken_types.go", `json:"(\w+),omit(?:empty|zero)"`, []string{"apitoken.md"}, 20},
		{"field", "../../api/v1alpha1/gateways_types.go", `json:"(\w+),omit(?:empty|zero)"`, []string{"atlassiansite.md"}, 9},
		{"field", "../../api/v1alpha1/atlassiansite_types.go", `json:"(\w+),omit(?:empty|zero)"`, []string{"atlassiansite.md"}, 20},
		{"field", "../../api/v1alpha1/caller_types.go", `json:"(\w+),omit(?:empty|zero)"`, []string{"atlassiansite.md"}, 6},
		{"verdict's reason", "../../internal/authn/*.go", `(?m)^\s*Reason\w+\s+Reason = "(\w+)"`, []string{"requests.md"}, 25},
		{"flag", "../../cmd/apitoken-operator/*.go", `Var\(&[\w.]+, "([\w-]+)"`, []string{"flags.md"}, 12},
	} {
		var text strings.Builder
		for _, page := range test.pages {
			content, err := os.ReadFile(pages + page)
			if err != nil {
				t.Fatal(err)
			}
			text.Write(content)
		}
		names := found(t, test.glob, regexp.MustCompile(test.pattern))
		if len(names) < test.least {
			t.Errorf("found only %d of kind %s in %s", len(names), test.what, test.glob)
		}
		for _, name := range names {
			if name == "metadata" {
				continue // every object's
			}
			if !regexp.MustCompile("`[^`\n]*\\b" + name + "\\b[^`\n]*`").MatchString(text.String()) {
				t.Errorf("the %s %s is not in %s%v", test.what, name, pages, test.pages)
			}
		}
	}
}

// Every metric is in the page of metrics, and the page has no others.
func TestMetricsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/reference/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`"(apitoken_[a-z_]+)"`)
	metrics := map[string]bool{}
	for _, root := range []string{"../../controllers", "../../internal", "../../webhook"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				for _, name := range found(t, filepath.Join(path, "*.go"), named) {
					metrics[name] = true
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(metrics) < 15 {
		t.Errorf("found only %d metrics", len(metrics))
	}
	for name := range metrics {
		if !strings.Contains(string(page), "`"+name) {
			t.Errorf("the metric %s is not in docs/reference/metrics.md", name)
		}
	}
	for _, match := range regexp.MustCompile("`(apitoken_[a-z_]+)").FindAllSubmatch(page, -1) {
		if name := string(match[1]); !metrics[name] && !strings.HasSuffix(name, "_") {
			t.Errorf("docs/reference/metrics.md has %s, which is no metric", name)
		}
	}
}
