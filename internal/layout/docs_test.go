package layout_test

import (
	"path"
	"regexp"
	"testing"
)

var (
	namedTest = regexp.MustCompile("`(?:([a-z0-9]+)\\.)?((?:Test|Fuzz|Benchmark)[A-Za-z0-9]+)`")
	namedStep = regexp.MustCompile("`demo: ([a-zA-Z]+)`")
	declared  = regexp.MustCompile(`(?m)^func (?:\([^)]*\) )?(\w+)\(`)
)

// The threat model names the test that fails when a rule is broken. It exists, in the folder that stands before its name.
func TestThreatModelNamesRealTests(t *testing.T) {
	const model = "docs/explanation/threat-model.md"
	document := files(t, "threat-model.md")[model]
	folders := map[string]map[string]bool{}
	for file, text := range files(t, ".go") {
		for _, function := range declared.FindAllStringSubmatch(text, -1) {
			if folders[function[1]] == nil {
				folders[function[1]] = map[string]bool{}
			}
			folders[function[1]][path.Base(path.Dir(file))] = true
		}
	}
	tests, steps := namedTest.FindAllStringSubmatch(document, -1), namedStep.FindAllStringSubmatch(document, -1)
	for _, name := range tests {
		if in := folders[name[2]]; in == nil || name[1] != "" && !in[name[1]] {
			t.Errorf("%s names %s of %q, which is not there", model, name[2], name[1])
		}
	}
	for _, name := range steps {
		if !folders[name[1]]["demo"] {
			t.Errorf("%s names the step %s of the demo, which is not there", model, name[1])
		}
	}
	if len(tests) < 30 || len(steps) < 3 {
		t.Errorf("found only %d tests and %d steps", len(tests), len(steps))
	}
}
