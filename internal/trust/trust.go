// Package trust reads the certificates of authorities that a site names, for its product or for its gateways.
package trust

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
)

// Parse parses certificates of authorities in PEM. It refuses a text with a damaged certificate, which would otherwise be
// missed only when it is needed. Errors do not quote the text, which may be a secret.
func Parse(text []byte) (*x509.CertPool, error) {
	pool, n := x509.NewCertPool(), 0
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return nil, errors.New("there is something else in it than certificates")
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, errors.New("a certificate in it is damaged")
		}
		pool.AddCert(certificate)
		n++
	}
	switch begun := bytes.Count(text, []byte("-----BEGIN ")); {
	case begun > n:
		return nil, errors.New("a certificate in it is damaged")
	case n == 0:
		return nil, errors.New("there is no certificate in it")
	}
	return pool, nil
}
