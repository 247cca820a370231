package plugin_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"apitokens.dev/operator/internal/plugin"
	"apitokens.dev/operator/internal/plugin/exit"
)

var update = flag.Bool("update", false, "write into docs/reference/kubectl-apitoken.md what the commands say of themselves")

const (
	referencePage = "../../docs/reference/kubectl-apitoken.md"
	// generated is the line from which on the page is what the commands say.
	generated = "<!-- From here on: go test ./internal/plugin -run TestReference -update -->\n"
)

func root() *cobra.Command { return plugin.New(genericiooptions.NewTestIOStreamsDiscard(), time.Now) }

// The second half of the page is what the commands say of themselves.
func TestReference(t *testing.T) {
	page, err := os.ReadFile(filepath.FromSlash(referencePage))
	if err != nil {
		t.Fatal(err)
	}
	written, rest, ok := strings.Cut(string(page), generated)
	if !ok {
		t.Fatalf("%s lacks the line %q", referencePage, generated)
	}
	want := reference()
	if *update {
		if err := os.WriteFile(referencePage, []byte(written+generated+want), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if rest != want {
		t.Errorf("%s is not what the commands say: run go test ./internal/plugin -run TestReference -update", referencePage)
	}
	for code, meaning := range exit.Codes {
		if row := fmt.Sprintf("| %d | %s |", code, meaning); !strings.Contains(written, row) {
			t.Errorf("%s lacks the row %q", referencePage, row)
		}
	}
}

// reference is what the commands say of themselves, in Markdown.
func reference() string {
	var b strings.Builder
	for _, c := range commands(root()) {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n```text\n%s\n```\n\n```text\n%s\n```\n", nameOf(c), c.Long, c.UseLine(), c.Example)
		if flags := c.LocalFlags().FlagUsagesWrapped(118); flags != "" {
			fmt.Fprintf(&b, "\n```text\n%s```\n", flags)
		}
	}
	fmt.Fprintf(&b, "\n## Flags of all commands\n\n```text\n%s```\n", root().PersistentFlags().FlagUsagesWrapped(118))
	return b.String()
}

// commands returns the commands below one, each followed by its own.
func commands(of *cobra.Command) (all []*cobra.Command) {
	for _, c := range of.Commands() {
		all = append(append(all, c), commands(c)...)
	}
	return all
}

// nameOf returns a command as it is typed after kubectl apitoken.
func nameOf(c *cobra.Command) string { return strings.TrimPrefix(c.CommandPath(), "kubectl apitoken ") }

// Every command says what it does, with examples that are commands of its own, and has the formats of output that its help says.
func TestEveryCommandIsWhole(t *testing.T) {
	all := commands(root())
	if len(all) < 6 {
		t.Fatalf("found only %d commands", len(all))
	}
	for _, c := range all {
		name := nameOf(c)
		if c.Short == "" || len(c.Long) <= len(c.Short) || c.Example == "" || c.Args == nil || c.RunE == nil || c.GroupID == "" && !strings.Contains(name, " ") {
			t.Errorf("%s lacks a text, an example, a check of its arguments or a group", name)
		}
		for line := range strings.Lines(c.Long + "\n") {
			if len(line) > 121 {
				t.Errorf("%s: the line is longer than 120 columns: %s", name, line)
			}
		}
		for line := range strings.Lines(c.Example) {
			words := strings.Fields(line)
			if len(words) < 3 {
				continue
			}
			_, after, _ := strings.Cut(strings.Join(words, " "), " apitoken ")
			rest, ok := strings.CutPrefix(after+" ", name+" ")
			if !ok {
				t.Errorf("an example of %s is about another command: %s", name, line)
				continue
			}
			checkFlags(t, c, strings.Fields(rest))
		}
		if c.Flags().Lookup("output") == nil {
			t.Errorf("%s has no -o", name)
		}
	}
}

// checkFlags checks that a command has the flags of an example.
func checkFlags(t *testing.T, c *cobra.Command, words []string) {
	t.Helper()
	c.InheritedFlags() // merges those of the root
	for _, word := range words {
		name, _, _ := strings.Cut(word, "=")
		switch {
		case strings.HasPrefix(word, "'"): // an argument that is a command line itself
			return
		case strings.HasPrefix(name, "--"):
			if c.Flags().Lookup(name[2:]) == nil {
				t.Errorf("%s has no %s, which an example uses", c.Name(), name)
			}
		case strings.HasPrefix(name, "-") && len(name) == 2:
			if c.Flags().ShorthandLookup(name[1:]) == nil {
				t.Errorf("%s has no %s, which an example uses", c.Name(), name)
			}
		}
	}
}
