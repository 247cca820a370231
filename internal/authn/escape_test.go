package authn

import (
	"math/rand/v2"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// faultOf is the rule of docs/reference/requests.md for a byte of a path, encoded or not.
func faultOf(c byte, encoded bool) pathFault {
	switch {
	case c < ' ', c == 0x7f, c == '\\', encoded && c == '/', !encoded && (c == ' ' || c == '#' || c == '%' || c > 0x7f):
		return ambiguous
	case strings.IndexByte(";%#", c) >= 0:
		return specialCharacter
	}
	return faultless
}

func checkPath(t *testing.T, raw, want string, fault pathFault) {
	t.Helper()
	if fault == ambiguous {
		want = ""
	}
	if got, f := canonicalPath(nil, raw); string(got) != want || f != fault {
		t.Fatalf("canonicalPath(%q) = %q, %v; want %q, %v", raw, got, f, want, fault)
	}
}

func TestEveryByteOfAPath(t *testing.T) {
	for i := range 256 {
		c := byte(i)
		checkPath(t, "/x"+string([]byte{c})+"y", "/x"+string([]byte{c})+"y", faultOf(c, false))
	}
}

// The test has every percent sign with two bytes behind it, in the middle of a path, at its end, and in its parameters.
func TestEveryEscapeOfAPath(t *testing.T) {
	for i := range 256 * 256 {
		escape := "%" + string([]byte{byte(i >> 8), byte(i)})
		text, err := url.PathUnescape(escape)
		fault := ambiguous
		if err == nil {
			fault = faultOf(text[0], true)
		}
		checkPath(t, "/x"+escape, "/x"+text, fault)
		checkPath(t, "/x"+escape+"y/z", "/x"+text+"y/z", fault)
		checkPath(t, "/x;"+escape, "/x;"+text, max(fault, specialCharacter))
	}
	for _, raw := range []string{"/%", "/%4", "/x%41%", "/x%41%4"} {
		checkPath(t, raw, "", ambiguous)
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
	if n := emptyIndexDecoy.secretCount(); n != 1 || emptyIndexDecoy.user() == "" || emptyIndexDecoy.rare != nil {
		t.Errorf("emptyIndexDecoy has %d entries and the user %q", n, emptyIndexDecoy.user())
	}
}
