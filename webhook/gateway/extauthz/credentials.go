package extauthz

import (
	"context"
	"crypto/tls"
	"net"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/peer"

	"apitokens.dev/operator/internal/authn"
)

// tlsCredentials are those of a server with TLS. They keep the client certificate of each connection.
type tlsCredentials struct {
	credentials.TransportCredentials
}

// connection is what the calls of one connection share.
type connection struct {
	credentials.TLSInfo

	certificate *authn.CallerCertificate
}

func newCredentials(settings *tls.Config) credentials.TransportCredentials {
	if settings == nil {
		return insecure.NewCredentials()
	}
	return tlsCredentials{credentials.NewTLS(settings)}
}

// ServerHandshake implements credentials.TransportCredentials.
func (c tlsCredentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secured, info, err := c.TransportCredentials.ServerHandshake(raw)
	if tlsInfo, ok := info.(credentials.TLSInfo); ok && err == nil {
		info = connection{tlsInfo, authn.NewCallerCertificate(tlsInfo.State.PeerCertificates)}
	}
	return secured, info, err
}

// Clone implements credentials.TransportCredentials.
func (c tlsCredentials) Clone() credentials.TransportCredentials {
	return tlsCredentials{c.TransportCredentials.Clone()}
}

// certificate returns the client certificate with which Envoy connected, or nil.
func certificate(ctx context.Context) *authn.CallerCertificate {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil
	}
	c, _ := p.AuthInfo.(connection)
	return c.certificate
}
