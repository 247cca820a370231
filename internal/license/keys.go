package license

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
)

// publicKey is the PEM type of a key.
const publicKey = "PUBLIC KEY"

// ParseKeys parses public keys for licences, each a PKIX block in PEM. It refuses a text with a damaged key, which would
// otherwise be missed only when a licence needs it. Errors do not quote the text, which may be a private key.
func ParseKeys(text []byte) (keys []ed25519.PublicKey, err error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != publicKey {
			return nil, errors.New("there is something else in it than public keys")
		}
		parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, errors.New("a public key in it is damaged")
		}
		key, ok := parsed.(ed25519.PublicKey)
		if !ok {
			return nil, errors.New("a public key in it is none of Ed25519")
		}
		keys = append(keys, key)
	}
	switch begun := bytes.Count(text, []byte("-----BEGIN ")); {
	case begun > len(keys):
		return nil, errors.New("a public key in it is damaged")
	case len(keys) == 0:
		return nil, errors.New("there is no public key in it")
	}
	return keys, nil
}

// EncodeKey returns a public key in the form that ParseKeys parses.
func EncodeKey(key ed25519.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: publicKey, Bytes: der}), nil
}
