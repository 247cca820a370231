package pathprefix_test

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"apitokens.dev/operator/internal/pathprefix"
)

func TestCoversAndContains(t *testing.T) {
	for _, tc := range []struct {
		prefix, path      string
		covers, contained bool
	}{
		{"/rest/api", "/rest/api", true, false},
		{"/rest/api", "/rest/api/", true, true},
		{"/rest/api", "/rest/api/2", true, true},
		{"/rest/api", "/rest/apis", false, false},
		{"/rest/api", "/rest/ap", false, false},
		{"/rest/api", "/rest", false, false},
		{"/rest/api", "/REST/api", false, false},
		{"/rest/api", "/x/rest/api", false, false},
		{"/rest/api", "", false, false},
		{"/rest/api/", "/rest/api", true, false},
		{"/rest/api/", "/rest/api/", true, true},
		{"/rest/api/", "/rest/api/2", true, true},
		{"/rest/api/", "/rest/apis", false, false},
		{"/", "/", true, true},
		{"/", "/rest", true, true},
		{"/", "", true, false},
		{"", "/rest", true, true},
		{"", "", true, false},
	} {
		if got := pathprefix.Covers(tc.prefix, tc.path); got != tc.covers {
			t.Errorf("%q covers %q: %t, want %t", tc.prefix, tc.path, got, tc.covers)
		}
		if got := pathprefix.Contains(tc.prefix, []byte(tc.path)); got != tc.contained {
			t.Errorf("%q contains %q: %t, want %t", tc.prefix, tc.path, got, tc.contained)
		}
	}
}

// A regular expression says the same of random paths, as text and as bytes. Whatever a covered prefix covers is covered.
func TestCoversIsWhatTheExpressionSays(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	slashes := regexp.MustCompile(`//+`)
	path := func() string {
		var b strings.Builder
		for range random.IntN(4) {
			b.WriteString([]string{"/", "/a", "/ab", "/A", "b"}[random.IntN(5)])
		}
		return slashes.ReplaceAllString(b.String(), "/")
	}
	covered := 0
	for range 200_000 {
		a, b, c := path(), path(), path()
		want := regexp.MustCompile(`\A` + regexp.QuoteMeta(strings.TrimSuffix(a, "/")) + `(/|\z)`).MatchString(b)
		if got := pathprefix.Covers(a, b); got != want || got != pathprefix.Covers(a, []byte(b)) {
			t.Fatalf("%q covers %q: %t, want %t", a, b, got, want)
		}
		if want = regexp.MustCompile(`\A` + regexp.QuoteMeta(strings.TrimSuffix(a, "/")) + `/`).MatchString(b); pathprefix.Contains(a, b) != want {
			t.Fatalf("%q contains %q: %t, want %t", a, b, !want, want)
		}
		if pathprefix.Covers(a, b) && pathprefix.Covers(b, c) && !pathprefix.Covers(a, c) {
			t.Fatalf("%q covers %q, that covers %q, and the first does not", a, b, c)
		}
		if want {
			covered++
		}
	}
	if covered < 1000 {
		t.Fatalf("only %d of the paths are covered", covered)
	}
}
