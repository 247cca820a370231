// Package authority makes certificates for the servers and clients of tests.
package authority

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"slices"
	"testing"
	"time"
)

// Authority is a certificate authority of its own, which no system trusts.
type Authority struct {
	// PEM is the certificate of the authority.
	PEM []byte

	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// New creates an authority, valid from yesterday until tomorrow.
func New(name string) (*Authority, error) {
	return (*Authority)(nil).intermediate(name, time.Now().Add(24*time.Hour))
}

// ForTest creates one like New, for a test.
func ForTest(t testing.TB, name string) *Authority {
	t.Helper()
	a, err := New(name)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// Intermediate creates an authority below this one, valid until the given time.
func (a *Authority) Intermediate(name string, until time.Time) (*Authority, error) {
	return a.intermediate(name, until)
}

// intermediate creates an authority that a signs, or that signs itself if a is nil.
func (a *Authority) intermediate(name string, until time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the key of an authority: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: until.Add(-48 * time.Hour), NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	parent, signer := template, key
	if a != nil {
		parent, signer = a.certificate, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return nil, fmt.Errorf("making the certificate of an authority: %w", err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate of an authority: %w", err)
	}
	return &Authority{PEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), certificate: certificate, key: key}, nil
}

// Server issues a server certificate for names and addresses, valid until the given time.
func (a *Authority) Server(until time.Time, hosts ...string) (tls.Certificate, error) {
	template := &x509.Certificate{NotAfter: until, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	return a.Issue(template)
}

// Client issues a client certificate for DNS names, valid until the given time.
func (a *Authority) Client(until time.Time, names ...string) (tls.Certificate, error) {
	return a.Issue(&x509.Certificate{NotAfter: until, DNSNames: names, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
}

// Issue issues a certificate with a key of its own. Without NotBefore it is valid for two days.
func (a *Authority) Issue(template *x509.Certificate) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("making the key of a certificate: %w", err)
	}
	template.SerialNumber, template.KeyUsage = big.NewInt(2), x509.KeyUsageDigitalSignature
	if template.NotBefore.IsZero() {
		template.NotBefore = template.NotAfter.Add(-48 * time.Hour)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("making a certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("reading a certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

// Below returns a certificate with that of this authority after it, as a client sends it that has an intermediate authority.
func (a *Authority) Below(c tls.Certificate) tls.Certificate {
	c.Certificate = append(slices.Clip(c.Certificate), a.certificate.Raw)
	return c
}

// Pool returns a pool with this authority alone.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return pool
}

// EncodePEM returns a certificate with all that come after it, and its private key, in PEM.
func EncodePEM(c tls.Certificate) (certificate, key []byte, err error) {
	for _, der := range c.Certificate {
		certificate = append(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		return nil, nil, fmt.Errorf("encoding a private key: %w", err)
	}
	return certificate, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
