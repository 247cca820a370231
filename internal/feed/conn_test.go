package feed

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"apitokens.dev/operator/hack/lib/fault"
)

// fakeConn is a connection whose reads all have the same result.
type fakeConn struct {
	net.Conn
	n   int
	err error
}

func (s fakeConn) Read([]byte) (int, error) { return s.n, s.err }

func TestConnTrackerKnowsWhenTheServerWasHeard(t *testing.T) {
	for name, tc := range map[string]struct {
		from  fakeConn
		heard bool
	}{
		"bytes":                    {fakeConn{n: 1}, true},
		"an end":                   {fakeConn{err: io.EOF}, true},
		"a reset":                  {fakeConn{err: &net.OpError{Op: "read", Err: syscall.ECONNRESET}}, true},
		"we closed it":             {fakeConn{err: &net.OpError{Op: "read", Err: net.ErrClosed}}, false},
		"no acknowledgement":       {fakeConn{err: &net.OpError{Op: "read", Err: syscall.ETIMEDOUT}}, false},
		"the network is not there": {fakeConn{err: &net.OpError{Op: "read", Err: syscall.EHOSTUNREACH}}, false},
	} {
		tracker := &connTracker{}
		config := tracker.tracked(&rest.Config{Dial: func(context.Context, string, string) (net.Conn, error) { return tc.from, nil }})
		c, err := config.Dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(nil); n != tc.from.n || !errors.Is(err, tc.from.err) {
			t.Errorf("%s: read %d, %v", name, n, err)
		}
		if heard := tracker.heard.Load() != 0; heard != tc.heard {
			t.Errorf("%s: heard: %t", name, heard)
		}
	}
}

// A connection attempt times out soon, so that the next one can find the network restored.
func TestConnectingTimesOut(t *testing.T) {
	line, err := fault.NewLine("127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(line.Close)
	if err := line.Lose(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := newConnTracker().tracked(&rest.Config{}).Dial(ctx, "tcp", line.Address()); err == nil || ctx.Err() != nil {
		t.Errorf("connecting without an answer: %v", err)
	}
}

func TestRetryAfterIsIgnored(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "30")
		w.WriteHeader(http.StatusTooManyRequests)
	}))
	t.Cleanup(server.Close)
	api, err := rest.HTTPClientFor(newConnTracker().tracked(&rest.Config{Host: server.URL}))
	if err != nil {
		t.Fatal(err)
	}
	response, err := api.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusTooManyRequests || response.Header.Get("Retry-After") != "" {
		t.Errorf("answered %s, Retry-After %q", response.Status, response.Header.Get("Retry-After"))
	}
}
