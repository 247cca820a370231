package layout_test

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// `make test` runs each test once: a name that the run with the race detector leaves out is that of one test, which the other run has.
func TestEachTestRunsOnce(t *testing.T) {
	const script = "hack/tools/test.sh"
	text := files(t, "test.sh")[script]
	alone := regexp.MustCompile(`(?m)^alone='\^\(([A-Za-z|]+)\)\$'$`).FindStringSubmatch(text)
	folders := regexp.MustCompile(`(?m)^of=\(([^)]+)\)$`).FindStringSubmatch(text)
	if alone == nil || folders == nil {
		t.Fatalf("%s names no tests that run alone, or no folders of them", script)
	}
	names, of := strings.Split(alone[1], "|"), strings.Fields(folders[1])
	found := map[string][]string{}
	for file, text := range files(t, "_test.go") {
		for _, function := range declared.FindAllStringSubmatch(text, -1) {
			if slices.Contains(names, function[1]) {
				found[function[1]] = append(found[function[1]], "./"+path.Dir(file))
			}
		}
	}
	for _, name := range names {
		if in := found[name]; len(in) != 1 || !slices.Contains(of, in[0]) {
			t.Errorf("%s is in %v, want one of %v", name, in, of)
		}
	}
}
