// Package authurl has the auth URL, at which a gateway asks the webhook about a request. It contains the caller key, with
// which the gateway authenticates itself:
//
//	/{contract}/{caller key}/{namespace}/{site}
//
// A gateway that can set a header writes NoKey instead of the key, and sends the key in Header: proxies write URLs into their
// logs. A gateway of a site that wants client certificates writes NoKey too, and sends no key.
package authurl

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"apitokens.dev/operator/internal/storedjson"
)

const (
	// SecretType is the type of the Secret beside a site that has the complete auth URLs of its gateways.
	SecretType = "apitokens.dev/auth-urls"
	// KeysSecretType is the type of the Secret, beside the working copies of personal access tokens, that has the caller keys of
	// a site.
	KeysSecretType = "apitokens.dev/caller-keys"
	// KeysDataKey is the only key of such a Secret.
	KeysDataKey = "caller-keys.json"

	// Header is the header with the caller key. It is read only if the URL has NoKey.
	Header = "X-Api-Token-Caller"
	// NoKey stands in the auth URL in place of the caller key. It is shorter than any key.
	NoKey = "-"
)

// Names of the context extensions with which a route of Envoy says what an auth URL says. A client cannot set them.
const (
	// SiteExtension has the site, as namespace/name.
	SiteExtension = "site"
	// KeyExtension has the caller key.
	KeyExtension = "key"
)

// Keys of the Secret with the auth URLs. Those of the URLs themselves are the names of the contracts.
const (
	// PortalDataKey is the key of the portal's URL.
	PortalDataKey = "portal"
	// GRPCSiteDataKey is the key of the site, for Envoy over gRPC, which has no URL.
	GRPCSiteDataKey = "grpc-site"
	// GRPCCallerDataKey is the key of the caller key, for the same.
	GRPCCallerDataKey = "grpc-key"
)

// Contract names the form of a gateway's questions and answers. A caller key is valid for one contract of one site.
type Contract string

const (
	// Nginx is the contract of nginx's auth_request, as plain nginx and ingress-nginx use it.
	Nginx Contract = "nginx"
	// Forward is the contract of gateways that describe the request in X-Forwarded-Uri and X-Forwarded-Method: Traefik, also
	// with its provider for Ingresses of ingress-nginx, Caddy, APISIX, and HAProxy with our Lua script.
	Forward Contract = "forward"
	// Envoy is the contract of Envoy's ext_authz over HTTP: the client's method, and its target behind the auth URL.
	Envoy Contract = "envoy"
	// Fabric is the contract of NGINX Gateway Fabric, which describes the request in headers named Path and Method.
	Fabric Contract = "fabric"
	// GRPC is the contract of Envoy's ext_authz over gRPC. It has no URL: site and key are context extensions of the route.
	GRPC Contract = "grpc"
)

// Contracts returns all contracts that the webhook serves.
func Contracts() []Contract { return []Contract{Nginx, Forward, Envoy, Fabric, GRPC} }

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
func Parse(path string) (Address, bool) {
	a, following, ok := Cut(path)
	return a, ok && following == ""
}

// Cut reads the auth URL at the beginning of a raw path. following is what comes after it: nothing, or a path.
func Cut(path string) (a Address, following string, ok bool) {
	rest, ok := strings.CutPrefix(path, "/")
	// A missing part is empty, and refused below.
	contract, rest, _ := strings.Cut(rest, "/")
	a.Contract = Contract(contract)
	a.Key, rest, _ = strings.Cut(rest, "/")
	a.Namespace, rest, _ = strings.Cut(rest, "/")
	a.Site = rest
	if slash := strings.IndexByte(rest, '/'); slash >= 0 {
		a.Site, following = rest[:slash], rest[slash:]
	}
	return a, following, ok && a.Key != "" && a.Namespace != "" && a.Site != ""
}

// previousPeriod is how long a key works that a rotation replaced.
const previousPeriod = 24 * time.Hour

