package authn

import (
	"math/rand/v2"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// ambiguous is the rule of docs/reference/requests.md for a byte of a path that two servers could read differently.
func ambiguous(c byte, encoded bool) bool {
	switch {
	case c < ' ' || c == 0x7f || strings.IndexByte(`\#%`, c) >= 0:
		return true
	case encoded:
		return c == '/' || c == ';'
	}
	return c == ' ' || c > 0x7f
}

func TestEveryByteOfAPath(t *testing.T) {
	for i := range 256 {
		c := byte(i)
		got, ok := canonicalPath(nil, "/x"+string([]byte{c})+"y")
		want := map[byte]string{'/': "/x/y", ';': "/x"}[c]
		if want == "" {
			want = "/x" + string([]byte{c}) + "y"
		}
		if refused := ambiguous(c, false); ok == refused || ok && string(got) != want {
			t.Errorf("byte %#x became %q, %v", c, got, ok)
		}
	}
}

// The test has every percent sign with two bytes behind it, in the middle of a path, at its end, and in its parameters.
func TestEveryEscapeOfAPath(t *testing.T) {
	for i := range 256 * 256 {
		escape := "%" + string([]byte{byte(i >> 8), byte(i)})
		text, err := url.PathUnescape(escape)
		refused := err != nil || ambiguous(text[0], true)
		for raw, want := range map[string]string{"/x" + escape: "/x" + text, "/x" + escape + "y/z": "/x" + text + "y/z", "/x;" + escape: "/x"} {
			got, ok := canonicalPath(nil, raw)
			if ok == refused || ok && string(got) != want {
				t.Fatalf("canonicalPath(%q) = %q, %v; want %q", raw, got, ok, want)
			}
		}
	}
	for _, raw := range []string{"/%", "/%4", "/x%41%", "/x%41%4"} {
		if got, ok := canonicalPath(nil, raw); ok {
			t.Errorf("canonicalPath(%q) = %q", raw, got)
		}
	}
}

var escapes = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

// A form is decoded once. A broken escape stands for itself.
func TestUnescapedForms(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	check := func(s string) {
		t.Helper()
		want := escapes.ReplaceAllStringFunc(s, func(e string) string {
			text, _ := url.PathUnescape(e)
			return text
		})
		if got := appendUnescaped(nil, s, 100); string(got) != want {
			t.Fatalf("%q became %q, want %q", s, got, want)
		}
		if got := appendUnescaped(nil, s, 3); string(got) != want[:min(3, len(want))] {
			t.Fatalf("%q became %q, want the first bytes of %q", s, got, want)
		}
	}
	for i := range 256 * 256 {
		s := "%" + string([]byte{byte(i >> 8), byte(i)})
		check(s)
		check("a" + s + "b")
	}
	const letters = "%%%afAF09gG/:@`_+"
	for range 100_000 {
		var s []byte
		for range random.IntN(12) {
			s = append(s, letters[random.IntN(len(letters))])
		}
		check(string(s))
	}
}

// The decoy of an empty index needs as much work as any other entry: it has one secret and a user.
func TestEmptyIndexDecoyIsComplete(t *testing.T) {
	if n := len(emptyIndexDecoy.record.Entries); n != 1 || emptyIndexDecoy.record.User == "" {
		t.Errorf("emptyIndexDecoy has %d entries and the user %q", n, emptyIndexDecoy.record.User)
	}
}
