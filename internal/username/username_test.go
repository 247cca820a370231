package username_test

import (
	"strings"
	"testing"

	"apitokens.dev/operator/internal/username"
)

func TestFold(t *testing.T) {
	for name, want := range map[string]string{
		"":                "",
		"alice":           "alice",
		"Alice":           "alice",
		"ALICE@Corp\\x-1": "alice@corp\\x-1",
		// Nothing beyond ASCII is folded: the tables of Java and Go differ there.
		"ÄRGER":    "Ärger",
		"\u212Aim": "\u212Aim", // KELVIN SIGN, which Unicode folds to k
	} {
		if got := username.Fold(name); got != want {
			t.Errorf("Fold(%q) = %q, want %q", name, got, want)
		}
		if !username.Is(want, []byte(name)) {
			t.Errorf("Is(%q, %q) = false", want, name)
		}
		inPlace := []byte(name)
		if username.FoldInPlace(inPlace); string(inPlace) != want {
			t.Errorf("%q was folded to %q, want %q", name, inPlace, want)
		}
	}
}

// The letters A to Z are folded, and not the characters next to them.
func TestEveryByteOfAName(t *testing.T) {
	const upper, lower = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz"
	for i := range 256 {
		name := string([]byte{byte(i)})
		want := name
		if at := strings.Index(upper, name); at >= 0 {
			want = lower[at : at+1]
		}
		if got := username.Fold(name); got != want {
			t.Errorf("Fold(%q) = %q, want %q", name, got, want)
		}
		for j := range 256 {
			if other := string([]byte{byte(j)}); username.Is(other, []byte(name)) != (other == want) {
				t.Errorf("Is(%q, %q) = %v", other, name, other != want)
			}
		}
	}
}

// The empty name equals only itself.
func TestNoName(t *testing.T) {
	if !username.Is("", nil) || username.Is("", []byte("a")) || username.Is("a", nil) {
		t.Error("a name passed for none, or none for a name")
	}
}

func TestIsRefuses(t *testing.T) {
	for _, name := range []string{"", "alic", "alice ", " alice", "alicf", "alice\x00", "al\u0131ce", "\uff41lice"} {
		if username.Is("alice", []byte(name)) {
			t.Errorf("%q passed for alice", name)
		}
	}
}
