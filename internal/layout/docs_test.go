package layout_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	namedTest = regexp.MustCompile("`(?:[a-z]+\\.)?((?:Test|Fuzz|Benchmark)[A-Za-z0-9]+)`")
	namedStep = regexp.MustCompile("`demo: ([a-zA-Z]+)`")
)

// The threat model names the test that fails when a rule is broken. It has to be there.
func TestThreatModelNamesRealTests(t *testing.T) {
	document, err := os.ReadFile("../../docs/explanation/threat-model.md")
	if err != nil {
		t.Fatal(err)
	}
	var code strings.Builder
	err = filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		text, err := os.ReadFile(path)
		code.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	tests, steps := namedTest.FindAllSubmatch(document, -1), namedStep.FindAllSubmatch(document, -1)
	for _, name := range tests {
		if !strings.Contains(code.String(), "func "+string(name[1])+"(") {
			t.Errorf("docs/explanation/threat-model.md names %s, which is not there", name[1])
		}
	}
	for _, name := range steps {
		if !strings.Contains(code.String(), "func (s *story) "+string(name[1])+"(") {
			t.Errorf("docs/explanation/threat-model.md names the step %s of the demo, which is not there", name[1])
		}
	}
	if len(tests) < 30 || len(steps) < 3 {
		t.Errorf("found only %d tests and %d steps", len(tests), len(steps))
	}
}
