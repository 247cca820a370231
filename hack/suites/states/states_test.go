// Package states_test puts APITokens and AtlassianSites into each of their states, and compares the output of kubectl with
// docs/reference/states.md.
package states_test

import (
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"apitokens.dev/operator/hack/lib/controlplane"
	"apitokens.dev/operator/internal/authurl"
)

var update = flag.Bool("update", false, "write into docs/reference/states.md what kubectl shows")

func page() string { return filepath.Join(controlplane.RepositoryRoot(), "docs/reference/states.md") }
func conditions() string {
	return filepath.Join(controlplane.RepositoryRoot(), "api/v1alpha1/conditions.go")
}

// block is a command on the page with its output.
var block = regexp.MustCompile("(?s)\n```console\n\\$ ([^\n]*)\n(.*?)```\n")

func TestStates(t *testing.T) {
	w := newWorld(t)
	w.products()
	w.play(siteExamples)
	w.play(doorExamples())
	w.play(gatewayExamples)
	w.play(enrolledExamples)
	w.wantLicenses()
	w.play(licenseExamples)
	w.licenses = nil
	w.play(tokenExamples)
	w.checkHealth()
	k := newKubectl(w)
	text, err := os.ReadFile(page())
	w.must(err)
	shown := block.ReplaceAllStringFunc(string(text), func(old string) string {
		m := block.FindStringSubmatch(old)
		now := k.show(m[1], strings.HasPrefix(m[2], "Name:"))
		if now != m[2] && !*update {
			t.Errorf("$ %s\nprints\n%s\nbut the page says\n%s", m[1], now, m[2])
		}
		return "\n```console\n$ " + m[1] + "\n" + now + "```\n"
	})
	if *update {
		w.must(os.WriteFile(page(), []byte(shown), 0o600))
	}
	complete(t, shown)
	checkNoSecrets(w, shown)
}

// complete checks that every reason has an example, and that every example is on the page.
func complete(t *testing.T, page string) {
	t.Helper()
	var shown strings.Builder
	for _, m := range block.FindAllStringSubmatch(page, -1) {
		shown.WriteString(m[0])
	}
	for _, reason := range reasons(t) {
		if !regexp.MustCompile(`\b` + reason + `\b`).MatchString(shown.String()) {
			t.Errorf("no example on the page has the reason %s", reason)
		}
	}
	for kind, examples := range map[string][]example{"apitoken": tokenExamples, "atlassiansite": slices.Concat(siteExamples, gatewayExamples, doorExamples(), enrolledExamples, licenseExamples)} {
		for _, e := range examples {
			asked := regexp.MustCompile(`(?m)^\$ kubectl -n \S+ (describe|get) ` + kind + `(s( \S+)*)? ` + e.name + `( |$)`)
			if !asked.MatchString(shown.String()) {
				t.Errorf("the page does not show %s %s", kind, e.name)
			}
		}
	}
}

// reasons returns all reasons of the API.
func reasons(t *testing.T) (all []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), conditions(), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Reason") {
			return true
		}
		literal, ok := spec.Values[0].(*ast.BasicLit)
		if !ok {
			t.Fatalf("%s is no literal", spec.Names[0].Name)
		}
		value, err := strconv.Unquote(literal.Value)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, value)
		return true
	})
	if len(all) < 30 {
		t.Fatalf("found only %d reasons", len(all))
	}
	return all
}

// checkNoSecrets checks that the output contains no secret.
func checkNoSecrets(w *world, shown string) {
	w.Helper()
	found := 0
	for _, secret := range w.secrets() {
		if strings.Contains(shown, secret) {
			w.Error("the page shows what a Secret holds")
		}
		found++
	}
	if found < 30 || strings.Contains(shown, string(authurl.KeysSecretType)+"/") || strings.Contains(shown, "$sha256") {
		w.Errorf("looked for %d secrets only, or the page shows a hash", found)
	}
}
