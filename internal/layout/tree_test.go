package layout_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

// source is a Go file of the repository.
type source struct {
	path   string // below the root, with slashes
	set    *token.FileSet
	parsed *ast.File
}

// line returns the line on which a node begins.
func (s source) line(p token.Pos) int { return s.set.Position(p).Line }

func (s source) isTest() bool { return strings.HasSuffix(s.path, "_test.go") }

// sources parses every Go file that is not generated.
func sources(t *testing.T) (parsed []source) {
	t.Helper()
	for path, text := range files(t, ".go") {
		s := source{path: path, set: token.NewFileSet()}
		var err error
		if s.parsed, err = parser.ParseFile(s.set, path, text, parser.ParseComments|parser.SkipObjectResolution); err != nil {
			t.Fatal(err)
		}
		if !ast.IsGenerated(s.parsed) {
			parsed = append(parsed, s)
		}
	}
	if len(parsed) < 200 {
		t.Fatalf("found only %d Go files", len(parsed))
	}
	return parsed
}

// files reads every file whose name ends so. What is built, installed or made by tests is left out.
func files(t *testing.T, ends ...string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if slices.Contains([]string{"bin", ".git", "node_modules", "testdata"}, d.Name()) {
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() || !slices.ContainsFunc(ends, func(end string) bool { return strings.HasSuffix(d.Name(), end) }) {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		below, err := filepath.Rel(root, path)
		found[filepath.ToSlash(below)] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
