package extauthz

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"runtime/debug"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/peer"

	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/serving"
)

// tlsCredentials are those of a server with TLS. They keep the client certificate of each connection.
type tlsCredentials struct {
	credentials.TransportCredentials

	// alsoPlain accepts connections without TLS too.
	alsoPlain bool
	// failures is told of panics.
	failures *log.Logger
}

// connection is what the calls of one connection share.
type connection struct {
	credentials.TLSInfo

	certificate *authn.CallerCertificate
}

func newCredentials(settings *tls.Config, alsoPlain bool, failures *log.Logger) credentials.TransportCredentials {
	if settings == nil {
		return insecure.NewCredentials()
	}
	return tlsCredentials{credentials.NewTLS(settings), alsoPlain, failures}
}

// errHandshake ends a connection whose handshake panicked.
var errHandshake = errors.New("panic during the handshake")

// ServerHandshake implements credentials.TransportCredentials. A panic ends only its connection, as in an HTTP server. gRPC recovers from
// none, so it would end the process.
func (c tlsCredentials) ServerHandshake(raw net.Conn) (secured net.Conn, info credentials.AuthInfo, err error) {
	defer func() {
		if failure := recover(); failure != nil {
			c.failures.Printf("panic opening the connection from %v: %v\n%s", raw.RemoteAddr(), failure, debug.Stack())
			err = errHandshake
		}
	}()
	if c.alsoPlain {
		same, handshake, err := serving.Begin(raw)
		if err != nil {
			return nil, nil, fmt.Errorf("waiting for a connection's first byte: %w", err)
		}
		if !handshake {
			return insecure.NewCredentials().ServerHandshake(same)
		}
		raw = same
	}
	secured, info, err = c.TransportCredentials.ServerHandshake(raw)
	if tlsInfo, ok := info.(credentials.TLSInfo); ok && err == nil {
		info = connection{tlsInfo, authn.NewCallerCertificate(tlsInfo.State.PeerCertificates)}
	}
	return secured, info, err
}

// Clone implements credentials.TransportCredentials.
func (c tlsCredentials) Clone() credentials.TransportCredentials {
	return tlsCredentials{c.TransportCredentials.Clone(), c.alsoPlain, c.failures}
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
