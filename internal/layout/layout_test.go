// Package layout_test checks the tree as a whole: imports point one way, functions and lines are short, names and texts
// use the words of the field, and documents name what exists.
package layout_test

import (
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "apitokens.dev/operator/"

// machinery is what the core decides without.
var machinery = []string{"k8s.io/client-go/", "sigs.k8s.io/controller-runtime/"}

// Imports point one way, through everything that is imported indirectly too. The linter says the same of direct imports,
// sooner. In hack, tests count as well.
func TestDependencies(t *testing.T) {
	for pattern, forbidden := range map[string][]string{
		"internal/token":      machinery,
		"internal/record":     machinery,
		"internal/username":   machinery,
		"internal/lifetime":   machinery,
		"internal/terms":      machinery,
		"internal/authurl":    machinery,
		"internal/upstream":   machinery,
		"internal/enrolment":  machinery,
		"internal/siteurl":    machinery,
		"internal/storedjson": machinery,
		"internal/license":    machinery,
		"internal/projection": machinery,
		"internal/percent":    machinery,
		"internal/pathprefix": machinery,
		"internal/httpheader": machinery,
		// What a backup holds and a restore does is decided without the API server.
		"internal/plugin/archive": machinery,
		"internal/authn":          append([]string{"k8s.io/", "net/http"}, machinery...),
		"internal/...":            {module + "controllers", module + "webhook", module + "cmd", module + "hack"},
		"api/v1alpha1":            append([]string{module + "internal"}, machinery...),
		"controllers/...":         {module + "webhook", module + "cmd", module + "hack"},
		"webhook/gateway/...":     {module + "controllers", module + "webhook/portal", module + "cmd", module + "hack"},
		"webhook/portal/...":      {module + "controllers", module + "webhook/gateway", module + "cmd", module + "hack"},
		"cmd/...":                 {module + "hack"},
		// What the plugin of kubectl needs is not in the operator's binary.
		"cmd/apitoken-operator": {module + "internal/plugin", "k8s.io/cli-runtime", "sigs.k8s.io/kustomize"},
		"cmd/kubectl-apitoken":  {module + "controllers", module + "webhook"},
		"hack/lib/...":          {module + "hack/suites", module + "hack/tools"},
		"hack/tools/...":        {module + "hack/lib", module + "hack/suites"},
	} {
		args := []string{"list", "-deps", module + pattern}
		if strings.HasPrefix(pattern, "hack/") {
			args = []string{"list", "-deps", "-test", "-tags", "e2e,long,cluster", module + pattern}
		}
		deps, err := exec.CommandContext(t.Context(), "go", args...).Output()
		if err != nil {
			t.Fatalf("go list %s: %v", pattern, err)
		}
		for dep := range strings.Lines(string(deps)) {
			for _, prefix := range forbidden {
				if strings.HasPrefix(dep, prefix) {
					t.Errorf("%s depends on %s", pattern, strings.TrimSpace(dep))
				}
			}
		}
	}
}

// Decisions lie beside the reconcilers that carry them out, in files of their own.
func TestDecisionsImportNoMachinery(t *testing.T) {
	var files []string
	for _, room := range []string{"*", "*/*"} {
		found, err := filepath.Glob("../../controllers/" + room + "/decide*.go")
		if err != nil || len(found) < 2 {
			t.Fatalf("found the decision files %q, %v", found, err)
		}
		files = append(files, found...)
	}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, imported := range parsed.Imports {
			path, err := strconv.Unquote(imported.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			for _, prefix := range machinery {
				if strings.HasPrefix(path, prefix) {
					t.Errorf("%s imports %s", file, path)
				}
			}
		}
	}
}
