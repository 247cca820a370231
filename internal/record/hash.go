package record

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	"apitokens.dev/operator/internal/token"
)

const (
	saltSize = 16
	scheme   = "$sha256$v=1$"
)

// ErrHash says that a stored hash is not one that this version can verify.
var ErrHash = errors.New("want " + scheme + "<salt>$<hash>")

// Hash is SHA-256 over a random salt and the whole token.
//
// A token has more than 112 random bits, so a slow hash would add nothing but a way to exhaust the CPU
// (OWASP ASVS 5.0 section 6.5.2, NIST SP 800-63B-4).
type Hash struct {
	salt [saltSize]byte
	sum  [sha256.Size]byte
}

// NewHash hashes a token under a new salt.
func NewHash(text string, random io.Reader) (Hash, error) {
	if _, ok := token.Parse([]byte(text)); !ok {
		return Hash{}, errors.New("hashing: not a token")
	}
	var h Hash
	if _, err := io.ReadFull(random, h.salt[:]); err != nil {
		return Hash{}, fmt.Errorf("reading a random salt: %w", err)
	}
	h.sum = h.of([]byte(text))
	return h, nil
}

// ParseHash reads the stored form. An unknown scheme or version, another length or spelling is an error.
func ParseHash(s string) (Hash, error) {
	var h Hash
	rest, ok := strings.CutPrefix(s, scheme)
	if !ok {
		return Hash{}, ErrHash
	}
	salt, sum, ok := strings.Cut(rest, "$")
	if !ok || !decode(h.salt[:], salt) || !decode(h.sum[:], sum) {
		return Hash{}, ErrHash
	}
	return h, nil
}

// String is the stored form: self-describing, so that a later version can differ.
func (h Hash) String() string {
	return scheme + base64.RawStdEncoding.EncodeToString(h.salt[:]) + "$" + base64.RawStdEncoding.EncodeToString(h.sum[:])
}

// Verify reports whether text is the hashed token, in constant time.
// A text that is too long to be a token matches nothing: no hash is made of one.
func (h *Hash) Verify(text []byte) bool {
	if len(text) > token.Length {
		return false
	}
	sum := h.of(text)
	return subtle.ConstantTimeCompare(sum[:], h.sum[:]) == 1
}

func (h *Hash) of(text []byte) [sha256.Size]byte {
	var salted [saltSize + token.Length]byte
	n := copy(salted[:], h.salt[:])
	n += copy(salted[n:], text)
	return sha256.Sum256(salted[:n])
}

// decode fills dst from s, which must be the one spelling of exactly as many bytes.
func decode(dst []byte, s string) bool {
	b, err := base64.RawStdEncoding.Strict().DecodeString(s)
	return err == nil && len(b) == len(dst) && !strings.ContainsAny(s, "\r\n") && copy(dst, b) == len(b)
}
