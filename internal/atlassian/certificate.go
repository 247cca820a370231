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

// What is wrong with the certificate of an upstream. None of these is ever passed over.
var (
	// ErrUnknownAuthority means that no authority that counts has signed it.
	ErrUnknownAuthority = errors.New("its certificate is signed by an unknown authority")
	// ErrCertificateHost means that it is somebody else's.
	ErrCertificateHost = errors.New("its certificate is for another host")
	// ErrCertificateExpired means that it is not valid any longer, or not yet.
	ErrCertificateExpired = errors.New("its certificate has expired or is not valid yet")
	// ErrCertificate means that it cannot be accepted for another reason.
	ErrCertificate = errors.New("its certificate cannot be verified")
	// ErrNoTLS means that what answers does not speak TLS.
	ErrNoTLS = errors.New("it does not speak TLS")
)

// certificateError adds to the error of a request what is wrong with the certificate, if that is it.
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

// ParseCAs reads certificates of authorities in PEM. Every one of them has to be readable: one that is cut or spoiled
// would otherwise be missed only when it is needed. Errors do not quote what may be somebody's secret.
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
