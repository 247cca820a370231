package layout_test

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// Tables have short cells: a row fits a line as everything else does. A longer cell is a paragraph.
func TestTablesHaveShortCells(t *testing.T) {
	for path, text := range files(t, ".md") {
		for number, line := range prose(text) {
			if n := utf8.RuneCountInString(line); strings.HasPrefix(line, "|") && n > maxDocumentColumns {
				t.Errorf("%s:%d: a row with %d columns, more than %d", path, number, n, maxDocumentColumns)
			}
		}
	}
}

// offWords are words for a person who may be anybody, and phrases that made first readers stumble.
var offWords = regexp.MustCompile(`(?i)\b(he|him|his|himself)\b|` + strings.Join([]string{
	`everybody is who has the right`, `everything that it joins`, `address that it is told`, `never one that may more`,
	`secrets (of a token )?(that )?go on\b`, `it cannot be as things are`, `initial list not seen`, `and is bob`,
	`the former is left alone`, `whoever writes there issues`, `\bone spelling\b`, `neither is believed`,
	`must not be this string`, `brings? about`, `belongs? into`, `lays? down`,
}, "|"))

func TestDocumentsUsePlainWords(t *testing.T) {
	for path, text := range files(t, ".md") {
		if strings.HasSuffix(path, "/states.md") { // in its boxes the operator speaks: its words are looked at where they are written
			text = strings.Join(slices.Collect(maps.Values(prose(text))), "\n")
		}
		for _, off := range offWords.FindAllString(text, -1) {
			t.Errorf("%s says %q", path, off)
		}
	}
}
