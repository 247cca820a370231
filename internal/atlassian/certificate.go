package atlassian

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
)

// Errors about the certificate of an upstream. None of them is ever ignored.
var (
	// ErrUnknownAuthority means that no trusted authority signed it.
	ErrUnknownAuthority = errors.New("its certificate is signed by an unknown authority")
	// ErrCertificateHost means that it is for another host.
	ErrCertificateHost = errors.New("its certificate is for another host")
	// ErrCertificateExpired means that it has expired, or is not valid yet.
	ErrCertificateExpired = errors.New("its certificate has expired or is not valid yet")
	// ErrCertificate means that it is not accepted for another reason.
	ErrCertificate = errors.New("its certificate cannot be verified")
	// ErrNoTLS means that the server does not speak TLS.
	ErrNoTLS = errors.New("it does not speak TLS")
)

// certificateError adds one of the errors above to the error of a request, if the certificate is the cause.
func certificateError(err error) error {
	var (
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
		verify    *tls.CertificateVerificationError
		noTLS     tls.RecordHeaderError
	)
	var cause error
	switch {
	case errors.As(err, &authority):
		cause = ErrUnknownAuthority
	case errors.As(err, &host):
		cause = ErrCertificateHost
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		cause = ErrCertificateExpired
	case errors.As(err, &verify):
		cause = ErrCertificate
	case errors.As(err, &noTLS), errors.Is(err, http.ErrSchemeMismatch):
		cause = ErrNoTLS
	default:
		return err
	}
	return fmt.Errorf("%w: %w", cause, err)
}

// ParseCAs parses certificates of authorities in PEM. It refuses a text with a damaged certificate, which would otherwise be
// missed only when it is needed. Errors do not quote the text, which may be a secret.
func ParseCAs(text []byte) (*x509.CertPool, error) {
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
