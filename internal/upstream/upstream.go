// Package upstream defines the working copy of a personal access token, with which a token owner acts at the product. Each is
// bound to the origin that confirmed it.
package upstream

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"apitokens.dev/operator/internal/storedjson"
	"apitokens.dev/operator/internal/username"
)

const (
	// SecretType is the type of the Secrets that hold working copies of personal access tokens.
	SecretType = "apitokens.dev/upstream-credential"
	// IntakeType is the type of the Secrets in which the portal hands over a personal access token to the controller. They have
	// the form of a working copy.
	IntakeType = "apitokens.dev/intake"
	// DataKey is the only key of such a Secret.
	DataKey = "credential.json"

	maxToken = 4096
)

// Source says where a personal access token comes from.
type Source string

const (
	// Given is from a Secret that `upstreamCredentials` names. The copy follows that Secret.
	Given Source = ""
	// Enrolled is made by the product for the portal, with the owner's session. The controller renews and revokes it.
	Enrolled Source = "Enrolled"
	// Pasted is from its owner, by the portal. It is neither renewed nor revoked.
	Pasted Source = "Pasted"
)

// ErrToken means that a text cannot be a personal access token. It does not quote the text, which is a secret all the same.
var ErrToken = errors.New("not a personal access token: want letters, digits and -._~+/= alone (RFC 6750 section 2.1), " +
	"without a line break at the end")

// Credential is the working copy of one user at one site.
type Credential struct {
	Namespace string `json:"namespace"`
	Site      string `json:"site"`
	// User is the folded product username that the product confirmed for the token.
	User string `json:"user"`
	// Origin is the scheme, host and port of the product that confirmed it.
	Origin string `json:"origin"`
	Token  string `json:"token"`

	Source Source `json:"source,omitempty"`
	// UserKey is the product's key of the user, which survives a renaming.
	UserKey string `json:"userKey,omitempty"`
	// Stored is when the portal, or a renewal, stored the token.
	Stored time.Time `json:"stored,omitzero"`
	// ID and Expires are the product's id and expiry of an enrolled one.
	ID      int64     `json:"id,omitempty"`
	Expires time.Time `json:"expires,omitzero"`
	// Replaced is the id of the one that a renewal replaced, until that is revoked.
	Replaced int64 `json:"replaced,omitempty"`
	// Refused is the time since which the product does not accept it. Meanwhile it is not in use.
	Refused time.Time `json:"refused,omitzero"`
	// Renamed means that the product named another user for an enrolled one. It is stored, because the product does not name
	// the user any more once the token is revoked.
	Renamed bool `json:"renamed,omitempty"`
	// Ending is when the controller saw that nobody needs it. If nobody has come meanwhile, it is revoked.
	Ending time.Time `json:"ending,omitzero"`
}

// Usable reports whether the product accepted the token when it was last asked.
func (c Credential) Usable() bool { return c.Refused.IsZero() }

// PATName returns the name in the product's list for personal access tokens that are made for a user of a site. A renamed user has
// those of both names in one list, so the name has a hash of site and user. A suffix tells apart those of two requests. With one of
// up to 5 characters the name keeps to the product's limit of 40.
func PATName(siteUID, user, suffix string) string {
	sum := sha256.Sum256([]byte(siteUID + "/" + username.Fold(user)))
	name := "API tokens at the ingress " + hex.EncodeToString(sum[:4])
	if suffix != "" {
		name += "-" + suffix
	}
	return name
}

// IsPATName reports whether PATName gives this name for a user of a site, with any suffix.
func IsPATName(name, siteUID, user string) bool {
	rest, ok := strings.CutPrefix(name, PATName(siteUID, user, ""))
	return ok && (rest == "" || strings.HasPrefix(rest, "-"))
}

// Authorization returns the value of the Authorization header for the product.
func (c Credential) Authorization() string { return "Bearer " + c.Token }

// SecretName returns the name of the Secret that holds the credential.
func (c Credential) SecretName() string { return SecretName(c.Namespace, c.Site, c.User) }

// SecretName returns the name of the Secret that holds the credential of a user at a site. It contains a hash of the username,
// which can have any characters and length.
func SecretName(namespace, site, user string) string {
	sum := sha256.Sum256([]byte(user))
	return "upstream." + namespace + "." + site + "." + hex.EncodeToString(sum[:16])
}

// CheckToken returns ErrToken unless a text can be a bearer token in an Authorization header.
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
func (c Credential) Encode() ([]byte, error) { return form.Encode(c) }

// Decode parses the stored form.
func Decode(b []byte) (Credential, error) { return form.Decode(b) }

var form = storedjson.Form[Credential]{Name: "an upstream credential", Check: Credential.check}

func (c Credential) check() error {
	if c.Namespace == "" || c.Site == "" || c.Origin == "" || c.User == "" || username.Fold(c.User) != c.User {
		return errors.New("site, user or origin is missing")
	}
	if err := c.checkSource(); err != nil {
		return err
	}
	return CheckToken(c.Token)
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
	case c.Source == Given && !c.Ending.IsZero():
		return errors.New("one that was given ends with its entry")
	}
	return nil
}
