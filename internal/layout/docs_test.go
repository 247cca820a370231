package layout_test

import (
	"path"
	"regexp"
	"strings"
	"testing"
)

var (
	namedTest = regexp.MustCompile("`(?:([a-z0-9]+)\\.)?((?:Test|Fuzz|Benchmark)[A-Za-z0-9]+)`")
	namedStep = regexp.MustCompile("`demo: ([a-zA-Z]+)`")
	declared  = regexp.MustCompile(`(?m)^func (?:\([^)]*\) )?(\w+)\(`)
)

// Pages name the test that fails when a rule is broken. It exists, in the folder that stands before its name.
func TestDocumentsNameRealTests(t *testing.T) {
	folders := map[string]map[string]bool{}
	for file, text := range files(t, ".go") {
		for _, function := range declared.FindAllStringSubmatch(text, -1) {
			if folders[function[1]] == nil {
				folders[function[1]] = map[string]bool{}
			}
			folders[function[1]][path.Base(path.Dir(file))] = true
		}
	}
	least := map[string]int{"docs/explanation/threat-model.md": 200, "docs/explanation/gateway-advisories.md": 40, "docs/how-to/stop.md": 18}
	for page, document := range files(t, ".md") {
		tests, steps := namedTest.FindAllStringSubmatch(document, -1), namedStep.FindAllStringSubmatch(document, -1)
		for _, name := range tests {
			if in := folders[name[2]]; in == nil || name[1] != "" && !in[name[1]] {
				t.Errorf("%s names %s of %q, which is not there", page, name[2], name[1])
			}
		}
		for _, name := range steps {
			if !folders[name[1]]["demo"] {
				t.Errorf("%s names the step %s of the demo, which is not there", page, name[1])
			}
		}
		if len(tests) < least[page] {
			t.Errorf("found only %d tests in %s", len(tests), page)
		}
		delete(least, page)
	}
	if len(least) > 0 {
		t.Errorf("found no %v", least)
	}
}

// Every advisory has an answer: a test, a version of the gateway, or what no sample does.
func TestAdvisoriesAreAnswered(t *testing.T) {
	const page = "docs/explanation/gateway-advisories.md"
	answer, rows := regexp.MustCompile("`([a-z]+\\.)?(Test|Fuzz)\\w+`|\\d+\\.\\d+\\.\\d+|no sample|try a wrong token|in the sample"), 0
	for row := range strings.Lines(files(t, "gateway-advisories.md")[page]) {
		cells := strings.Split(strings.TrimSpace(row), "|")
		if len(cells) < 5 || !strings.Contains(cells[1], "-") || strings.Contains(cells[1], "---") {
			continue
		}
		rows++
		if !answer.MatchString(cells[len(cells)-2]) {
			t.Errorf("no answer: %s", row)
		}
	}
	if rows < 40 {
		t.Errorf("found only %d rows", rows)
	}
}

// Every row of the tables of stops says how, what it ends, and by which test that is shown.
func TestStopsAreComplete(t *testing.T) {
	const page = "docs/how-to/stop.md"
	_, section, _ := strings.Cut(files(t, "stop.md")[page], "\n## The stops\n")
	section, _, _ = strings.Cut(section, "\n## ")
	rows, headings := map[string]int{}, 0
	for row := range strings.Lines(section) {
		cells := strings.Split(row, "|")
		switch {
		case len(cells) < 4:
		case strings.TrimSpace(cells[1]) == "stop":
			headings++
		case !strings.Contains(cells[1], "---"):
			rows[linkedText.ReplaceAllString(strings.TrimSpace(cells[1]), "$1")]++
		}
	}
	for stop, n := range rows {
		if n != headings {
			t.Errorf("%s: %q is in %d of %d tables", page, stop, n, headings)
		}
	}
	if headings != 3 || len(rows) < 10 {
		t.Errorf("%s: found %d tables with %d stops", page, headings, len(rows))
	}
}

// An epoch that is set to now lets live what is made in the same second, and what lagging portals make.
func TestEpochsAreSetAhead(t *testing.T) {
	now := regexp.MustCompile(`issuedAfter[^\n]*\$(\(date -u \+|now\b)`)
	for page, document := range files(t, ".md") {
		if found := now.FindString(document); found != "" {
			t.Errorf("%s sets the epoch to now: %s", page, found)
		}
	}
}
