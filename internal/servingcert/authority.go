package servingcert

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"apitokens.dev/operator/internal/storedjson"
)

// Authority is the stored form of an authority: its certificate and its private key, in PEM. One without a key is only trusted.
type Authority struct {
	Cert string `json:"cert"`
	Key  string `json:"key,omitempty"`
}

// stored is the form of the Secret with the authorities.
type stored struct {
	Authorities []Authority `json:"authorities"`
}

// EncodeAuthorities returns the stored form.
func EncodeAuthorities(all []Authority) ([]byte, error) {
	text, err := json.Marshal(stored{all})
	if err != nil {
		return nil, fmt.Errorf("encoding the authorities: %w", err)
	}
	return text, nil
}

// DecodeAuthorities decodes the stored form.
func DecodeAuthorities(text []byte) ([]Authority, error) {
	found, err := storedjson.Decode[stored](text)
	if err != nil {
		return nil, fmt.Errorf("decoding the authorities: %w", err)
	}
	return found.Authorities, nil
}

// authority is an Authority that was read. key is nil if it is only trusted.
type authority struct {
	Authority

	cert *x509.Certificate
	key  crypto.Signer
}

// parse reads the stored form. The error quotes nothing of it.
func (a Authority) parse() (authority, error) {
	block, _ := pem.Decode([]byte(a.Cert))
	if block == nil {
		return authority{}, errors.New("reading an authority: its certificate is not PEM")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return authority{}, errors.New("reading an authority: its certificate is malformed")
	}
	if a.Key == "" {
		return authority{Authority: a, cert: cert}, nil
	}
	block, _ = pem.Decode([]byte(a.Key))
	if block == nil {
		return authority{}, errors.New("reading an authority: its key is not PEM")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	key, ok := parsed.(*ecdsa.PrivateKey)
	if err != nil || !ok || !key.PublicKey.Equal(cert.PublicKey) {
		return authority{}, errors.New("reading an authority: its key is malformed, or that of another one")
	}
	return authority{a, cert, key}, nil
}

// signs reports whether the authority can sign a certificate for the names now.
func (a authority) signs(names []string, now time.Time) bool {
	return a.key != nil && !now.Before(a.cert.NotBefore) && now.Before(a.cert.NotAfter) &&
		!slices.ContainsFunc(names, func(name string) bool { return !slices.Contains(a.cert.PermittedDNSDomains, name) })
}

// newAuthority makes an authority that can sign for these names alone: nobody who gets its key can be another Service.
func newAuthority(names []string, now time.Time) (authority, error) {
	key, keyPEM, err := newKey()
	if err != nil {
		return authority{}, err
	}
	cert := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "API token operator, authority of " + now.UTC().Format(time.RFC3339)},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(authorityLifetime),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
		PermittedDNSDomains: names, PermittedDNSDomainsCritical: true,
	}
	certPEM, err := sign(cert, cert, &key.PublicKey, key)
	if err != nil {
		return authority{}, err
	}
	return Authority{string(certPEM), string(keyPEM)}.parse()
}

// issue makes a certificate for the names, and its key.
func (a authority) issue(names []string, now time.Time) (certPEM, keyPEM []byte, err error) {
	key, keyPEM, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	end := now.Add(certificateLifetime)
	if end.After(a.cert.NotAfter) {
		end = a.cert.NotAfter
	}
	certPEM, err = sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "API token operator"}, DNSNames: names, NotBefore: now.Add(-backdate), NotAfter: end,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, a.cert, &key.PublicKey, a.key)
	return certPEM, keyPEM, err
}

func newKey() (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("making a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("encoding a key: %w", err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func sign(cert, parent *x509.Certificate, public *ecdsa.PublicKey, key crypto.Signer) ([]byte, error) {
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, public, key)
	if err != nil {
		return nil, fmt.Errorf("signing a certificate: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}
