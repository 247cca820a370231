package authn

import (
	"bytes"
	"encoding/base64"
	"strings"

	"apitokens.dev/operator/internal/token"
	"apitokens.dev/operator/internal/username"
)

// kind says what a request presented as its credential.
type kind int

const (
	// malformed Basic, or more than one Authorization. As the zero value it is what nobody decided.
	malformed kind = iota
	// none of ours: no credential at all, one that is the product's business, or an imported one.
	foreign
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
	// Some servers take a tab for the space.
	scheme, rest := value, ""
	if i := strings.IndexAny(value, " \t"); i >= 0 {
		scheme, rest = value[:i], strings.TrimLeft(value[i:], " \t")
	}
	switch {
	// Folded as ASCII: to Unicode, the long s of "Ba\u017fic" is an s.
	case username.Is("basic", []byte(scheme)):
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
	case presentsToken(user), presentsToken(password):
		return credential{kind: misplaced}
	}
	return credential{kind: foreign, user: user, password: password}
}

func hasPrefix(value []byte) bool { return bytes.HasPrefix(value, []byte(token.Prefix)) }

// presentsToken also looks behind whatever cannot be a part of a credential, as in `Token token="asp_…"`
// (token68, RFC 9110 section 11.2).
func presentsToken[T string | []byte](value T) bool {
	for i := range len(value) - len(token.Prefix) + 1 {
		if string(value[i:i+len(token.Prefix)]) == token.Prefix && (i == 0 || !isToken68(value[i-1])) {
			return true
		}
	}
	return false
}

func isToken68(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~+/", c) >= 0
}