// Keys are the caller keys of one site, by contract. The first one of a contract is the current key.
type Keys struct {
	Namespace string                `json:"namespace"`
	Site      string                `json:"site"`
	Keys      map[Contract][]string `json:"keys"`
	// Served means that callers with these keys are answered. The keys of a site that is not served, or was deleted, are kept
	// unused: its ingress has them, and they cannot be made again.
	Served bool `json:"served,omitempty"`
	// Made is when the current keys were made. Zero means before any rotation was requested.
	Made time.Time `json:"made,omitzero"`
	// Ends has, for each key that a rotation replaced, the first moment at which it is refused.
	Ends map[string]time.Time `json:"ends,omitempty"`
}

// NewKeys makes a key for each contract, for a site that is served.
func NewKeys(namespace, site string, now time.Time) Keys {
	k := Keys{Namespace: namespace, Site: site, Keys: map[Contract][]string{}, Served: true, Made: now.UTC()}
	k.AddMissing()
	return k
}

// AddMissing makes a key for each contract without one: another version of the operator, with fewer contracts, made the keys.
func (k Keys) AddMissing() {
	for _, c := range Contracts() {
		if len(k.Keys[c]) == 0 {
			k.Keys[c] = []string{rand.Text()}
		}
	}
}

// Rotate makes new current keys if that was requested for a time that has come, and the current ones are older. Those work for
// another 24 hours. It reports whether it made some.
func (k *Keys) Rotate(requested, now time.Time) bool {
	if requested.After(now) || !k.Made.Before(requested) {
		return false
	}
	if k.Ends == nil {
		k.Ends = map[string]time.Time{}
	}
	for _, c := range Contracts() {
		for _, replaced := range k.Keys[c] {
			if _, ending := k.Ends[replaced]; !ending {
				k.Ends[replaced] = now.UTC().Add(previousPeriod)
			}
		}
		k.Keys[c] = append([]string{rand.Text()}, k.Keys[c]...)
	}
	k.Made = now.UTC()
	return true
}

// DropEnded removes the keys that have ended. The current keys have no end.
func (k Keys) DropEnded(now time.Time) {
	for _, c := range Contracts() {
		if len(k.Keys[c]) == 0 {
			continue
		}
		delete(k.Ends, k.Keys[c][0])
		k.Keys[c] = slices.DeleteFunc(k.Keys[c], func(key string) bool {
			end, ends := k.Ends[key]
			return ends && !now.Before(end)
		})
	}
	maps.DeleteFunc(k.Ends, func(_ string, end time.Time) bool { return !now.Before(end) })
}

// LastEnd returns when the last of the replaced keys ends, and zero if there is none.
func (k Keys) LastEnd() (last time.Time) {
	for _, end := range k.Ends {
		if end.After(last) {
			last = end
		}
	}
	return last
}

// Edit returns the stored form after a change. Members that only a later version knows stay as they are.
func Edit(stored []byte, change func(*Keys)) ([]byte, error) {
	k, err := DecodeKeys(stored)
	if err != nil {
		return nil, err
	}
	before, err1 := k.Encode()
	change(&k)
	after, err2 := k.Encode()
	if bytes.Equal(before, after) {
		return stored, nil
	}
	var form, known, changed map[string]json.RawMessage
	if err := errors.Join(err1, err2, json.Unmarshal(stored, &form), json.Unmarshal(before, &known), json.Unmarshal(after, &changed)); err != nil {
		return nil, fmt.Errorf("changing caller keys: %w", err)
	}
	for member := range known {
		delete(form, member)
	}
	maps.Copy(form, changed)
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
func (k Keys) Encode() ([]byte, error) { return keysForm.Encode(k) }

// DecodeKeys decodes the stored form. A contract may lack a key, and there may be keys for contracts that this version does
// not know. A malformed key for a known contract is an error.
func DecodeKeys(b []byte) (Keys, error) { return keysForm.Decode(b) }

var keysForm = storedjson.Form[Keys]{Name: "caller keys", Check: Keys.check}

func (k Keys) check() error {
	if k.Namespace == "" || k.Site == "" || k.Keys == nil {
		return errors.New("the site is not named, or there are no keys")
	}
	for _, c := range Contracts() {
		keys, found := k.Keys[c]
		if found && len(keys) == 0 {
			return fmt.Errorf("the list for the contract %s is empty", c)
		}
		for _, key := range keys {
			// 26 base32 digits have 130 bits.
			if len(key) < 26 || len(key) > 64 || strings.Trim(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" {
				return fmt.Errorf("one for the contract %s is malformed", c)
			}
		}
	}
	return nil
}
