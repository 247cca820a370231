package contract

import (
	"context"
	"net"
	"net/http"
	"sync"

	"apitokens.dev/operator/internal/authn"
)

// connection is what requests over one connection share: the client certificate of the gateway, verified once.
type connection struct {
	read        sync.Once
	certificate *authn.CallerCertificate
}

type connectionKey struct{}

// WithConnection is the ConnContext of a server with the handler. The handshake may come later.
func WithConnection(ctx context.Context, _ net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, &connection{})
}

// certificate returns the client certificate with which a gateway connected, or nil.
func certificate(r *http.Request) *authn.CallerCertificate {
	if r.TLS == nil {
		return nil
	}
	c, ok := r.Context().Value(connectionKey{}).(*connection)
	if !ok {
		return authn.NewCallerCertificate(r.TLS.PeerCertificates)
	}
	c.read.Do(func() { c.certificate = authn.NewCallerCertificate(r.TLS.PeerCertificates) })
	return c.certificate
}
