package record

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/crypto/argon2"

	"apitokens.dev/operator/internal/token"
)

const (
	saltSize   = 16
	scheme     = "$sha256$v=1$"
	slowScheme = "$argon2id$v=19$m=19456,t=2,p=1$"

	// The minimum of OWASP's Password Storage Cheat Sheet for Argon2id: 19 MiB, 2 passes, 1 lane.
	argonMemory = 19 << 10
	argonTime   = 2
	argonLanes  = 1

	// maxSecret is the longest text that is hashed, in bytes. A token is shorter.
	maxSecret = 256
)

// ErrHash means that this version cannot verify a stored hash.
var ErrHash = errors.New("want " + scheme + "<salt>$<hash> or " + slowScheme + "<salt>$<hash>")

// Hash is SHA-256 over a random salt and the whole token.
//
// A token has more than 112 random bits, so a slow hash would add only a way to exhaust the CPU
// (OWASP ASVS 5.0 section 6.5.2, NIST SP 800-63B-4). An imported secret that may have fewer is hashed with Argon2id.
type Hash struct {
	slow bool
	salt [saltSize]byte
	sum  [sha256.Size]byte
}

// Slow reports whether verifying takes tens of milliseconds and 19 MiB of memory.
func (h *Hash) Slow() bool { return h.slow }

// NewHash hashes a token with a new salt.
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

// ParseHash reads the stored form. An unknown scheme or version, or another length or spelling, is an error.
func ParseHash(s string) (Hash, error) {
	var h Hash
	rest, ok := strings.CutPrefix(s, scheme)
	if !ok {
		if rest, h.slow = strings.CutPrefix(s, slowScheme); !h.slow {
			return Hash{}, ErrHash
		}
	}
	salt, sum, ok := strings.Cut(rest, "$")
	if !ok || !decode(h.salt[:], salt) || !decode(h.sum[:], sum) {
		return Hash{}, ErrHash
	}
	return h, nil
}

// String returns the stored form. It names its scheme, so that a later version can differ.
func (h Hash) String() string {
	of := scheme
	if h.slow {
		of = slowScheme
	}
	return of + base64.RawStdEncoding.EncodeToString(h.salt[:]) + "$" + base64.RawStdEncoding.EncodeToString(h.sum[:])
}

// Verify reports in constant time whether text was hashed. A text longer than maxSecret never matches.
func (h *Hash) Verify(text []byte) bool {
	if len(text) > maxSecret {
		return false
	}
	sum := h.of(text)
	return subtle.ConstantTimeCompare(sum[:], h.sum[:]) == 1
}

func (h *Hash) of(text []byte) [sha256.Size]byte {
	if h.slow {
		// A copy, so that text does not escape to the heap on the fast path.
		return [sha256.Size]byte(argon2.IDKey(bytes.Clone(text), h.salt[:], argonTime, argonMemory, argonLanes, sha256.Size))
	}
	var salted [saltSize + maxSecret]byte
	n := copy(salted[:], h.salt[:])
	n += copy(salted[n:], text)
	return sha256.Sum256(salted[:n])
}

// decode fills dst from s. It accepts only the canonical base64 of exactly len(dst) bytes.
func decode(dst []byte, s string) bool {
	b, err := base64.RawStdEncoding.Strict().DecodeString(s)
	return err == nil && len(b) == len(dst) && !strings.ContainsAny(s, "\r\n") && copy(dst, b) == len(b)
}
