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
	if err := CheckToken(c.Token); err != nil {
		return Credential{}, fmt.Errorf("decoding an upstream credential: %w", err)
	}
	return c, nil
}
