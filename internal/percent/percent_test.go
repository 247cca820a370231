package percent_test

import (
	"net/url"
	"testing"

	"apitokens.dev/operator/internal/percent"
)

// The standard library decides what an escape is, for every pair of bytes behind every kind of byte.
func TestDecode(t *testing.T) {
	for i := range 256 * 256 {
		escape := "%" + string([]byte{byte(i >> 8), byte(i)})
		text, err := url.PathUnescape(escape)
		for _, rest := range []string{"", "x", "%41"} {
			c, ok := percent.Decode(escape + rest)
			if ok != (err == nil) || ok && string([]byte{c}) != text {
				t.Fatalf("%q: %q, %t, want %q", escape+rest, c, ok, text)
			}
		}
		if _, ok := percent.Decode("x" + escape); ok {
			t.Fatalf("x%q is decoded", escape)
		}
	}
	for _, text := range []string{"", "%", "%4", "41", "441", "4%1"} {
		if c, ok := percent.Decode(text); ok {
			t.Errorf("%q: %q", text, c)
		}
	}
}
