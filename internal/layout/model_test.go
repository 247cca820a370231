package layout_test

import (
	"path"
	"regexp"
	"strings"
	"testing"
)

// docs/explanation/model.md says which functions take the steps of the model. Each exists in the file that its link leads to, and
// names the step in its comment. The model names every step too.
func TestModelNamesRealFunctions(t *testing.T) {
	const page, promela = "docs/explanation/model.md", "hack/suites/model/stops.pml"
	documents, code := files(t, ".md", ".pml"), files(t, ".go")
	row := regexp.MustCompile(`(?m)^\| \*([a-z ]+)\* \|(.*)\|$`)
	steps, functions := row.FindAllStringSubmatch(documents[page], -1), 0
	for _, step := range steps {
		if !strings.Contains(documents[promela], "/* "+step[1]) {
			t.Errorf("%s has no step %s", promela, step[1])
		}
		links := namedFunc.FindAllStringSubmatch(step[2], -1)
		if len(links) == 0 {
			t.Errorf("%s names no function for the step %s", page, step[1])
		}
		for _, link := range links {
			functions++
			file := path.Join(path.Dir(page), link[2])
			comment := regexp.MustCompile(`(?m)((?:^//.*\n)+)^func (?:\([^)]*\) )?` + link[1] + `\(`).FindStringSubmatch(code[file])
			if comment == nil {
				t.Errorf("%s links %s to %s, which has no such function with a comment", page, link[1], file)
				continue
			}
			if words := strings.Join(strings.Fields(strings.ReplaceAll(comment[1], "//", " ")), " "); !strings.Contains(words, "*"+step[1]+"*") {
				t.Errorf("%s: the comment of %s does not name the step *%s*", file, link[1], step[1])
			}
		}
	}
	if len(steps) < 8 || functions < 12 {
		t.Errorf("found only %d steps with %d functions", len(steps), functions)
	}
}
