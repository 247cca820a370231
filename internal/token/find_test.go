package token_test

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"apitokens.dev/operator/internal/token"
)

const (
	someID     = "asp_DquJoZLwlsNJm6gU"
	wholeToken = someID + "_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcd0HhnJ2"
)

func TestFind(t *testing.T) {
	for text, want := range map[string]string{
		wholeToken:                     wholeToken,
		"q=" + wholeToken + "&x":       wholeToken,
		"a" + wholeToken:               wholeToken,
		wholeToken + "more":            wholeToken,
		wholeToken + wholeToken:        wholeToken,
		"asp_" + wholeToken:            wholeToken,
		someID + "_x":                  someID + "_x",
		someID + "_x!":                 someID + "_x",
		"%61sp_DquJoZLwlsNJm6gU_x":     "%61sp_DquJoZLwlsNJm6gU_x",
		"%2561sp_DquJoZLwlsNJm6gU_x":   "%2561sp_DquJoZLwlsNJm6gU_x",
		"asp%5fDquJoZLwlsNJm6gU%5F%78": "asp%5fDquJoZLwlsNJm6gU%5F%78",
		someID:                         "",
		someID + "_":                   "",
		someID + "_!":                  "",
		someID + "_&x=y":               "",
		"%252561sp_DquJoZLwlsNJm6gU_x": "%252561sp_DquJoZLwlsNJm6gU_x",
		someID + "_x%255z":             someID + "_x",
		someID + "_x%25":               someID + "_x",
		someID + "_x%255":              someID + "_x",
		someID + "_%":                  "",
		someID + "_%7":                 "",
		someID + "_%..":                "",
		"%.1sp_DquJoZLwlsNJm6gU_x":     "",
		someID + "_%7g":                "",
		someID + "-x":                  "",
		"asp_DquJoZLwlsNJm6g_x":        "",
		"asp_DquJoZLwlsNJm6gUU_x":      "",
		"asp_DquJoZLwlsNJm6g!_x":       "",
		"ASP_DquJoZLwlsNJm6gU_x":       "",
		"asp_net":                      "",
		"asp_build_and_test_all_it_":   "",
		"%c1%a1sp_DquJoZLwlsNJm6gU_x":  "",
		"%":                            "",
		"%6":                           "",
		"":                             "",
	} {
		f, ok := token.Find(text)
		if got := text[f.Start:f.End]; got != want || ok != (want != "") || ok != (f.ID == someID) {
			t.Errorf("%q: found %q of %s, %t; want %q", text, got, f.ID, ok, want)
		}
	}
}

// A token is found in any spelling that decodes to it, and a text without one in no spelling. A regular expression judges
// the decoded text.
func TestFindInAnySpelling(t *testing.T) {
	shape := regexp.MustCompile(`asp_[0-9A-Za-z]{16}_[0-9A-Za-z]{1,46}`)
	random := rand.New(rand.NewPCG(1, 2))
	pieces := []string{"asp_", "_", "DquJoZLwlsNJm6gU", "D", "0", "%", "&", "=", "+", "é", someID, someID + "_", "asp"}
	found := 0
	for range 200_000 {
		var plain strings.Builder
		for range random.IntN(6) {
			plain.WriteString(pieces[random.IntN(len(pieces))])
		}
		spelling := spell(random, plain.String())
		f, ok := token.Find(spelling)
		want := shape.FindString(plain.String())
		if ok != (want != "") {
			t.Fatalf("%q, spelled %q: found %t", plain.String(), spelling, ok)
		}
		if got, err := url.PathUnescape(spelling[f.Start:f.End]); ok && !strings.Contains(spelling, "%25") && (err != nil || got != want) {
			t.Fatalf("%q, spelled %q: found %q, want %q", plain.String(), spelling, spelling[f.Start:f.End], want)
		}
		if ok {
			if f.ID != want[:token.IDLength] {
				t.Fatalf("%q, spelled %q: the id is %q", plain.String(), spelling, f.ID)
			}
			found++
		}
	}
	if found < 5_000 {
		t.Errorf("only %d texts had a token", found)
	}
}

// spell encodes some of the characters of a text. A percent sign is always encoded, since the text has no escapes.
func spell(random *rand.Rand, text string) string {
	var b strings.Builder
	for i := range len(text) {
		switch c := text[i]; {
		case c == '%', c > 0x7f, random.IntN(8) == 0:
			fmt.Fprintf(&b, []string{"%%%02x", "%%%02X"}[random.IntN(2)], c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

func FuzzFind(f *testing.F) {
	f.Add(wholeToken)
	f.Add("%2561sp_%44quJoZLwlsNJm6gU_x%%%")
	f.Fuzz(func(t *testing.T, text string) {
		f, ok := token.Find(text)
		if ok != (f.End > f.Start) || f.Start < 0 || f.End > len(text) || ok != token.ValidID(f.ID) {
			t.Fatalf("found %+v, %t, in %q", f, ok, text)
		}
		if !ok {
			return
		}
		want := token.Found{Start: 0, End: f.End - f.Start, ID: f.ID}
		if again, ok := token.Find(text[f.Start:f.End]); !ok || again != want {
			t.Errorf("%q in %q is found again as %+v", text[f.Start:f.End], text, again)
		}
	})
}
