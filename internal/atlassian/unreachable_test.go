package atlassian

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"testing"
	"time"
)

// Each cause calls for something else, so a probe tells them apart.
func TestProbeTellsNetworkErrorsApart(t *testing.T) {
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	hangs := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	t.Cleanup(hangs.Close)
	drops := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	t.Cleanup(drops.Close)
	for name, tc := range map[string]struct {
		server *httptest.Server
		want   error // nil for none of these
	}{"refused": {closed, ErrConnectionRefused}, "no answer in time": {hangs, ErrTimeout}, "dropped": {drops, nil}} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		err := NewClient().Probe(ctx, Upstream{Product: Jira, URL: tc.server.URL})
		cancel()
		expectCause(t, name, err, tc.want)
	}
}

func TestNetworkError(t *testing.T) {
	for name, tc := range map[string]struct {
		err, want error
	}{
		"no such host":      {&net.DNSError{Err: "no such host", Name: "jira.jira.svc", IsNotFound: true}, ErrNoSuchHost},
		"no answer of DNS":  {&net.DNSError{Err: "i/o timeout", IsTimeout: true}, ErrTimeout},
		"DNS is broken":     {&net.DNSError{Err: "server misbehaving", IsTemporary: true}, nil},
		"a deadline":        {fmt.Errorf("asking: %w", context.DeadlineExceeded), ErrTimeout},
		"the client's time": {&url.Error{Op: "Get", Err: context.DeadlineExceeded}, ErrTimeout},
		"cancelled":         {context.Canceled, nil},
		"broken off":        {io.ErrUnexpectedEOF, nil},
	} {
		expectCause(t, name, networkError(tc.err), tc.want)
		if got := networkError(tc.err); !errors.Is(got, tc.err) {
			t.Errorf("%s: the cause is lost: %v", name, got)
		}
	}
}

func expectCause(t *testing.T, name string, err, want error) {
	t.Helper()
	all := []error{ErrConnectionRefused, ErrNoSuchHost, ErrTimeout}
	all = slices.DeleteFunc(all, func(cause error) bool { return !errors.Is(err, cause) })
	if err == nil || len(all) > 1 || len(all) == 1 && !errors.Is(want, all[0]) || len(all) == 0 && want != nil {
		t.Errorf("%s: %v, want %v", name, err, want)
	}
}
