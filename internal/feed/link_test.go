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

// said is a connection on which one thing comes in.
type said struct {
	net.Conn
	n   int
	err error
}

func (s said) Read([]byte) (int, error) { return s.n, s.err }

func TestLinkKnowsWhenItHeardOfTheOtherSide(t *testing.T) {
	for name, tc := range map[string]struct {
		comes said
		heard bool
	}{
		"bytes":                    {said{n: 1}, true},
		"an end":                   {said{err: io.EOF}, true},
		"a reset":                  {said{err: &net.OpError{Op: "read", Err: syscall.ECONNRESET}}, true},
		"we closed it":             {said{err: &net.OpError{Op: "read", Err: net.ErrClosed}}, false},
		"nobody acknowledges":      {said{err: &net.OpError{Op: "read", Err: syscall.ETIMEDOUT}}, false},
		"the network is not there": {said{err: &net.OpError{Op: "read", Err: syscall.EHOSTUNREACH}}, false},
	} {
		l := &link{}
		config := l.through(&rest.Config{Dial: func(context.Context, string, string) (net.Conn, error) { return tc.comes, nil }})
		c, err := config.Dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(nil); n != tc.comes.n || !errors.Is(err, tc.comes.err) {
			t.Errorf("%s: read %d, %v", name, n, err)
		}
		if heard := l.heard.Load() != 0; heard != tc.heard {
			t.Errorf("%s: heard: %t", name, heard)
		}
	}
}

// The sooner an attempt is given up, the sooner the next one finds that the network is back.
func TestLinkGivesUpConnecting(t *testing.T) {
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
	if _, err := newLink().through(&rest.Config{}).Dial(ctx, "tcp", line.Address()); err == nil || ctx.Err() != nil {
		t.Errorf("connecting without an answer: %v", err)
	}
}

func TestLinkKeepsItsOwnPace(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "30")
		w.WriteHeader(http.StatusTooManyRequests)
	}))
	t.Cleanup(server.Close)
	api, err := rest.HTTPClientFor(newLink().through(&rest.Config{Host: server.URL}))
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
