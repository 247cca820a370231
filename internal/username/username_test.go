package username_test

import (
	"testing"

	"apitokens.dev/operator/internal/username"
)

func TestFold(t *testing.T) {
	for name, want := range map[string]string{
		"":                "",
		"alice":           "alice",
		"Alice":           "alice",
		"ALICE@Corp\\x-1": "alice@corp\\x-1",
		// Beyond ASCII nothing is folded: Java's and Go's tables differ there.
		"ÄRGER":    "Ärger",
		"\u212Aim": "\u212Aim", // KELVIN SIGN, which Unicode folds to k
	} {
		if got := username.Fold(name); got != want {
			t.Errorf("Fold(%q) = %q, want %q", name, got, want)
		}
		if !username.Is(want, []byte(name)) {
			t.Errorf("Is(%q, %q) = false", want, name)
		}
	}
}

func TestIsRefuses(t *testing.T) {
	for _, name := range []string{"", "alic", "alice ", " alice", "alicf", "alice\x00", "al\u0131ce", "\uff41lice"} {
		if username.Is("alice", []byte(name)) {
			t.Errorf("%q passed for alice", name)
		}
	}
}
