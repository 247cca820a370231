package layout_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	markdownLink = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	inlineCode   = regexp.MustCompile("`[^`]*`")
	namedFunc    = regexp.MustCompile("\\[`(\\w+)`\\]\\(([\\w./-]+\\.go)\\)")
	heading      = regexp.MustCompile(`^#{1,6} +(.+)$`)
	linkedText   = regexp.MustCompile(`!?\[([^\]]*)\]\([^()]*\)`)
	notInAnchor  = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

// prose returns the lines of a page that stand outside fenced code, by their number.
func prose(text string) map[int]string {
	lines, fenced := map[int]string{}, false
	for i, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			fenced = !fenced
		} else if !fenced {
			lines[i+1] = line
		}
	}
	return lines
}

// anchors returns what a link to a heading of the page may name, as GitHub makes it.
func anchors(text string) map[string]bool {
	names, lines := map[string]bool{}, prose(text)
	for _, number := range slices.Sorted(maps.Keys(lines)) {
		match := heading.FindStringSubmatch(lines[number])
		if match == nil {
			continue
		}
		name := linkedText.ReplaceAllString(match[1], "$1")
		name = strings.ReplaceAll(notInAnchor.ReplaceAllString(strings.ToLower(name), ""), " ", "-")
		unique := name
		for i := 1; names[unique]; i++ {
			unique = fmt.Sprintf("%s-%d", name, i)
		}
		names[unique] = true
	}
	return names
}

// brokenLinks returns each relative link of a page at path that leads to no file, or to no heading of it.
func brokenLinks(path, text string) (broken []string, links int) {
	for number, line := range prose(text) {
		for _, match := range markdownLink.FindAllStringSubmatch(inlineCode.ReplaceAllString(line, "code"), -1) {
			if strings.Contains(match[1], "://") || strings.HasPrefix(match[1], "mailto:") {
				continue
			}
			links++
			file, anchor, _ := strings.Cut(match[1], "#")
			target, page := path, text
			if file != "" {
				target = filepath.Join(filepath.Dir(path), file)
				content, err := os.ReadFile(target)
				if _, statErr := os.Stat(target); statErr != nil || anchor != "" && err != nil {
					broken = append(broken, fmt.Sprintf("line %d links to %s, which does not exist", number, match[1]))
					continue
				}
				page = string(content)
			}
			if anchor != "" && !anchors(page)[anchor] {
				broken = append(broken, fmt.Sprintf("line %d links to %s: %s has no such heading", number, match[1], target))
			}
		}
	}
	return broken, links
}

// Every relative link of the documents leads to a file that is there, and to one of its headings.
func TestLinksOfDocuments(t *testing.T) {
	total := 0
	for path, text := range files(t, ".md") {
		broken, links := brokenLinks(filepath.Join("../..", path), text)
		total += links
		for _, each := range broken {
			t.Errorf("%s: %s", path, each)
		}
	}
	if total < 60 {
		t.Errorf("found only %d links", total)
	}
}

func TestBrokenLinksAreFound(t *testing.T) {
	const page = "# A `page`, twice\n\n[a](#a-page-twice) [b](../../README.md) [c](links_test.go)\n# A page twice\n[d](#a-page-twice-1) " +
		"[e](https://example.com/x#y) `[code](nowhere.md)`\n```\n[f](nowhere.md)\n```\n"
	if broken, links := brokenLinks("page.md", page); len(broken) != 0 || links != 4 {
		t.Errorf("found %d links, of them broken: %q", links, broken)
	}
	for _, link := range []string{"nowhere.md", "#nowhere", "../../README.md#nowhere", "nowhere.md#here"} {
		if broken, _ := brokenLinks("page.md", page+"[x]("+link+")\n"); len(broken) != 1 {
			t.Errorf("a link to %s is not found to be broken", link)
		}
	}
}

// Code and configuration name documents by their path below the root.
func TestNamedDocumentsExist(t *testing.T) {
	documents := files(t, ".md")
	named := regexp.MustCompile(`(?:^|[\s"'(])(docs/[\w./-]+\.md)`)
	total := 0
	for path, text := range files(t, ".go", ".yaml", ".conf", ".sh", ".mjs", "Makefile") {
		for _, match := range named.FindAllStringSubmatch(text, -1) {
			total++
			if _, ok := documents[match[1]]; !ok {
				t.Errorf("%s names %s, which does not exist", path, match[1])
			}
		}
	}
	if total < 15 {
		t.Errorf("found only %d names", total)
	}
}

// CONTRIBUTING walks from function to function. Each has to be in the file that its link leads to; the name of a package
// leads to its main file.
func TestWalkNamesRealFunctions(t *testing.T) {
	walk := files(t, "CONTRIBUTING.md")["CONTRIBUTING.md"]
	code := files(t, ".go")
	named := namedFunc.FindAllStringSubmatch(walk, -1)
	for _, link := range named {
		declares := regexp.MustCompile(`(?m)^(func (\([^)]*\) )?` + link[1] + `\(|package ` + link[1] + `$)`)
		if !declares.MatchString(code[link[2]]) {
			t.Errorf("CONTRIBUTING.md links %s to %s, which does not declare it", link[1], link[2])
		}
	}
	if len(named) < 25 {
		t.Errorf("found only %d functions", len(named))
	}
}
