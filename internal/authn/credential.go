package authn

import (
	"bytes"
	"encoding/base64"
	"strings"

	"apitokens.dev/operator/internal/token"
	"apitokens.dev/operator/internal/username"
)

// kind classifies the credential of a request.
type kind int

const (
	// malformed: Basic that cannot be read, or more than one Authorization. It is the zero value, so that what is forgotten
	// is refused.
	malformed kind = iota
	// foreign: no credential, one of the product's, or an imported token.
	foreign
	// misplaced: a token in Authorization, but not where the site accepts one.
	misplaced
	// inQuery: a token in the query of a request that is foreign otherwise.
	inQuery
	// ours: a token as the password of Basic, or as Bearer if the site accepts that.
	ours
)

func (k kind) String() string {
	return [...]string{"malformed", "foreign", "misplaced", "in query", "ours"}[k]
}

const (
	// maxBasic is the maximum length of base64(user:password), in bytes. A longer one is malformed.
	maxBasic = 1024
	// maxPath is the length of paths that need no memory of their own, in bytes.
	maxPath = 1024
)

// credential is the credential that a request presents.
type credential struct {
	kind kind
	// user and password are those of Basic.
	user, password []byte
	// alone says that password is a token that came without a user.
	alone bool
	// class is what a foreign Authorization presents.
	class class
	// parsed is the id in a well-formed token of ours. It is nil until the token was parsed.
	parsed []byte
	// imported is the imported token that a foreign credential turned out to be.
	imported *entry
}

// parseCredential reads the credential of a request. In Authorization, a value that begins with asp_ is ours. In the query,
// only a text with the shape of a token is. A credential of ours must never reach the product. bearer says that the site accepts
// tokens as Bearer. parseCredential decodes user and password into buf.
func parseCredential(r *Request, bearer bool, buf *[maxBasic]byte) credential {
	c := credential{kind: malformed}
	switch len(r.Authorization) {
	case 0:
		c.kind = foreign
	case 1:
		c = parseAuthorization(r.Authorization[0], bearer, buf)
	}
	if c.kind == foreign && queryPresentsToken(r.query()) {
		c.kind = inQuery
	}
	return c
}

func parseAuthorization(value string, bearer bool, buf *[maxBasic]byte) credential {
	scheme, rest, _ := cutScheme(value)
	switch {
	// Fold only ASCII: in Unicode, the long s of "Ba\u017fic" folds to s.
	case username.Is("basic", []byte(scheme)):
		return parseBasic(rest, buf)
	case joinsBasic(value):
		return credential{kind: malformed}
	case bearer && username.Is("bearer", []byte(scheme)) && strings.HasPrefix(rest, token.Prefix):
		// No token is longer than buf.
		return credential{kind: ours, password: buf[:copy(buf[:], rest)], alone: true}
	case presentsToken(scheme), presentsToken(rest):
		return credential{kind: misplaced}
	case scheme == "":
		return credential{kind: foreign}
	}
	return credential{kind: foreign, class: classBearer}
}

// cutScheme returns the scheme that a value begins with, and what follows it after a blank. Some servers accept a tab instead of the
// space, or white space at the start.
func cutScheme(value string) (scheme, rest string, more bool) {
	value = trimBlanks(value)
	for i := range len(value) {
		if isBlank(value[i]) {
			return value[:i], trimBlanks(value[i:]), true
		}
	}
	return value, "", false
}

func trimBlanks(text string) string {
	for text != "" && isBlank(text[0]) {
		text = text[1:]
	}
	return text
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// joinsBasic reports whether Basic follows a comma, as where a proxy joins two headers. A token could hide behind the first, also
// behind an empty one.
func joinsBasic(value string) bool {
	_, rest, more := strings.Cut(value, ",")
	for more {
		if scheme, _, ends := cutScheme(rest); ends && username.Is("basic", []byte(scheme)) {
			return true
		}
		_, rest, more = strings.Cut(rest, ",")
	}
	return false
}

var strict = base64.StdEncoding.Strict()

func parseBasic(encoded string, buf *[maxBasic]byte) credential {
	if len(encoded) > maxBasic {
		return credential{kind: malformed}
	}
	// Decode strictly and trim nothing: a folded or joined header contains spaces or commas.
	n, err := strict.Decode(buf[:], []byte(encoded))
	if err != nil {
		return credential{kind: malformed}
	}
	user, password, ok := bytes.Cut(buf[:n], []byte{':'})
	switch {
	case !ok:
		return credential{kind: malformed}
	case hasPrefix(password):
		return credential{kind: ours, user: user, password: password}
	case presentsToken(user), presentsToken(password):
		return credential{kind: misplaced, user: user, password: password}
	}
	return credential{kind: foreign, class: classPassword, user: user, password: password}
}

// id returns the id of the presented token, or "". It is not verified.
func (c *credential) id() string {
	switch {
	case c.imported != nil:
		return c.imported.tokenID()
	case c.parsed != nil:
		return string(c.parsed)
	}
	return presentedID(c.password)
}

// presentedID returns the id in the first of some texts that has anything with the shape of a token in it, or "".
func presentedID[T string | []byte](texts ...T) string {
	for _, text := range texts {
		if found, ok := token.Find(text); ok {
			return found.ID
		}
	}
	return ""
}

func hasPrefix(value []byte) bool { return bytes.HasPrefix(value, []byte(token.Prefix)) }

// presentsToken reports whether a credential in value begins with asp_: at the start, or behind a character that cannot be
// part of a credential, as in `Token token="asp_…"` (token68, RFC 9110 section 11.2).
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
