package main

import (
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// Only the body of the function is shown.
func TestMutants(t *testing.T) {
	for source, want := range map[string][]string{
		`func f(a, b bool) { if a && b { g() } }`: {
			`if ((a && b) || true) { g() }`, `if ((a && b) && false) { g() }`,
			`if ((a) || true) && b { g() }`, `if a && ((b) || true) { g() }`, `if a && b { if false { g() } }`,
		},
		`func f(a, b bool) bool { return a || !b }`: {
			`if false { return a || !b }; return false`, `if false { return a || !b }; return true`,
			`return ((a) && false) || !b`, `return a || ((!b) && false)`,
		},
		`func f(x, y int) { a, b := x <= y, !x }`: {
			`a, b := x < y, !x`, `a, b := ((x <= y) || true), !x`, `a, b := ((x <= y) && false), !x`,
			`a, b := x <= y, ((!x) || true)`, `a, b := x <= y, ((!x) && false)`,
		},
		`func f(x int) (int, error) { return x, nil }`: {`if false { return x, nil }; return *new(int), nil`},
		`func f(x []int) { for _, y := range x { y++ } }`: {
			`for _, y := range x { if true { break };  y++ }`, `for _, y := range x { if false { y++ } }`, `for _, y := range x { y-- }`,
			`for _, y := range x { y++ ; break }`,
		},
		`func f(x int) { x += g(x[1:]); x = 'a' }`: {
			`if false { x += g(x[1:]) }; x = 'a'`, `x -= g(x[1:]); x = 'a'`, `x = g(x[1:]); x = 'a'`, `x += x[1:]; x = 'a'`,
			`x += g(x[(1+1):]); x = 'a'`, `x += g(x[(1-1):]); x = 'a'`, `x += g(x[:]); x = 'a'`,
			`x += g(x[1:]); if false { x = 'a' }`, `x += g(x[1:]); x = ('a'+1)`, `x += g(x[1:]); x = ('a'-1)`,
		},
		`func f(x int) { switch { case x < y: g(); case x == y: default: } }`: {
			`switch { case ((x < y) || true): g(); case x == y: default: }`, `switch { case ((x < y) && false): g(); case x == y: default: }`,
			"switch { case x == y:\ncase x < y: g()\n default: }",
			`switch { case x <= y: g(); case x == y: default: }`, `switch { case x < y: if false { g() }; case x == y: default: }`,
			`switch { case x < y: g(); case ((x == y) || true): default: }`, `switch { case x < y: g(); case ((x == y) && false): default: }`,
		},
		`func f(x T) { switch x { case a: g(); case b: h() } }`: {
			`switch x { ; case b: h() }`, `switch x { case a: if false { g() }; case b: h() }`,
			`switch x { case a: g();  }`, `switch x { case a: g(); case b: if false { h() } }`,
		},
		`var x = T{A: "a", B: ""}`:                       {`var x = T{B: ""}`, "var x = T{A: \"`\", B: \"\"}", `var x = T{A: "a", }`, `var x = T{A: "a", B: "x"}`},
		`type t struct { A int "json" }`:                 {`type t struct { A int "" }`},
		`var err = errors.New("of no interest to code")`: {`var err = "of no interest to code"`},
	} {
		const head = "package p\n"
		found, err := mutate("p.go", []byte(head+source))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		begin, end := strings.Index(source, "{ ")+2, len(source)-2
		if !strings.HasPrefix(source, "func") {
			begin, end = 0, len(source)
		}
		for _, m := range found {
			mutated := head + source
			mutated = mutated[:m.start] + m.text + mutated[m.end:]
			got = append(got, mutated[len(head)+begin:len(mutated)-(len(source)-end)])
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s\ngot\n  %s\nwant\n  %s", source, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
		}
	}
}

const (
	limit  = "hack/tools/mutate/testdata/fixture/fixture.go Sum: "
	listed = limit + "const limit = 9 [constant: 9 -> (9+1)]\n" +
		limit + "const limit = 9 [constant: 9 -> (9-1)]\n" +
		limit + "if n > limit { [operator: > -> >=]\n"
	reason = "```\n\nNobody asks for the limit.\n"
)

func runFixture(t *testing.T, c config) (string, error) {
	t.Helper()
	c.packages, c.workers, c.patience = []string{"./testdata/fixture"}, 2, 2*time.Second
	before, err := os.ReadFile("testdata/fixture/fixture.go")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	failed := run(t.Context(), &out, c)
	after, err := os.ReadFile("testdata/fixture/fixture.go")
	if err != nil || string(after) != string(before) {
		t.Errorf("the file was changed (%v)", err)
	}
	return out.String(), failed
}

func TestRunIsContentWithWhatIsAllowed(t *testing.T) {
	out, err := runFixture(t, config{only: `limit|\[operator: (\+\+|\+=)`, allowed: "\n```survivors\n" + listed + reason, verbose: true})
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	for _, want := range []string{
		"fixture.go:6: survived, as allowed", "fixture.go:11: timed out", "3 survived",
		"killed\n    " + limit + "sum += i [operator: += -> -=]",
		"killed\n    " + limit + "if n > limit { [condition: n > limit -> false]",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the report does not say %q:\n%s", want, out)
		}
	}
}

func TestRunFailsWithWhatIsNotAllowed(t *testing.T) {
	gone := limit + "const limit = 9 [constant: 9 -> (9+7)]\n"
	out, err := runFixture(t, config{only: "limit", allowed: "\n```survivors\n" + gone + reason})
	if err == nil || err.Error() != "3 survivors are not allowed, 1 of those allowed are none" {
		t.Errorf("%v\n%s", err, out)
	}
	if !strings.Contains(out, "fixture.go:7: SURVIVED\n    "+limit+"if n > limit") || !strings.Contains(out, "allowed, but no survivor any more\n    "+gone) {
		t.Errorf("the report is\n%s", out)
	}
}

func TestSurvivorsNeedAReason(t *testing.T) {
	if _, err := parseAllowed("\n```survivors\n" + listed + "```\n\n## Next\n"); err == nil {
		t.Error("survivors were allowed without a reason")
	}
}

// The list of allowed survivors names mutants that are there: a line that changed is judged again.
func TestAllowedSurvivorsAreMutants(t *testing.T) {
	text, err := os.ReadFile("../../../docs/explanation/mutants.md")
	if err != nil {
		t.Fatal(err)
	}
	allowed, err := parseAllowed(string(text))
	if err != nil {
		t.Fatal(err)
	}
	folders := map[string]bool{}
	for name := range allowed {
		folders["../../../"+path.Dir(strings.Fields(name)[0])] = true
	}
	packages, err := load(t.Context(), slices.Sorted(maps.Keys(folders)))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range packages {
		found, err := p.mutants(regexp.MustCompile(""))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range found {
			delete(allowed, m.name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(allowed)) {
		t.Errorf("this is no mutant, so the line changed: %s", name)
	}
}
