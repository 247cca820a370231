package token_test

import (
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"testing/iotest"

	"apitokens.dev/operator/internal/token"
)

// The golden token keeps the format: it may never change for tokens that people already have.
const (
	goldenID    = "asp_DquJoZLwlsNJm6gU"
	goldenToken = "asp_DquJoZLwlsNJm6gU_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcd0HhnJ2"
)

func newToken(t *testing.T) (id, text string) {
	t.Helper()
	id, err := token.NewID(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text, err = token.New(id, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return id, text
}

func TestNewTokenParses(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id, text := newToken(t)
		if len(text) != token.Length || !strings.HasPrefix(text, id+"_") {
			t.Fatalf("token of id %s has the wrong shape", id)
		}
		got, ok := token.Parse([]byte(text))
		if !ok || string(got) != id {
			t.Fatalf("Parse = %q, %v; want %q", got, ok, id)
		}
		if seen[id] || seen[text] {
			t.Fatal("a token was made twice")
		}
		seen[id], seen[text] = true, true
	}
}

func TestParseGolden(t *testing.T) {
	if id, ok := token.Parse([]byte(goldenToken)); !ok || string(id) != goldenID {
		t.Errorf("Parse(golden) = %q, %v", id, ok)
	}
}

func TestDigitsAreEquallyLikely(t *testing.T) {
	const tokens = 20_000
	counts := map[rune]int{}
	for range tokens {
		id, text := newToken(t)
		for _, c := range text[len(id)+1 : token.Length-6] {
			counts[c]++
		}
	}
	// Chi-square with 61 degrees of freedom: above 120 with probability below 1e-5.
	want, chi := float64(tokens*40)/62, 0.0
	for _, n := range counts {
		chi += (float64(n) - want) * (float64(n) - want) / want
	}
	if len(counts) != 62 || chi > 120 {
		t.Errorf("%d different digits, chi-square %.1f", len(counts), chi)
	}
}

func TestParseRefusesEveryEdit(t *testing.T) {
	_, text := newToken(t)
	refuse := func(edited string) {
		t.Helper()
		if edited == text {
			return
		}
		if _, ok := token.Parse([]byte(edited)); ok {
			t.Errorf("an edited token parsed: %q", edited)
		}
	}
	for i := range len(text) {
		refuse(text[:i])
		refuse(text[i:])
		refuse(text[:i] + text[i+1:])
		for c := range 256 {
			refuse(text[:i] + string([]byte{byte(c)}) + text[i+1:])
			refuse(text[:i] + string([]byte{byte(c)}) + text[i:])
		}
		if i > 0 {
			refuse(text[:i-1] + text[i:i+1] + text[i-1:i] + text[i+1:])
		}
	}
	for _, tail := range []string{" ", "\n", "\r\n", "\x00", "=", text} {
		refuse(text + tail)
		refuse(tail + text)
	}
	refuse(strings.ToUpper(text))
	refuse(strings.ToLower(text))
	refuse("")
}

func TestNewReportsItsReasons(t *testing.T) {
	broken := errors.New("no entropy")
	if _, err := token.NewID(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("NewID: %v", err)
	}
	if _, err := token.New(goldenID, iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("New: %v", err)
	}
	for _, id := range []string{"", "asp_", goldenID + "x", "ASP_DquJoZLwlsNJm6gU", "asp_DquJoZLwlsNJm6g-"} {
		if _, err := token.New(id, rand.Reader); !errors.Is(err, token.ErrInvalidID) {
			t.Errorf("New(%q): %v", id, err)
		}
	}
}

func TestParseDoesNotAllocate(t *testing.T) {
	text := []byte(goldenToken)
	if n := testing.AllocsPerRun(100, func() { token.Parse(text) }); n != 0 {
		t.Errorf("Parse allocates %v times", n)
	}
}
