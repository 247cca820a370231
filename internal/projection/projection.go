// Package projection defines the controller's copy of a site's Secret data. The gateway and the portal read this copy because
// they may not read user namespaces.
package projection

import (
	"errors"
	"time"

	"apitokens.dev/operator/internal/storedjson"
)

const (
	// SecretType is the type of the Secrets that hold projections.
	SecretType = "apitokens.dev/site"
	// DataKey is the only key of such a Secret.
	DataKey = "site.json"
)

// Projection is the copy for one site.
type Projection struct {
	Namespace string `json:"namespace"`
	Site      string `json:"site"`
	// UID is that of the AtlassianSite that this copy is about. If the site has another one, nobody knows yet which tokens of
	// earlier sites of this name are dead: nothing may be decided.
	UID string `json:"uid,omitempty"`
	// IssuedAfter is the highest revocation epoch that sites of this name had. A lower one in the site does not count.
	IssuedAfter time.Time `json:"issuedAfter,omitzero"`
	// LimitsSince is when the limits that decide about the removal of expired tokens last changed. A mistake in them removes
	// nothing at once.
	LimitsSince time.Time `json:"limitsSince,omitzero"`
	// UpstreamURL is the site's upstream that the controller allowed. It is empty while the site is not served. If the site has
	// another one by now, nothing may be sent there yet.
	UpstreamURL string `json:"upstreamURL,omitempty"`
	// UpstreamCAs are the certificates that `upstreamCARef` names, in PEM. If they are empty and the site has an
	// `upstreamCARef`, nothing may be sent.
	UpstreamCAs string `json:"upstreamCAs,omitempty"`
	// CallerCAs are the certificates that `callerVerification.clientCertificate.authoritiesRef` names, in PEM. They are empty while
	// the site is not served. If they are empty, no client certificate is accepted.
	CallerCAs string `json:"callerCAs,omitempty"`
	// License is the text in the Secret that `licenseSecretRef` names, not verified.
	License string `json:"license,omitempty"`
}

// SecretName returns the name of the Secret that holds the projection.
func (p Projection) SecretName() string { return SecretName(p.Namespace, p.Site) }

// SecretName returns the name of the Secret that holds the projection of a site. It is unique: a namespace has no dots.
func SecretName(namespace, site string) string { return "site." + namespace + "." + site }

// Encode returns the stored form.
func (p Projection) Encode() ([]byte, error) { return form.Encode(p) }

// Decode parses the stored form.
func Decode(b []byte) (Projection, error) { return form.Decode(b) }

var form = storedjson.Form[Projection]{Name: "the projection of a site", Check: Projection.check}

func (p Projection) check() error {
	if p.Namespace == "" || p.Site == "" {
		return errors.New("the site is not named")
	}
	return nil
}
