package layout_test

import (
	"go/ast"
	"go/token"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// avoided are private words for things that the field has a word for. A word counts wherever it is one of the words of a
// declared name: Wish, newWish and wishes, but not wishbone.
var avoided = map[string]string{
	"patiently":   "decideWithSlowHashes",
	"trial":       "slowHashAttempt",
	"trials":      "slowHashAttempts",
	"permit":      "authorize",
	"permits":     "authorizes",
	"permitted":   "authorized",
	"standing":    "validity",
	"rival":       "duplicate",
	"rivals":      "duplicates",
	"nobody":      "decoy, anonymous",
	"wish":        "Requested, CreateRequest",
	"wishes":      "Requested, CreateRequest",
	"wished":      "requested",
	"turns":       "productLimiter",
	"stranger":    "anonymous",
	"strangers":   "anonymous",
	"pulse":       "latencyProbe",
	"discreet":    "cappedLevel",
	"complain":    "logLimited",
	"complains":   "logLimited",
	"whereabouts": "deliveredTo",
}

// avoidedNames are avoided as they stand, since their words are innocent elsewhere. The case of the first letter and a
// plural make no difference. Of a name with a folder before it, only declarations below that folder count.
var avoidedNames = map[string]string{
	"standIn":                         "decoy",
	"ownPace":                         "ignoreRetryAfter",
	"double":                          "fakeproduct, fakeJira, fakeConfluence",
	"guest":                           "productUser",
	"tell":                            "emitEvents, logLimited",
	"tells":                           "emitEvents, logLimited",
	"internal/authn/join":             "link",
	"internal/authn/leave":            "unlink",
	"webhook/portal/bearer":           "tokenOwner",
	"webhook/portal/selfservice/take": "acquire",
	"internal/feed/link":              "connTracker",
	"webhook/portal/profile":          "page",
	"hack/suites/profile":             "page",
	"hack/lib/profile":                "page",
	"internal/serving/profile":        "page",
}

// A declared name uses the word of the field, not a private one: in tests as well, and for packages, fields, parameters
// and local variables.
func TestNamesUseTheFieldsWords(t *testing.T) {
	for _, file := range sources(t) {
		for _, name := range declaredNames(file.parsed) {
			if instead := insteadOf(file.path, name.Name); instead != "" {
				t.Errorf("%s:%d: %s: better %s", file.path, file.line(name.Pos()), name.Name, instead)
			}
		}
	}
}

// insteadOf returns what to write instead of a name that is declared in a file, or "" if the name is a good one.
func insteadOf(path, name string) string {
	for _, word := range words(name) {
		if instead := avoided[word]; instead != "" {
			return instead
		}
	}
	for full, instead := range avoidedNames {
		folder, avoid := "", full
		if i := strings.LastIndex(full, "/"); i >= 0 {
			folder, avoid = full[:i+1], full[i+1:]
		}
		if strings.HasPrefix(path, folder) && slices.Contains([]string{avoid, avoid + "s"}, lowerFirst(name)) {
			return instead
		}
	}
	return ""
}

// words splits a name as Go writes it, HTTPServer into http and server.
func words(name string) (split []string) {
	runes, begin := []rune(name), 0
	for i := 1; i <= len(runes); i++ {
		if i == len(runes) || runes[i] == '_' || startsWord(runes, i) {
			split = append(split, strings.ToLower(strings.Trim(string(runes[begin:i]), "_")))
			begin = i
		}
	}
	return split
}

// startsWord reports whether a word starts at i: behind a small letter or a digit, or at the last capital of several.
func startsWord(runes []rune, i int) bool {
	if !unicode.IsUpper(runes[i]) {
		return false
	}
	return !unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])
}

func lowerFirst(name string) string { return strings.ToLower(name[:1]) + name[1:] }

// declaredNames returns the name of everything that a file declares, its package and what it calls its imports included.
func declaredNames(file *ast.File) []*ast.Ident {
	names := []*ast.Ident{file.Name}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ImportSpec:
			if n.Name != nil {
				names = append(names, n.Name)
			}
		case *ast.FuncDecl:
			names = append(names, n.Name)
		case *ast.TypeSpec:
			names = append(names, n.Name)
		case *ast.ValueSpec:
			names = append(names, n.Names...)
		case *ast.Field: // of structs and interfaces, parameters, results, receivers and type parameters
			names = append(names, n.Names...)
		case *ast.LabeledStmt:
			names = append(names, n.Label)
		case *ast.AssignStmt:
			if n.Tok == token.DEFINE {
				names = append(names, identifiers(n.Lhs...)...)
			}
		case *ast.RangeStmt:
			if n.Tok == token.DEFINE {
				names = append(names, identifiers(n.Key, n.Value)...)
			}
		}
		return true
	})
	return names
}

func identifiers(of ...ast.Expr) (found []*ast.Ident) {
	for _, expression := range of {
		if name, ok := expression.(*ast.Ident); ok {
			found = append(found, name)
		}
	}
	return found
}

// written are the kinds of files that people read, beside the names in them.
var written = []string{".go", ".md", ".yaml", ".conf", ".html", ".css", ".mjs", ".js", ".sh", "Makefile", "run"}

var (
	// People are "they".
	gendered = regexp.MustCompile(`\b[Hh](e|im|is|imself)\b`)
	// These say in private words: reconciles or causes, belongs in, sets or defines.
	privatePhrase = regexp.MustCompile(`(?i)\b(br(ing|ings|ought) about|belongs? into|lays? down)\b`)
)

func TestProseUsesPlainWords(t *testing.T) {
	for path, text := range files(t, written...) {
		for i, line := range strings.Split(text, "\n") {
			if found := gendered.FindString(line); found != "" {
				t.Errorf("%s:%d: %q: people are they", path, i+1, found)
			}
			if found := privatePhrase.FindString(line); found != "" {
				t.Errorf("%s:%d: %q: say it in plain words", path, i+1, found)
			}
		}
	}
}

func TestInsteadOf(t *testing.T) {
	for _, test := range []struct {
		path, name string
		avoid      bool
	}{
		{"internal/authn/decide.go", "patiently", true},
		{"internal/authn/decide.go", "decideWithSlowHashes", false},
		{"internal/lifetime/lifetime.go", "Wish", true},
		{"internal/lifetime/lifetime.go", "newWish", true},
		{"internal/lifetime/lifetime.go", "wishbone", false},
		{"internal/authn/index.go", "join", true},
		{"internal/authn/index.go", "joined", false},
		{"webhook/portal/page/page.go", "join", false},
		{"internal/feed/feed.go", "link", true},
		{"internal/authn/index.go", "link", false},
		{"webhook/portal/page/page.go", "link", false},
		{"webhook/portal/selfservice/caller.go", "Bearer", true},
		{"internal/atlassian/client.go", "Bearer", false},
		{"hack/lib/fakeproduct/product.go", "Doubles", true},
		{"hack/lib/fakeproduct/path.go", "doubleSlash", false},
		{"internal/authn/index.go", "standIn", true},
		{"internal/authn/index.go", "StandingOf", true},
		{"internal/authn/index.go", "outstanding", false},
		{"internal/authn/index.go", "HTTPTrialServer", true},
		{"internal/authn/x_test.go", "TestNobody_passes", true},
	} {
		if got := insteadOf(test.path, test.name); (got != "") != test.avoid {
			t.Errorf("%s in %s: got %q", test.name, test.path, got)
		}
	}
}
