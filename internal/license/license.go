// Package license signs and verifies licences. A licence is a compact JWS (RFC 7515), signed by EdDSA with Ed25519, of
//
//	{"licensee": "Example Inc.", "products": ["Jira", "Confluence"], "exp": 1798761600}
//
// The issuer of licences keeps the private key. The operator gets the public key.
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
	// Unlike encoding/json it is case-sensitive and refuses repeated members.
	"github.com/go-jose/go-jose/v4/json"
)

// Errors about a licence.
var (
	// ErrMissing means that there is no licence.
	ErrMissing = errors.New("there is no licence")
	// ErrMalformed means that a text is not a licence.
	ErrMalformed = errors.New("not a licence")
	// ErrSignature means that no key verifies it.
	ErrSignature = errors.New("the licence is not signed by a known key")
	// ErrProduct means that it is for another product.
	ErrProduct = errors.New("the licence is for another product")
	// ErrExpired means that it has expired.
	ErrExpired = errors.New("the licence has expired")
)

// Reason returns the reason of the Licensed condition for an error of Verify or Check, or for nil. A gateway gets the same
// word with "Invalid" before it. An unknown error counts as a malformed licence.
func Reason(err error) string {
	switch {
	case err == nil:
		return "LicenseValid"
	case errors.Is(err, ErrMissing):
		return "LicenseMissing"
	case errors.Is(err, ErrSignature):
		return "LicenseWrongSignature"
	case errors.Is(err, ErrProduct):
		return "LicenseWrongProduct"
	case errors.Is(err, ErrExpired):
		return "LicenseExpired"
	default:
		return "LicenseMalformed"
	}
}

const (
	// maxText is the limit for a licence in bytes, more than the longest one has.
	maxText = 8 << 10

	maxName, maxProducts = 100, 8
	// maxExpires is the end of the year 9999, the last of RFC 3339.
	maxExpires = 253402300799

	// alphabet has all characters of a compact JWS.
	alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."
)

// License is the content of a licence.
type License struct {
	// Licensee is the name of the holder.
	Licensee string
	// Products are the licensed products, named as in an AtlassianSite.
	Products []string
	// Expires is the first moment at which it is not valid.
	Expires time.Time
}

// Check returns ErrProduct or ErrExpired if a licence is not valid for a product at a moment. For another product it does not
// look at the expiry.
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

// Sign issues a licence. It cuts the expiry to whole seconds.
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

// Verifier verifies the signatures of licences. A nil Verifier means that sites need no licence.
type Verifier struct{ keys []ed25519.PublicKey }

// NewVerifier returns a verifier that accepts signatures by any of these keys.
func NewVerifier(keys ...ed25519.PublicKey) *Verifier { return &Verifier{keys} }

// Verify parses a licence and verifies its signature. It returns ErrMissing, ErrMalformed or ErrSignature. White space around
// the text is ignored, since a file often ends with a line break. Call Check for product and expiry.
func (v *Verifier) Verify(text string) (License, error) {
	if len(text) > maxText {
		return License{}, ErrMalformed
	}
	if text = strings.TrimSpace(text); text == "" {
		return License{}, ErrMissing
	}
	// The library would ignore line breaks.
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

// Clip cuts a text from a Secret to a string for which Verify returns the same: too long stays too long, and a text that is not
// UTF-8 stays malformed.
func Clip(text []byte) string {
	return strings.ToValidUTF8(string(text[:min(len(text), maxText+1)]), "?")
}

// payload is the signed JSON.
type payload struct {
	Licensee string   `json:"licensee"`
	Products []string `json:"products"`
	// Expires is a NumericDate (RFC 7519 section 2) of whole seconds.
	Expires int64 `json:"exp"`
}

// members is the number of members of a payload.
const members = 3

func decode(text []byte) (License, error) {
	var p payload
	var named map[string]json.RawMessage
	if !utf8.Valid(text) || json.Unmarshal(text, &p) != nil || json.Unmarshal(text, &named) != nil || len(named) != members || p.check() != nil {
		return License{}, ErrMalformed
	}
	return License{Licensee: p.Licensee, Products: p.Products, Expires: time.Unix(p.Expires, 0).UTC()}, nil
}

// check returns an error unless a payload is complete and its texts can be printed.
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
