// Package authurl is the address at which a gateway asks the webhook about a request,
// and the caller key in it with which the gateway proves itself:
//
//	/{contract}/{caller key}/{namespace}/{site}
package authurl

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"apitokens.dev/operator/internal/strictjson"
)

const (
	// SecretType is the type of the Secrets, beside a site, with the complete auth URLs of its gateways.
	SecretType = "apitokens.dev/auth-urls"
	// KeysSecretType is the type of the Secrets, in the operator's namespace, with the caller keys of a site.
	KeysSecretType = "apitokens.dev/caller-keys"
	// KeysDataKey is the key of such a Secret's only entry.
	KeysDataKey = "caller-keys.json"
)

// Contract names what a gateway sends and expects. A caller key is good for one contract of one site.
type Contract string

// Nginx is the contract of nginx's auth_request, as plain nginx and ingress-nginx use it.
const Nginx Contract = "nginx"

// Contracts are all that the webhook serves.
func Contracts() []Contract { return []Contract{Nginx} }

// Address is an auth URL without scheme and host.
type Address struct {
	Contract             Contract
	Key, Namespace, Site string
}

// String returns the path of the auth URL.
func (a Address) String() string {
	return "/" + string(a.Contract) + "/" + a.Key + "/" + a.Namespace + "/" + a.Site
}

// Parse reads the raw path of an auth URL, without resolving or decoding anything in it.
func Parse(path string) (a Address, ok bool) {
	rest, ok := strings.CutPrefix(path, "/")
	// A part that is missing is empty, and refused as such.
	contract, rest, _ := strings.Cut(rest, "/")
	a.Contract = Contract(contract)
	a.Key, rest, _ = strings.Cut(rest, "/")
	a.Namespace, a.Site, _ = strings.Cut(rest, "/")
	return a, ok && a.Key != "" && a.Namespace != "" && a.Site != "" && !strings.Contains(a.Site, "/")
}

// Keys are the caller keys of one site: for each contract those that are good, the current one first.
type Keys struct {
	Namespace string                `json:"namespace"`
	Site      string                `json:"site"`
	Keys      map[Contract][]string `json:"keys"`
}

// NewKeys makes a key for each contract.
func NewKeys(namespace, site string) Keys {
	k := Keys{Namespace: namespace, Site: site, Keys: map[Contract][]string{}}
	for _, c := range Contracts() {
		k.Keys[c] = []string{rand.Text()}
	}
	return k
}

// Address returns the path of the auth URL for a contract, with its current key.
func (k Keys) Address(c Contract) Address {
	return Address{Contract: c, Key: k.Keys[c][0], Namespace: k.Namespace, Site: k.Site}
}

// SecretName returns the name of the Secret that holds the keys of a site.
// A namespace has no dots in it, so no two sites have the same.
func (k Keys) SecretName() string { return KeysSecretName(k.Namespace, k.Site) }

// KeysSecretName returns the name of the Secret that holds the keys of a site.
func KeysSecretName(namespace, site string) string { return "caller-keys." + namespace + "." + site }

// Encode returns the stored form.
func (k Keys) Encode() ([]byte, error) {
	b, err := json.Marshal(k)
	if err != nil {
		return nil, fmt.Errorf("encoding caller keys: %w", err)
	}
	return b, nil
}

// DecodeKeys reads the stored form.
func DecodeKeys(b []byte) (Keys, error) {
	k, err := strictjson.Decode[Keys](b)
	if err != nil {
		return Keys{}, fmt.Errorf("decoding caller keys: %w", err)
	}
	if k.Namespace == "" || k.Site == "" {
		return Keys{}, errors.New("decoding caller keys: the site is not named")
	}
	for _, c := range Contracts() {
		if len(k.Keys[c]) == 0 {
			return Keys{}, fmt.Errorf("decoding caller keys: none for the contract %s", c)
		}
		for _, key := range k.Keys[c] {
			// 26 base32 digits have 130 bits.
			if len(key) < 26 || len(key) > 64 || strings.Trim(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" {
				return Keys{}, fmt.Errorf("decoding caller keys: one for the contract %s is malformed", c)
			}
		}
	}
	return k, nil
}
