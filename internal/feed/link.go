package feed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
)

// link is the way to the API server. It knows when anything last came from there: a connection that was frozen had
// nothing to tell for some time before the transport noticed it.
type link struct {
	heard atomic.Int64 // in nanoseconds
}

func newLink() *link {
	l := &link{}
	l.heard.Store(time.Now().UnixNano())
	return l
}

// through returns config, for connections that are made through the link.
func (l *link) through(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	dial := config.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive}).DialContext
	}
	config.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, fmt.Errorf("connecting to the API server: %w", err)
		}
		return &conn{Conn: c, link: l}, nil
	}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return ownPace{next} })
	return config
}

// conn is a connection of the link.
type conn struct {
	net.Conn
	link *link
}

// Read reads, and remembers that the other side was there: it also is when it ends or refuses to go on.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		c.link.heard.Store(time.Now().UnixNano())
	}
	return n, err
}

// ownPace hides Retry-After, which client-go would obey ten times over within one request. An API server that is
// overloaded asks for up to half a minute, and revocations would wait. Our own backoff burdens it little.
type ownPace struct{ http.RoundTripper }

// RoundTrip sends a request.
func (p ownPace) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := p.RoundTripper.RoundTrip(r)
	if response != nil {
		response.Header.Del("Retry-After")
	}
	return response, err
}
