// Package projection is what the operator keeps, in its own namespace, of the Secrets that a site names. Only the
// controller reads Secrets where people work; whoever else needs what is in these reads the projection.
package projection

import (
	"encoding/json"
	"errors"
	"fmt"

	"apitokens.dev/operator/internal/strictjson"
)

const (
	// SecretType is the type of the Secrets that hold projections.
	SecretType = "apitokens.dev/site"
	// DataKey is the key of such a Secret's only entry.
	DataKey = "site.json"
)

// Projection is that of one site.
type Projection struct {
	Namespace string `json:"namespace"`
	Site      string `json:"site"`
	// UpstreamURL is the site's, once the controller has found that it may be asked. If the site has another one by now, nothing
	// is to be sent there yet.
	UpstreamURL string `json:"upstreamURL,omitempty"`
	// UpstreamCAs are the certificates that `upstreamCARef` leads to, in PEM. Empty for a site that has an `upstreamCARef`
	// means that there are none to trust, and then nothing is to be asked.
	UpstreamCAs string `json:"upstreamCAs,omitempty"`
	// License is what lies where `licenseSecretRef` says, verified by nobody yet.
	License string `json:"license,omitempty"`
}

// SecretName returns the name of the Secret that holds the projection.
func (p Projection) SecretName() string { return SecretName(p.Namespace, p.Site) }

// SecretName returns the name of the Secret that holds the projection of a site.
// A namespace has no dots in it, so no two sites have the same.
func SecretName(namespace, site string) string { return "site." + namespace + "." + site }

// Encode returns the stored form.
func (p Projection) Encode() ([]byte, error) {
	b, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encoding the projection of a site: %w", err)
	}
	return b, nil
}

// Decode reads the stored form.
func Decode(b []byte) (Projection, error) {
	p, err := strictjson.Decode[Projection](b)
	if err != nil {
		return Projection{}, fmt.Errorf("decoding the projection of a site: %w", err)
	}
	if p.Namespace == "" || p.Site == "" {
		return Projection{}, errors.New("decoding the projection of a site: the site is not named")
	}
	return p, nil
}
