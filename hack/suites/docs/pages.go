package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// statesPage is compared with the output of kubectl by hack/suites/states.
const statesPage = "docs/reference/states.md"

// last are the pages that end tokens and the operator. They are checked after the others.
var last = []string{"docs/how-to/stop.md", "docs/how-to/restore.md", "docs/how-to/remove.md"}

// block is a fenced block of a page.
type block struct {
	page string
	line int // of its first fence
	lang string
	text string
	// mark says why the block is not checked here. It is empty for most.
	mark string
}

func (b block) at() string { return fmt.Sprintf("%s:%d", b.page, b.line) }

// isCommand reports whether the block has commands for a shell.
func (b block) isCommand() bool { return slices.Contains([]string{"sh", "bash", "console"}, b.lang) }

// commands returns the commands of the block, without their output.
func (b block) commands() string {
	if b.lang != "console" {
		return b.text
	}
	var typed strings.Builder
	more := false
	for line := range strings.Lines(b.text) {
		command, ok := strings.CutPrefix(line, "$ ")
		if ok || more {
			typed.WriteString(command)
			more = strings.HasSuffix(strings.TrimSpace(command), `\`)
		}
	}
	return typed.String()
}

// pages returns README.md and the pages below docs, in the order in which they are checked.
func pages(root string) (paths []string, err error) {
	err = filepath.WalkDir(filepath.Join(root, "docs"), func(path string, _ fs.DirEntry, err error) error {
		if page, relErr := filepath.Rel(root, path); relErr == nil && filepath.Ext(path) == ".md" && page != statesPage && !slices.Contains(last, page) {
			paths = append(paths, page)
		}
		return err
	})
	return slices.Concat([]string{"README.md"}, paths, last), err
}

// readPage returns the blocks of a page.
func readPage(root, page string) ([]block, error) {
	text, err := os.ReadFile(filepath.Join(root, page))
	if err != nil {
		return nil, fmt.Errorf("reading a page: %w", err)
	}
	return parse(page, string(text))
}

var (
	fence  = regexp.MustCompile("^( *)```([a-z]*)$")
	reason = regexp.MustCompile(`(?s)<!-- docs-check: (.{10,}?) -->\s*$`)
)

func parse(page, text string) (blocks []block, err error) {
	var open *block
	var indent, before string
	for i, line := range strings.Split(text, "\n") {
		m := fence.FindStringSubmatch(line)
		switch {
		case m != nil && open == nil:
			open, indent = &block{page: page, line: i + 1, lang: m[2]}, m[1]
			if r := reason.FindStringSubmatch(before); r != nil {
				open.mark = strings.Join(strings.Fields(r[1]), " ")
			}
		case m != nil && m[2] == "":
			blocks = append(blocks, *open)
			open, before = nil, ""
		case open != nil:
			open.text += strings.TrimPrefix(line, indent) + "\n"
		default:
			before += line + "\n"
		}
	}
	if open != nil {
		return nil, fmt.Errorf("%s: the block does not end", open.at())
	}
	return blocks, nil
}
