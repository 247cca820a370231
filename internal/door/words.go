package door

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/url"
	"strings"
)

// maxQuoted bounds a text from outside in a message, in bytes.
const maxQuoted = 120

// inWords returns an error in its own words. It leaves out addresses and times, which differ in each round: a condition must not.
func inWords(err error) string {
	var (
		name    *net.DNSError
		network *net.OpError
		invalid x509.CertificateInvalidError
		timeout net.Error
		request *url.Error
	)
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "no answer in time"
	case errors.As(err, &name):
		return "lookup " + clip(name.Name) + ": " + clip(name.Err)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the certificate has expired, or is not valid yet"
	case errors.As(err, &network):
		return clip(network.Op + ": " + network.Err.Error())
	case errors.As(err, &request):
		return clip(request.Err.Error())
	default:
		return clip(err.Error())
	}
}

// clip returns the beginning of a text from outside, without what cannot be printed.
func clip(text string) string {
	printable := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
	return printable[:min(len(printable), maxQuoted)]
}
