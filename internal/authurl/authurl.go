// Package authurl has the auth URL, at which a gateway asks the webhook about a request. It contains the caller key, with
// which the gateway authenticates itself:
//
//	/{contract}/{caller key}/{namespace}/{site}
//
// A gateway that can set a header writes KeyInHeader instead of the key, and sends the key in Header: proxies write URLs
// into their logs.
package authurl

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"apitokens.dev/operator/internal/storedjson"
)

const (
	// SecretType is the type of the Secret beside a site that has the complete auth URLs of its gateways.
	SecretType = "apitokens.dev/auth-urls"
	// KeysSecretType is the type of the Secret in the operator's namespace that has the caller keys of a site.
	KeysSecretType = "apitokens.dev/caller-keys"
	// KeysDataKey is the only key of such a Secret.
	KeysDataKey = "caller-keys.json"

	// Header is the header with the caller key. It is read only if the URL has KeyInHeader.
	Header = "X-Api-Token-Caller"
	// KeyInHeader stands in the auth URL in place of the caller key. It is shorter than any key.
	KeyInHeader = "-"
)

// Contract names the form of a gateway's questions and answers. A caller key is valid for one contract of one site.
type Contract string

// Nginx is the contract of nginx's auth_request, as plain nginx and ingress-nginx use it.
const Nginx Contract = "nginx"

// Contracts returns all contracts that the webhook serves.
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

// Parse reads the raw path of an auth URL. It resolves and decodes nothing.
func Parse(path string) (a Address, ok bool) {
	rest, ok := strings.CutPrefix(path, "/")
	// A missing part is empty, and refused below.
	contract, rest, _ := strings.Cut(rest, "/")
	a.Contract = Contract(contract)
	a.Key, rest, _ = strings.Cut(rest, "/")
	a.Namespace, a.Site, _ = strings.Cut(rest, "/")
	return a, ok && a.Key != "" && a.Namespace != "" && a.Site != "" && !strings.Contains(a.Site, "/")
}

// Keys are the valid caller keys of one site, by contract. The first one is the current key.
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

// Missing returns the contracts without a key: another version of the operator, with fewer contracts, made the keys.
func (k Keys) Missing() (all []Contract) {
	for _, c := range Contracts() {
		if len(k.Keys[c]) == 0 {
			all = append(all, c)
		}
	}
	return all
}

// AddMissing returns the stored form with a new key for each contract without one. All else stays as it is, also members that
// only a later version knows.
func AddMissing(stored []byte) ([]byte, error) {
	k, err := DecodeKeys(stored)
	if err != nil {
		return nil, err
	}
	var form, keys map[string]json.RawMessage
	if err := errors.Join(json.Unmarshal(stored, &form), json.Unmarshal(form["keys"], &keys)); err != nil {
		return nil, errors.New("adding caller keys: not a JSON object")
	}
	for _, c := range k.Missing() {
		if keys[string(c)], err = json.Marshal([]string{rand.Text()}); err != nil {
			return nil, fmt.Errorf("adding caller keys: %w", err)
		}
	}
	if form["keys"], err = json.Marshal(keys); err != nil {
		return nil, fmt.Errorf("adding caller keys: %w", err)
	}
	return json.Marshal(form)
}

// Address returns the path of the auth URL for a contract with a key, with the current one.
func (k Keys) Address(c Contract) Address {
	return Address{Contract: c, Key: k.Keys[c][0], Namespace: k.Namespace, Site: k.Site}
}

// SecretName returns the name of the Secret that holds the keys of a site. No two sites share a name, because a namespace
// contains no dots.
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

// DecodeKeys decodes the stored form. A contract may lack a key, and there may be keys for contracts that this version does
// not know. A malformed key for a known contract is an error.
func DecodeKeys(b []byte) (Keys, error) {
	k, err := storedjson.Decode[Keys](b)
	if err != nil {
		return Keys{}, fmt.Errorf("decoding caller keys: %w", err)
	}
	if k.Namespace == "" || k.Site == "" || k.Keys == nil {
		return Keys{}, errors.New("decoding caller keys: the site is not named, or there are no keys")
	}
	for _, c := range Contracts() {
		keys, found := k.Keys[c]
		if found && len(keys) == 0 {
			return Keys{}, fmt.Errorf("decoding caller keys: the list for the contract %s is empty", c)
		}
		for _, key := range keys {
			// 26 base32 digits have 130 bits.
			if len(key) < 26 || len(key) > 64 || strings.Trim(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" {
				return Keys{}, fmt.Errorf("decoding caller keys: one for the contract %s is malformed", c)
			}
		}
	}
	return k, nil
}
