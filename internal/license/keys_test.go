package license_test

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"
	"testing"

	"apitokens.dev/operator/internal/license"
)

func block(t *testing.T, name string, der []byte, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: name, Bytes: der}))
}

func encodedKey(t *testing.T, key ed25519.PublicKey) string {
	t.Helper()
	text, err := license.EncodeKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestParseKeys(t *testing.T) {
	one, two := encodedKey(t, public), encodedKey(t, otherPublic)
	for name, tc := range map[string]struct {
		text string
		want []ed25519.PublicKey
	}{
		"one":            {one, []ed25519.PublicKey{public}},
		"two":            {one + two, []ed25519.PublicKey{public, otherPublic}},
		"with remarks":   {"the first\n" + one + "\nand the second\n" + two + "\n", []ed25519.PublicKey{public, otherPublic}},
		"other newlines": {strings.ReplaceAll(one, "\n", "\r\n"), []ed25519.PublicKey{public}},
	} {
		keys, err := license.ParseKeys([]byte(tc.text))
		if err != nil || !slices.EqualFunc(keys, tc.want, func(a, b ed25519.PublicKey) bool { return a.Equal(b) }) {
			t.Errorf("%s: read %x, %v", name, keys, err)
		}
	}
}

func TestParseKeysRefuses(t *testing.T) {
	one := encodedKey(t, public)
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	agreement, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p256, p256Err := x509.MarshalPKIXPublicKey(&curve.PublicKey)
	x25519, x25519Err := x509.MarshalPKIXPublicKey(agreement.PublicKey())
	secret, secretErr := x509.MarshalPKCS8PrivateKey(private)
	pkix, pkixErr := x509.MarshalPKIXPublicKey(public)
	for name, tc := range map[string]struct{ text, want string }{
		"nothing":            {"", "there is no public key in it"},
		"words":              {"a key", "there is no public key in it"},
		"another curve":      {block(t, "PUBLIC KEY", p256, p256Err), "none of Ed25519"},
		"one behind a good":  {one + block(t, "PUBLIC KEY", p256, p256Err), "none of Ed25519"},
		"a key to agree by":  {block(t, "PUBLIC KEY", x25519, x25519Err), "none of Ed25519"},
		"the private key":    {block(t, "PRIVATE KEY", secret, secretErr), "something else in it than public keys"},
		"both of them":       {one + block(t, "PRIVATE KEY", secret, secretErr), "something else in it than public keys"},
		"a private one so":   {block(t, "PUBLIC KEY", secret, secretErr), "damaged"},
		"bytes behind it":    {block(t, "PUBLIC KEY", append(pkix, 0), pkixErr), "damaged"},
		"without a header":   {block(t, "PUBLIC KEY", public, nil), "damaged"},
		"cut off":            {one[:60], "damaged"},
		"cut behind a good":  {one + one[:60], "damaged"},
		"spoiled":            {strings.Replace(one, "MC", "M!", 1), "damaged"},
		"spoiled before one": {strings.Replace(one, "MC", "M!", 1) + one, "damaged"},
	} {
		if keys, err := license.ParseKeys([]byte(tc.text)); err == nil || keys != nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: read %x, %v, want %q", name, keys, err, tc.want)
		}
	}
}
