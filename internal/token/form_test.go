package token_test

import (
	"bytes"
	"hash/crc32"
	"strings"
	"testing"

	"apitokens.dev/operator/internal/token"
)

// signed appends the checksum as docs/reference/token-format.md describes it.
func signed(body string) []byte {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	var checksum []byte
	for sum := crc32.ChecksumIEEE([]byte(body)); len(checksum) < 6; sum /= 62 {
		checksum = append([]byte{digits[sum%62]}, checksum...)
	}
	return append([]byte(body), checksum...)
}

// A text with the right checksum and the wrong form is no token.
func TestChecksumAloneMakesNoToken(t *testing.T) {
	body := goldenToken[:len(goldenToken)-6]
	if got := signed(body); string(got) != goldenToken {
		t.Fatalf("signed %s, want %s", got, goldenToken)
	}
	for name, wrong := range map[string]string{
		"prefix":               "asq_" + body[4:],
		"prefix in other case": "ASP_" + body[4:],
		"id":                   body[:10] + "-" + body[11:],
		"separator":            goldenID + "-" + body[len(goldenID)+1:],
		"digit for separator":  goldenID + "0" + body[len(goldenID)+1:],
		"secret":               body[:len(body)-1] + "_",
		"first of the secret":  goldenID + "__" + body[len(goldenID)+2:],
		"one digit more":       body + "0",
		"one digit less":       body[:len(body)-1],
		"nothing":              "",
	} {
		if id, ok := token.Parse(signed(wrong)); ok || id != nil {
			t.Errorf("wrong %s: parsed as %q", name, id)
		}
	}
}

// The alphabet is the letters and digits of ASCII.
func TestDigits(t *testing.T) {
	for i := range 256 {
		c := byte(i)
		want := '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
		if got := token.ValidID("asp_" + strings.Repeat(string([]byte{c}), 16)); got != want {
			t.Errorf("byte %#x in an id: %v", c, got)
		}
	}
}

// Random bytes become digits in the order of the alphabet. Only bytes that would make a digit more likely are dropped. When
// the randomness ends, there is no partial token.
func TestRandomBytesBecomeDigits(t *testing.T) {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	for first := range 256 {
		random := bytes.NewReader(append([]byte{byte(first)}, make([]byte, 15)...))
		id, err := token.NewID(random)
		if first >= 4*62 {
			if err == nil || id != "" {
				t.Errorf("byte %d: made %q, %v of 15 digits", first, id, err)
			}
			continue
		}
		if want := "asp_" + digits[first%62:first%62+1] + strings.Repeat("0", 15); err != nil || id != want || random.Len() != 0 {
			t.Errorf("byte %d: made %q, %v, want %s", first, id, err, want)
		}
	}
	if text, err := token.New(goldenID, bytes.NewReader(make([]byte, 39))); err == nil || text != "" {
		t.Errorf("made %q of too few bytes, %v", text, err)
	}
	if text, err := token.New("x", bytes.NewReader(make([]byte, 40))); err == nil || text != "" {
		t.Errorf("made %q of no id, %v", text, err)
	}
}
