package canary

import (
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"strings"
	"testing"
)

const secret = "Zk3/aB9+cD5eF7gH1iJ2kL4mN6oP8qR0"

func TestFind(t *testing.T) {
	var s Secrets
	s.Add("the secret", secret)
	s.Add("another one", strings.Repeat("0123456789", 3))
	for form, written := range map[string]string{
		"plain":                           secret,
		"in a line":                       `{"msg":"` + secret + `"}`,
		"cut off":                         secret[:25],
		"hex":                             hex.EncodeToString([]byte(secret)),
		"upper-case hex":                  strings.ToUpper(hex.EncodeToString([]byte("x" + secret))),
		"in a URL":                        url.QueryEscape("?password=" + secret),
		"with a user of 3 letters":        base64.StdEncoding.EncodeToString([]byte("bob:" + secret)),
		"with a user of 4 letters":        base64.StdEncoding.EncodeToString([]byte("jane:" + secret)),
		"with a user of 5 letters":        base64.StdEncoding.EncodeToString([]byte("alice:" + secret)),
		"URL-safe":                        base64.URLEncoding.EncodeToString([]byte("alice:" + secret)),
		"a dump of bytes, as dumped":      Undump(hex.Dump([]byte("some text before " + secret))),
		"at the end, after much else":     strings.Repeat("nothing ", 1000) + secret,
		"behind what only begins like it": secret[8:17] + secret,
	} {
		found := s.Find([]byte(written))
		if len(found) == 0 {
			t.Errorf("not found: %s", form)
		}
		for _, what := range found {
			if !strings.HasPrefix(what, "the secret, ") || strings.Contains(what, secret[:8]) {
				t.Errorf("%s: found %q", form, what)
			}
		}
	}
}

func TestFindNothing(t *testing.T) {
	var none, s Secrets
	s.Add("the secret", secret)
	for _, text := range []string{"", "short", strings.ToLower(secret), secret[:23], secret[9:], strings.Repeat(secret[8:16], 10)} {
		if found := append(none.Find([]byte(text)), s.Find([]byte(text))...); len(found) > 0 {
			t.Errorf("%q: found %q", text, found)
		}
	}
	if none.Len() != 0 || s.Len() != 1 {
		t.Errorf("looking for %d and %d secrets, want 0 and 1", none.Len(), s.Len())
	}
}
