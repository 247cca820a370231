package layout_test

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// stumbled are phrases at which first readers stumbled. Each was replaced by its plain meaning.
var stumbled = regexp.MustCompile(`(?i)` + strings.Join([]string{
	`everybody is who has the right`, `everything that it joins`, `address that it is told`, `never one that may more`,
	`secrets (of a token )?(that )?go on\b`, `it cannot be as things are`, `initial list not seen`, `and is bob`,
	`the former is left alone`, `\bwhoever\b`, `\bone spelling\b`, `neither is believed`,
	`must not be this string`, `token was made then`, `not valid here`,
}, "|"))

func TestPhrasesThatReadersStumbledOver(t *testing.T) {
	for path, text := range files(t, append(written, "openapi.json")...) {
		if strings.HasPrefix(path, "internal/layout/") {
			continue // they are named here
		}
		for i, line := range strings.Split(text, "\n") {
			if found := stumbled.FindString(line); found != "" {
				t.Errorf("%s:%d: %q: say it in plain words", path, i+1, found)
			}
		}
	}
}

// A row of a table fits a line, as everything else does. A longer cell is a paragraph.
func TestTablesHaveShortCells(t *testing.T) {
	for path, text := range files(t, ".md") {
		for number, line := range prose(text) {
			if n := utf8.RuneCountInString(line); strings.HasPrefix(line, "|") && n > maxDocumentColumns {
				t.Errorf("%s:%d: a row with %d columns, more than %d", path, number, n, maxDocumentColumns)
			}
		}
	}
}
