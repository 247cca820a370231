package layout_test

import (
	"go/ast"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

const (
	maxFunctionLines   = 45
	maxDocumentColumns = 120
)

// A function fits a screen, its signature and its comments included. Tests may be longer: tables are.
func TestFunctionsFitAScreen(t *testing.T) {
	for _, file := range sources(t) {
		if file.isTest() {
			continue
		}
		for _, declared := range file.parsed.Decls {
			f, ok := declared.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if lines := file.line(f.End()) - file.line(f.Pos()) + 1; lines > maxFunctionLines {
				t.Errorf("%s:%d: %s has %d lines, more than %d", file.path, file.line(f.Pos()), f.Name.Name, lines, maxFunctionLines)
			}
		}
	}
}

// Documents are read in terminals and in diffs. Tables, code and a line that is one link cannot be wrapped.
func TestDocumentsWrap(t *testing.T) {
	documents := files(t, ".md")
	if len(documents) < 10 {
		t.Fatalf("found only %d documents", len(documents))
	}
	for path, text := range documents {
		for number, columns := range tooWide(text) {
			t.Errorf("%s:%d: %d columns, more than %d", path, number, columns, maxDocumentColumns)
		}
	}
}

// oneWord matches a line that has nothing to break at: a link, a badge or a picture, with what marks a list or a quotation.
var oneWord = regexp.MustCompile(`^\s*([-*>]|[0-9]+\.)?\s*(\S+|!?\[[^\]]*\]\([^)]*\)[.,;:]?)$`)

// tooWide returns the lines of a document that are too wide, with the number of their columns.
func tooWide(document string) map[int]int {
	wide, fence := map[int]int{}, ""
	for i, line := range strings.Split(document, "\n") {
		trimmed := strings.TrimSpace(line)
		if mark := fenceMark(trimmed); mark != "" && (fence == "" || mark == fence) {
			if fence == "" {
				fence = mark
			} else {
				fence = ""
			}
			continue
		}
		columns := utf8.RuneCountInString(line)
		if columns > maxDocumentColumns && fence == "" && !strings.HasPrefix(trimmed, "|") && !oneWord.MatchString(line) {
			wide[i+1] = columns
		}
	}
	return wide
}

// fenceMark returns what begins or ends a block of code, or "" on any other line.
func fenceMark(line string) string {
	for _, mark := range []string{"```", "~~~"} {
		if strings.HasPrefix(line, mark) {
			return mark
		}
	}
	return ""
}

func TestTooWide(t *testing.T) {
	long := strings.Repeat("word ", 30)
	for name, test := range map[string]struct {
		document string
		want     int
	}{
		"short":                {"word\n", 0},
		"120 columns":          {strings.Repeat("w ", 60), 0},
		"121 columns":          {strings.Repeat("w ", 60) + "w", 1},
		"characters, no bytes": {strings.Repeat("é ", 60), 0},
		"a table":              {"| " + long + " |", 0},
		"a block of code":      {"```sh\n" + long + "\n```\n", 0},
		"behind a block":       {"```sh\nx\n```\n" + long, 1},
		"other fences inside":  {"~~~\n```\n" + long + "\n~~~\n" + long, 1},
		"an address":           {"- https://example.com/" + strings.Repeat("a", 120), 0},
		"a badge":              {"![a badge](https://example.com/" + strings.Repeat("a", 120) + ")", 0},
		"text with an address": {"see https://example.com/" + strings.Repeat("a", 120), 1},
		"a list":               {"- " + long, 1},
	} {
		if got := len(tooWide(test.document)); got != test.want {
			t.Errorf("%s: %d lines are too wide, want %d", name, got, test.want)
		}
	}
}
