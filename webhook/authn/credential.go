package authn

import (
	"bytes"
	"encoding/base64"
	"strings"

	"apitokens.dev/operator/internal/token"
)

// kind says what a request presented as its credential.
type kind int

const (
	// none of ours: no credential at all, or one that is the product's business.
	foreign kind = iota
	// malformed Basic, or more than one Authorization.
	malformed
	// ours, but not as the password of HTTP Basic.
	misplaced
	// ours, as the password of HTTP Basic.
	basic
)

// maxBasic bounds the base64 of user:password; more is malformed.
const maxBasic = 1024

// credential is what a request presented.
type credential struct {
	kind           kind
	user, password []byte
}

// parseCredential finds out what a request presented. A value that begins with asp_ is ours wherever it stands:
// it must never reach the product, whatever is wrong with it. User and password are decoded into buf.
func parseCredential(r *Request, buf *[maxBasic]byte) credential {
	c := credential{kind: malformed}
	switch len(r.Authorization) {
	case 0:
		c.kind = foreign
	case 1:
		c = parseAuthorization(r.Authorization[0], buf)
	}
	if c.kind == foreign && queryPresentsToken(r.query()) {
		c.kind = misplaced
	}
	return c
}

func parseAuthorization(value string, buf *[maxBasic]byte) credential {
	scheme, rest, _ := strings.Cut(value, " ")
	rest = strings.TrimLeft(rest, " \t")
	switch {
	case strings.EqualFold(scheme, "Basic"):
		return parseBasic(rest, buf)
	case presentsToken(scheme), presentsToken(rest):
		return credential{kind: misplaced}
	}
	return credential{kind: foreign}
}

func parseBasic(encoded string, buf *[maxBasic]byte) credential {
	var src [maxBasic]byte
	if len(encoded) > len(src) {
		return credential{kind: malformed}
	}
	// Strict, and nothing trimmed: a folded or joined header has spaces and commas in it.
	n, err := base64.StdEncoding.Strict().Decode(buf[:], src[:copy(src[:], encoded)])
	if err != nil {
		return credential{kind: malformed}
	}
	user, password, ok := bytes.Cut(buf[:n], []byte{':'})
	switch {
	case !ok:
		return credential{kind: malformed}
	case hasPrefix(password):
		return credential{kind: basic, user: user, password: password}
	case hasPrefix(user):
		return credential{kind: misplaced}
	}
	return credential{kind: foreign}
}

func hasPrefix(value []byte) bool { return bytes.HasPrefix(value, []byte(token.Prefix)) }

// presentsToken also looks behind a quotation mark, a comma or an equals sign, as in `Token token="asp_…"`.
func presentsToken(value string) bool {
	for {
		i := strings.Index(value, token.Prefix)
		if i < 0 {
			return false
		}
		if i == 0 || strings.IndexByte(` "',;=:`, value[i-1]) >= 0 {
			return true
		}
		value = value[i+len(token.Prefix):]
	}
}
