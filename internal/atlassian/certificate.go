package atlassian

import (
	"crypto/tls"
	"crypto/x509"
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
