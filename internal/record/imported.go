package record

import (
	"crypto/fips140"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"unicode"
	"unicode/utf8"

	"apitokens.dev/operator/internal/token"
)

const (
	// MaxImported is how many imported tokens a user may have at a site. Each request of the user tries all of them.
	MaxImported = 20
	// MaxSlow is how many of these may have a slow hash.
	MaxSlow = 5

	// minSecret is the length in bytes of the shortest secret that can be imported.
	minSecret = 20
	// fastBits is how many random bits a secret must have to need no slow hash (NIST SP 800-63B-4 section 3.1.2).
	fastBits = 112
)

// ErrWeak means that a secret cannot be imported.
var ErrWeak = errors.New("cannot be imported")

// CheckImported returns why a secret cannot be imported, and whether its hash is slow. The hash is fast only for a secret
// that certainly has fastBits random bits.
func CheckImported(text string) (slow bool, err error) {
	slow = strength(text) < fastBits
	return slow, importable(text, slow)
}

func importable(text string, slow bool) error {
	switch {
	case len(text) < minSecret:
		return fmt.Errorf("%w: it has %d bytes, want at least %d", ErrWeak, len(text), minSecret)
	case len(text) > maxSecret:
		return fmt.Errorf("%w: it has %d bytes, want at most %d", ErrWeak, len(text), maxSecret)
	case strings.TrimSpace(text) != text:
		return fmt.Errorf("%w: there is white space around it (%U), perhaps a line break at the end", ErrWeak, spaceAround(text))
	case strings.ContainsFunc(text, untypable):
		c, _ := utf8.DecodeRuneInString(text[strings.IndexFunc(text, untypable):])
		return fmt.Errorf("%w: it contains %U, %s, which nobody can type", ErrWeak, c, describe(c))
	case strings.HasPrefix(text, token.Prefix):
		return fmt.Errorf("%w: it begins with %s, as generated tokens do", ErrWeak, token.Prefix)
	case slow && fips140.Enabled():
		return fmt.Errorf("%w: it is not certain that it has %d random bits, and Argon2id is not allowed in FIPS mode", ErrWeak, fastBits)
	}
	return nil
}

// untypable reports whether a character has no place in a secret that people and programs send: those that are not graphic
// are control and format characters, line separators, and characters that are private or unassigned. Some graphic ones are
// as invisible as a zero-width space: fillers, variation selectors.
func untypable(c rune) bool { return !unicode.IsGraphic(c) || invisible(c) }

// invisible reports whether a graphic character shows nothing (Default_Ignorable_Code_Point in Unicode).
func invisible(c rune) bool {
	return unicode.In(c, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// describe says what kind of character an untypable one is.
func describe(c rune) string {
	switch {
	case c == '\uFEFF':
		return "a byte order mark"
	case unicode.IsControl(c):
		return "a control character"
	case unicode.Is(unicode.Cf, c):
		return "an invisible format character"
	case unicode.IsGraphic(c):
		return "an invisible character"
	case unicode.In(c, unicode.Zl, unicode.Zp):
		return "a line separator"
	case unicode.Is(unicode.Co, c):
		return "a character for private use"
	}
	return "an unassigned character"
}

// spaceAround returns the last character of text if it is white space, and else the first.
func spaceAround(text string) rune {
	if c, _ := utf8.DecodeLastRuneInString(text); unicode.IsSpace(c) {
		return c
	}
	c, _ := utf8.DecodeRuneInString(text)
	return c
}

// NewImportedHash hashes an imported secret.
func NewImportedHash(text string, random io.Reader) (h Hash, err error) {
	if h.slow, err = CheckImported(text); err != nil {
		return Hash{}, err
	}
	if _, err := io.ReadFull(random, h.salt[:]); err != nil {
		return Hash{}, fmt.Errorf("reading a random salt: %w", err)
	}
	h.sum = h.of([]byte(text))
	return h, nil
}

// strength is a low estimate of the random bits in a text. It is the lower of two: the entropy of its own distribution of
// characters, and its length times the bits of an alphabet with the kinds of characters in it.
func strength(text string) float64 {
	var count [256]float64
	for _, b := range []byte(text) {
		count[b]++
	}
	n, own := float64(len(text)), 0.0
	for _, c := range count {
		if c > 0 {
			own -= c * math.Log2(c/n)
		}
	}
	return min(own, n*math.Log2(alphabetOf(text)))
}

// alphabetOf returns the size of the smallest alphabet with the kinds of characters in text.
func alphabetOf(text string) float64 {
	size := 0.0
	for _, kind := range []struct {
		letters string
		size    float64
	}{{"0123456789", 10}, {"abcdef", 6}, {"ghijklmnopqrstuvwxyz", 20}, {"ABCDEF", 6}, {"GHIJKLMNOPQRSTUVWXYZ", 20}} {
		if strings.ContainsAny(text, kind.letters) {
			size += kind.size
		}
	}
	return max(size, 2)
}
