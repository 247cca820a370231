// Package license reads licences. One is a compact JWS (RFC 7515), signed by EdDSA with Ed25519 and nothing else, of
//
//	{"licensee": "Example Inc.", "products": ["Jira", "Confluence"], "exp": 1798761600}
//
// Whoever issues licences keeps the private key; an operator that is to verify them is given the public one.
package license

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"
	// It takes names of members in their exact case, and none twice.
	"github.com/go-jose/go-jose/v4/json"
)

// What is wrong with a licence.
var (
	// ErrMissing means that there is none.
	ErrMissing = errors.New("there is no licence")
	// ErrMalformed means that a text is none.
	ErrMalformed = errors.New("not a licence")
	// ErrSignature means that none of the keys verifies it.
	ErrSignature = errors.New("the licence is not signed by a known key")
	// ErrProduct means that it is for another product.
	ErrProduct = errors.New("the licence is for another product")
	// ErrExpired means that it has come to its end.
	ErrExpired = errors.New("the licence has expired")
)

const (
	// maxText is how long a licence may be, in bytes: that is more than the longest has.
	maxText = 8 << 10

	maxName, maxProducts = 100, 8
	// maxExpires is the end of the year 9999, the last of RFC 3339.
	maxExpires = 253402300799

	// alphabet is all that there is in a compact JWS.
	alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."
)

// License is what a licence says.
type License struct {
	// Licensee is who has it.
	Licensee string
	// Products are those that it is for, as an AtlassianSite names them.
	Products []string
	// Expires is the moment from which it does not count.
	Expires time.Time
}

// Check says what keeps a licence from being good for a product at a moment: ErrProduct, ErrExpired or nothing. Of a
// licence for another product it does not matter when it ends.
func (l License) Check(product string, now time.Time) error {
	switch {
	case !slices.Contains(l.Products, product):
		return ErrProduct
	case !now.Before(l.Expires):
		return ErrExpired
	default:
		return nil
	}
}

// Sign issues a licence. Of the moment at which it ends, seconds count.
func (l License) Sign(key ed25519.PrivateKey) (string, error) {
	p := payload{Licensee: l.Licensee, Products: l.Products, Expires: l.Expires.Unix()}
	if err := p.check(); err != nil {
		return "", err
	}
	text, err := json.Marshal(p)
	if err != nil {
		return "", fmt.Errorf("encoding a licence: %w", err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: key}, nil)
	if err != nil {
		return "", fmt.Errorf("signing a licence: %w", err)
	}
	signed, err := signer.Sign(text)
	if err != nil {
		return "", fmt.Errorf("signing a licence: %w", err)
	}
	return signed.CompactSerialize()
}

// Verifier knows the keys that licences are signed with. A nil one stands for an operator that needs no licences.
type Verifier struct{ keys []ed25519.PublicKey }

// NewVerifier returns a verifier of licences that are signed with any of these keys.
func NewVerifier(keys ...ed25519.PublicKey) *Verifier { return &Verifier{keys} }

// Verify reads a licence, or returns ErrMissing, ErrMalformed or ErrSignature. White space around it does not count: a
// file often ends with a line break. Whether the licence is good for anything is what Check says.
func (v *Verifier) Verify(text string) (License, error) {
	if len(text) > maxText {
		return License{}, ErrMalformed
	}
	if text = strings.TrimSpace(text); text == "" {
		return License{}, ErrMissing
	}
	// The library passes over line breaks.
	if strings.Trim(text, alphabet) != "" {
		return License{}, ErrMalformed
	}
	signed, err := jose.ParseSignedCompact(text, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil {
		return License{}, ErrMalformed
	}
	for _, key := range v.keys {
		switch said, err := signed.Verify(key); {
		case err == nil:
			return decode(said)
		case !errors.Is(err, jose.ErrCryptoFailure):
			return License{}, ErrMalformed
		}
	}
	return License{}, ErrSignature
}

// Clip returns what tells of a text, as somebody may have put it into a Secret, what Verify would: one that is too long
// stays too long, and one that is not UTF-8 stays no licence.
func Clip(text []byte) string {
	return strings.ToValidUTF8(string(text[:min(len(text), maxText+1)]), "?")
}

// payload is what is signed.
type payload struct {
	Licensee string   `json:"licensee"`
	Products []string `json:"products"`
	// Expires is a NumericDate (RFC 7519 section 2) of whole seconds.
	Expires int64 `json:"exp"`
}

// members are all that there is in a payload.
const members = 3

func decode(text []byte) (License, error) {
	var p payload
	var named map[string]json.RawMessage
	if !utf8.Valid(text) || json.Unmarshal(text, &p) != nil || json.Unmarshal(text, &named) != nil || len(named) != members || p.check() != nil {
		return License{}, ErrMalformed
	}
	return License{Licensee: p.Licensee, Products: p.Products, Expires: time.Unix(p.Expires, 0).UTC()}, nil
}

// check expects of a payload that it is complete, and that people can be shown it.
func (p payload) check() error {
	switch {
	case !nameable(p.Licensee):
		return fmt.Errorf("a licence needs the name of its licensee: at most %d characters that can be printed", maxName)
	case len(p.Products) == 0 || len(p.Products) > maxProducts || !all(p.Products, nameable):
		return fmt.Errorf("a licence needs products: at most %d, with names of at most %d characters that can be printed", maxProducts, maxName)
	case p.Expires <= 0 || p.Expires > maxExpires:
		return errors.New("a licence needs an end, in a year from 1970 to 9999")
	default:
		return nil
	}
}

func all(texts []string, are func(string) bool) bool {
	return !slices.ContainsFunc(texts, func(text string) bool { return !are(text) })
}

func nameable(name string) bool {
	unprintable := func(r rune) bool { return !unicode.IsPrint(r) }
	return strings.TrimSpace(name) == name && name != "" && utf8.RuneCountInString(name) <= maxName && !strings.ContainsFunc(name, unprintable)
}
