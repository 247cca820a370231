package upstream_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"apitokens.dev/operator/internal/upstream"
)

// bearer matches a bearer token (RFC 6750 section 2.1).
var bearer = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*\z`)

func FuzzCheckToken(f *testing.F) {
	for _, text := range []string{"NjE2/+x=", "=", "a=b", "a\r\nX-Evil: y", "a b", "\u00e4", strings.Repeat("x", 4096), strings.Repeat("x", 4097)} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		err := upstream.CheckToken(text)
		if (err == nil) != (bearer.MatchString(text) && len(text) <= 4096) {
			t.Errorf("CheckToken(%q): %v", text, err)
		}
		if err != nil && !errors.Is(err, upstream.ErrToken) {
			t.Errorf("CheckToken(%q): %v", text, err)
		}
	})
}

// FuzzDecode: a decoded credential is encoded to the same one and has a valid header, and no error quotes the token.
func FuzzDecode(f *testing.F) {
	for _, text := range []string{
		`{"namespace":"jira","site":"main","user":"alice","origin":"http://jira.jira.svc:8080","token":"NjE2MTE2NTEzOTU4OpjlEO6G/uF3vKz+"}`,
		`{"namespace":"jira","site":"main","user":"Alice","origin":"http://h","token":"NjE2MTE2NTEzOTU4OpjlEO6G"}`,
		`{"namespace":"jira","site":"main","user":"a","origin":"http://h","token":"NjE2MTE2NTEzOTU4OpjlEO6G\r\nX: y"}`,
		`{"namespace":"jira","site":"main","user":"alice","origin":"http://h","token":"NjE2MTE2NTEzOTU4OpjlEO6G","source":"Enrolled","userKey":"k",` +
			`"stored":"2026-01-01T12:00:00.5Z","id":8,"expires":"2026-04-01T12:00:00Z","replaced":7,"refused":"2026-02-01T12:00:00Z","renamed":true}`,
		`{"namespace":"jira","site":"main","user":"alice","origin":"http://h","token":"NjE2MTE2NTEzOTU4OpjlEO6G","source":"Pasted","stored":"0001-01-01T00:00:00Z"}`,
		`{"namespace":"jira","site":"main","user":"a","user":"b","origin":"http://h","token":"x"}`,
	} {
		f.Add([]byte(text))
	}
	secret := regexp.MustCompile(`"token":"([A-Za-z0-9+/]{16,})`)
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := upstream.Decode(b)
		if err != nil {
			for _, s := range secret.FindAllSubmatch(b, -1) {
				if strings.Contains(err.Error(), string(s[1])) {
					t.Errorf("the error quotes the token: %v", err)
				}
			}
			return
		}
		again, err := c.Encode()
		if err != nil {
			t.Fatalf("decoded, but does not encode: %v", err)
		}
		if same, err := upstream.Decode(again); err != nil || same != c {
			t.Errorf("encoded, it decodes to something else (%v)", err)
		}
		if value, ok := strings.CutPrefix(c.Authorization(), "Bearer "); !ok || !bearer.MatchString(value) {
			t.Errorf("the header is %q", c.Authorization())
		}
		if c.Namespace == "" || c.Site == "" || c.User == "" || c.Origin == "" || strings.ContainsAny(c.User, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") {
			t.Errorf("read %+v", c)
		}
	})
}
