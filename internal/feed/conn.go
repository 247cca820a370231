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

// connTracker knows when the API server was last heard from. The transport notices a frozen connection late, and staleness
// has to count from the time before that.
type connTracker struct {
	heard atomic.Int64 // Unix time in nanoseconds
}

func newConnTracker() *connTracker {
	t := &connTracker{}
	t.heard.Store(time.Now().UnixNano())
	return t
}

// tracked returns a copy of config whose connections the tracker follows.
func (t *connTracker) tracked(config *rest.Config) *rest.Config {
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
		return &trackedConn{Conn: c, tracker: t}, nil
	}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return ignoreRetryAfter{next} })
	return config
}

type trackedConn struct {
	net.Conn
	tracker *connTracker
}

// Read reads and records the time. A closed or reset connection counts too, because the server closed it.
func (c *trackedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		c.tracker.heard.Store(time.Now().UnixNano())
	}
	return n, err
}

// ignoreRetryAfter hides Retry-After from client-go, which would wait for it up to ten times within one request. An
// overloaded API server asks for up to 30 seconds, and revocations would be as late. Our own backoff burdens it little.
type ignoreRetryAfter struct{ http.RoundTripper }

// RoundTrip sends a request.
func (i ignoreRetryAfter) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := i.RoundTripper.RoundTrip(r)
	if response != nil {
		response.Header.Del("Retry-After")
	}
	return response, err
}
