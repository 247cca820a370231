// Package probe has the credential with which the controller asks through the ingress of a site whether the webhook is asked.
//
//	asp_probe_<due>_<nonce>_<path or any>_<MAC>
//
// It is derived from a key that only the controller and the webhook know. The key itself is never sent. The webhook answers 403
// `Probe` from the moment `due` on, in Unix milliseconds, if it was asked about the path in the MAC, or about any. Otherwise it
// answers as it does to a token that does not exist. So a change from 401 to 403 shows, through every gateway and without a header, that
// this webhook answered, that no cache did, and about which path it was asked. Nobody else can tell the credential from such a token.
//
// It has an underscore where a token has an id, so it can be the token of nobody.
package probe

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"time"

	"apitokens.dev/operator/internal/storedjson"
	"apitokens.dev/operator/internal/token"
)

const (
	// SecretType is the type of the Secret, beside the caller keys, that has the probe key of a site.
	SecretType = "apitokens.dev/probe-key"
	// DataKey is the only key of such a Secret.
	DataKey = "probe-key.json"

	// Prefix begins every credential of a probe.
	Prefix = token.Prefix + "probe_"
	// User is the made-up user with whom the controller asks.
	User = "apitoken-probe"

	// boundToPath and boundToNone say what the MAC is about.
	boundToPath, boundToNone = "path", "any"
	// maxLength is longer than any credential, in bytes.
	maxLength = 256
)

// Key is the probe key of one site.
type Key struct {
	Namespace string `json:"namespace"`
	Site      string `json:"site"`
	// Key has 130 random bits.
	Key string `json:"key"`
}

// NewKey makes a key.
func NewKey(namespace, site string) Key { return Key{namespace, site, rand.Text()} }

// SecretName returns the name of the Secret that holds the key of a site.
func SecretName(namespace, site string) string { return "probe-key." + namespace + "." + site }

// SecretName returns the name of the Secret that holds the key.
func (k Key) SecretName() string { return SecretName(k.Namespace, k.Site) }

// Encode returns the stored form.
func (k Key) Encode() ([]byte, error) { return form.Encode(k) }

// Decode decodes the stored form.
func Decode(b []byte) (Key, error) { return form.Decode(b) }

var form = storedjson.Form[Key]{Name: "a probe key", Check: Key.check}

func (k Key) check() error {
	if k.Namespace == "" || k.Site == "" || len(k.Key) < 26 || len(k.Key) > 64 {
		return errors.New("the site is not named, or the key is malformed")
	}
	return nil
}

// Credential returns a new credential that is due at a time. It is for one raw path, or for any if the path is empty.
func (k Key) Credential(due time.Time, path string) string {
	bound := boundToPath
	if path == "" {
		bound = boundToNone
	}
	claims := strings.Join([]string{strconv.FormatInt(due.UnixMilli(), 10), rand.Text(), bound}, "_")
	return Prefix + claims + "_" + k.mac(claims, path)
}

// Presented reports whether a password is meant as the credential of a probe, of whatever site.
func Presented(password []byte) bool { return bytes.HasPrefix(password, []byte(Prefix)) }

// Verify reports whether a password is a credential made with this key that is due, and whether the webhook was asked about its path.
func (k Key) Verify(password []byte, path string, now time.Time) bool {
	text, ok := strings.CutPrefix(string(password[:min(len(password), maxLength)]), Prefix)
	claims, mac, found := cutLast(text)
	parts := strings.Split(claims, "_")
	if !ok || !found || len(parts) != 3 {
		return false
	}
	switch parts[2] {
	case boundToPath:
	case boundToNone:
		path = ""
	default:
		return false
	}
	if !hmac.Equal([]byte(k.mac(claims, path)), []byte(mac)) {
		return false
	}
	due, err := strconv.ParseInt(parts[0], 10, 64)
	return err == nil && now.UnixMilli() >= due
}

func cutLast(text string) (before, after string, found bool) {
	i := strings.LastIndexByte(text, '_')
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+1:], true
}

func (k Key) mac(claims, path string) string {
	h := hmac.New(sha256.New, []byte(k.Key))
	h.Write([]byte(claims + "_" + path))
	return hex.EncodeToString(h.Sum(nil))
}
