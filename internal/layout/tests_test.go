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
	text := files(t, "test.sh")["hack/tools/test.sh"]
	for list, folders := range map[string]string{"alone": "of", "apart": "from"} {
		runsOnce(t, text, list, folders)
	}
}

// runsOnce checks a list of tests in the script, which run in these folders and nowhere else.
func runsOnce(t *testing.T, script, list, folders string) {
	t.Helper()
	tests := regexp.MustCompile(`(?m)^` + list + `='\^\(([A-Za-z|]+)\)\$'$`).FindStringSubmatch(script)
	in := regexp.MustCompile(`(?m)^` + folders + `=\(([^)]+)\)$`).FindStringSubmatch(script)
	if tests == nil || in == nil {
		t.Fatalf("the script has no list %s, or no folders %s", list, folders)
	}
	names, of := strings.Split(tests[1], "|"), strings.Fields(in[1])
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
