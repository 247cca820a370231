package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	syaml "sigs.k8s.io/yaml"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/controlplane"
)

// languages are what a fence may say, so that no command escapes the check under another name.
var languages = []string{"", "sh", "bash", "console", "html", "yaml", "json", "nginx", "promql", "python", "ruby", "survivors", "text"}

// allBlocks returns the blocks of all pages.
func allBlocks(t *testing.T) (all []block) {
	t.Helper()
	root := controlplane.RepositoryRoot()
	paths, err := pages(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range paths {
		blocks, err := readPage(root, page)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, blocks...)
	}
	if len(all) < 90 {
		t.Fatalf("found only %d blocks", len(all))
	}
	return all
}

// Every block of commands can be read by a shell, and every block of YAML is a whole object or a part of one of ours. What is
// neither says why.
func TestBlocks(t *testing.T) {
	for _, b := range allBlocks(t) {
		switch {
		case !slices.Contains(languages, b.lang):
			t.Errorf("%s: %q is no language that is known here", b.at(), b.lang)
		case b.isCommand():
			bash := exec.CommandContext(t.Context(), "bash", "-n")
			bash.Stdin = strings.NewReader(b.commands())
			if out, err := bash.CombinedOutput(); err != nil || strings.TrimSpace(b.commands()) == "" {
				t.Errorf("%s: no commands: %v: %s", b.at(), err, out)
			}
		case b.lang == "yaml" && b.mark == "":
			checkYAML(t, b)
		}
	}
}

// checkYAML checks that objects of ours have no unknown field. The others are only read.
func checkYAML(t *testing.T, b block) {
	t.Helper()
	text, err := manifest(controlplane.RepositoryRoot(), b)
	if err != nil {
		t.Error(err)
		return
	}
	decoder := yaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text)))
	for {
		document, err := decoder.Read()
		if errors.Is(err, io.EOF) {
			return
		}
		var o unstructured.Unstructured
		if err := errors.Join(err, syaml.Unmarshal(document, &o.Object)); err != nil {
			t.Fatalf("%s: %v", b.at(), err)
		}
		var into any = &unstructured.Unstructured{}
		switch {
		case o.GetAPIVersion() == "" || o.GetKind() == "" || o.GetName() == "":
			t.Errorf("%s: an object without apiVersion, kind or name", b.at())
		case o.GetKind() == "APIToken":
			into = &tokensv1alpha1.APIToken{}
		case o.GetKind() == "AtlassianSite":
			into = &tokensv1alpha1.AtlassianSite{}
		default:
			continue
		}
		if err := syaml.UnmarshalStrict(document, into); err != nil {
			t.Errorf("%s: %s %s: %v", b.at(), o.GetKind(), o.GetName(), err)
		}
	}
}

// Each file that prepares a page belongs to a page.
func TestPreparations(t *testing.T) {
	root := controlplane.RepositoryRoot()
	paths, err := pages(root)
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("before/*")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		if !slices.ContainsFunc(paths, func(page string) bool { return beforeName(page) == filepath.Base(file) }) {
			t.Errorf("%s prepares no page", file)
		}
		text, err := os.ReadFile(file)
		if err != nil || len(bytes.TrimSpace(text)) == 0 {
			t.Errorf("%s is empty: %v", file, err)
		}
	}
}

func TestParse(t *testing.T) {
	const page = "# A page\n\n<!-- docs-check: needs a\nreal product -->\n```sh\ncurl\n```\n\ntext\n\n   ```console\n   $ a \\\n     b\n   out\n   $ c\n   ```\n"
	blocks, err := parse("p.md", page)
	want := []block{
		{page: "p.md", line: 5, lang: "sh", text: "curl\n", mark: "needs a real product"},
		{page: "p.md", line: 11, lang: "console", text: "$ a \\\n  b\nout\n$ c\n"},
	}
	if err != nil || !slices.Equal(blocks, want) {
		t.Fatalf("%v: %+v", err, blocks)
	}
	if got := blocks[1].commands(); got != "a \\\n  b\nc\n" {
		t.Errorf("commands are %q", got)
	}
	if _, err := parse("p.md", "```sh\nls\n"); err == nil {
		t.Error("a block without an end was accepted")
	}
}

// A block fails if it does not run to its end, and if another code comes than its comment says.
func TestJudge(t *testing.T) {
	run := []block{{page: "p", line: 1, text: "curl # 200\ncurl # 401\n"}, {page: "p", line: 9, text: "ls"}}
	for _, c := range []struct {
		out  string
		want int
	}{
		{"\n@@ preparation\n\n@@ p:1\n200\n401\n\n@@ p:9\na\n\n@@ end\n", 2},
		{"\n@@ preparation\n\n@@ p:1\n200\n200\n\n@@ p:9\na\n\n@@ end\n", 1},
		{"\n@@ preparation\n\n@@ p:1\n200\n401\n\n@@ p:9\nno such file\n", 1},
		{"\n@@ preparation\n\n@@ p:1\n200\n", 0},
		{"\n@@ preparation\nnothing", 0},
	} {
		if got := judge(run, c.out, errors.New("exit status 1")); got != c.want {
			t.Errorf("%q: %d blocks are right, want %d", c.out, got, c.want)
		}
	}
}
