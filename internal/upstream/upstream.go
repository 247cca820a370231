// Package upstream is what token owners act with at the product: their personal access tokens,
// each bound to the origin that it was obtained from.
package upstream

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"apitokens.dev/operator/internal/strictjson"
	"apitokens.dev/operator/internal/username"
)

const (
	// SecretType is the type of the Secrets that hold working copies of personal access tokens.
	SecretType = "apitokens.dev/upstream-credential"
	// DataKey is the key of such a Secret's only entry.
	DataKey = "credential.json"

	maxToken = 4096
)

// Source says how a personal access token came to be held.
type Source string

const (
	// Given is one of `upstreamCredentials`: its Secret is somebody else's, and followed.
	Given Source = ""
	// Enrolled is one that the portal had the product make, with its owner's session. It is renewed and revoked.
	Enrolled Source = "Enrolled"
	// Pasted is one that its owner gave to the portal. It is neither renewed nor revoked.
	Pasted Source = "Pasted"
)

// ErrToken says that a text cannot be a personal access token. The text is not quoted: it is a secret all the same.
var ErrToken = errors.New("not a personal access token: want letters, digits and -._~+/= alone (RFC 6750 section 2.1), " +
	"without a line break at the end")

// Credential is what one user acts with at one site.
type Credential struct {
	Namespace string `json:"namespace"`
	Site      string `json:"site"`
	// User is the product username, folded, that the product named when it was asked with the token.
	User string `json:"user"`
	// Origin is scheme, host and port of the product that was asked.
	Origin string `json:"origin"`
	Token  string `json:"token"`

	Source Source `json:"source,omitempty"`
	// UserKey is what the product calls the user by, whatever becomes of the name.
	UserKey string `json:"userKey,omitempty"`
	// Stored is when the portal, or a renewal, stored the token.
	Stored time.Time `json:"stored,omitzero"`
	// ID and Expires are the product's, of one that was enrolled.
	ID      int64     `json:"id,omitempty"`
	Expires time.Time `json:"expires,omitzero"`
	// Replaced is the id of the one before a renewal, until it is revoked.
	Replaced int64 `json:"replaced,omitempty"`
	// Refused is since when the product does not accept it: it is not used until it does.
	Refused time.Time `json:"refused,omitzero"`
	// Renamed says that the product named another user, of one that was enrolled: it is revoked, and then removed. Once it is
	// revoked, the product does not tell any more.
	Renamed bool `json:"renamed,omitempty"`
}

// Usable reports whether the product accepts the token, as far as is known.
func (c Credential) Usable() bool { return c.Refused.IsZero() }

// PATName is the name under which the product lists what is made for a site, to tell it from what its users make. It has
// fewer than the 40 characters that the product allows.
func PATName(siteUID string) string {
	return "API tokens at the ingress " + siteUID[:min(8, len(siteUID))]
}

// Authorization is the header with which the product is asked.
func (c Credential) Authorization() string { return "Bearer " + c.Token }

// SecretName returns the name of the Secret that holds the credential.
func (c Credential) SecretName() string { return SecretName(c.Namespace, c.Site, c.User) }

// SecretName returns the name of the Secret that holds what a user acts with at a site.
// A username can have any characters and length, so its hash stands for it.
func SecretName(namespace, site, user string) string {
	sum := sha256.Sum256([]byte(user))
	return "upstream." + namespace + "." + site + "." + hex.EncodeToString(sum[:16])
}

// CheckToken reports whether a text can stand in an Authorization header as a bearer token.
func CheckToken(text string) error {
	body := strings.TrimRight(text, "=")
	if body == "" || len(text) > maxToken {
		return ErrToken
	}
	for _, c := range []byte(body) {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && strings.IndexByte("-._~+/", c) < 0 {
			return ErrToken
		}
	}
	return nil
}

// Encode returns the stored form.
func (c Credential) Encode() ([]byte, error) {
	b, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encoding an upstream credential: %w", err)
	}
	return b, nil
}

// Decode reads the stored form.
func Decode(b []byte) (Credential, error) {
	c, err := strictjson.Decode[Credential](b)
	if err != nil {
		return Credential{}, fmt.Errorf("decoding an upstream credential: %w", err)
	}
	if c.Namespace == "" || c.Site == "" || c.Origin == "" || c.User == "" || username.Fold(c.User) != c.User {
		return Credential{}, errors.New("decoding an upstream credential: site, user or origin is missing")
	}
	if err := c.checkSource(); err != nil {
		return Credential{}, fmt.Errorf("decoding an upstream credential: %w", err)
	}
	if err := CheckToken(c.Token); err != nil {
		return Credential{}, fmt.Errorf("decoding an upstream credential: %w", err)
	}
	return c, nil
}

func (c Credential) checkSource() error {
	switch {
	case c.Source != Given && c.Source != Enrolled && c.Source != Pasted:
		return errors.New("its source is unknown")
	case c.Source != Given && c.Stored.IsZero():
		return errors.New("it is not known when it was stored")
	case (c.Source == Enrolled) != (c.ID != 0), c.Source != Enrolled && (c.Replaced != 0 || !c.Expires.IsZero()):
		return errors.New("the product's id goes with one that was enrolled, which has one")
	case c.Renamed && (c.Source != Enrolled || c.Usable()):
		return errors.New("what is withdrawn was enrolled, and is not used")
	}
	return nil
}
