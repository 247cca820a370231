package token_test

import (
	"hash/crc32"
	"math/big"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"apitokens.dev/operator/internal/token"
)

var shape = regexp.MustCompile(`^asp_[0-9A-Za-z]{16}_[0-9A-Za-z]{46}\z`)

// wellFormed is a second implementation of the format of a token.
func wellFormed(text []byte) bool {
	if !shape.Match(text) {
		return false
	}
	body, checksum := text[:61], string(text[61:])
	// math/big orders the lower-case digits first.
	want := strings.Map(swapCase, new(big.Int).SetUint64(uint64(crc32.ChecksumIEEE(body))).Text(62))
	return checksum == strings.Repeat("0", 6-len(want))+want
}

func swapCase(r rune) rune {
	if unicode.IsUpper(r) {
		return unicode.ToLower(r)
	}
	return unicode.ToUpper(r)
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(goldenToken))
	f.Add([]byte("asp_"))
	f.Add([]byte(goldenToken + "\n"))
	f.Add([]byte(goldenToken[:61] + "000000"))
	f.Fuzz(func(t *testing.T, text []byte) {
		id, ok := token.Parse(text)
		if ok != wellFormed(text) {
			t.Fatalf("Parse(%q) is %v", text, ok)
		}
		if ok && (string(id) != string(text[:token.IDLength]) || !token.ValidID(string(id))) {
			t.Errorf("the id of %q is %q", text, id)
		}
	})
}

// FuzzNew makes tokens from any output of an entropy source.
func FuzzNew(f *testing.F) {
	f.Add([]byte(strings.Repeat("\x00", 64)))
	f.Add([]byte(strings.Repeat("\xf8\x01", 80)))
	f.Fuzz(func(t *testing.T, random []byte) {
		source := strings.NewReader(string(random))
		id, err := token.NewID(source)
		if err != nil {
			return
		}
		text, err := token.New(id, source)
		if err != nil {
			return
		}
		if got, ok := token.Parse([]byte(text)); !ok || string(got) != id || !wellFormed([]byte(text)) {
			t.Errorf("made %q of id %q", text, id)
		}
	})
}
