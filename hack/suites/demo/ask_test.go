package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"apitokens.dev/operator/hack/lib/rig"
)

// echo is a path at which the product answers whatever the method is.
const echo = "/rest/double/1.0/echo"

// ask is one request with a password of alice. The zero value is an ordinary GET.
type ask struct {
	method, path string
	// to is the URL to send to, from the local address to send from.
	to, from string
	header   http.Header
	// user and password default to alice and the token that was delivered last.
	user, password string
}

func (a ask) String() string {
	return strings.Join(strings.Fields(fmt.Sprint(a.method, " ", a.path, " from ", a.from, " ", a.user, " ", a.header)), " ")
}

// ask sends a request and returns the outcome: "200", "401", "403 ReadOnly" with the reason, or "product 403" if the
// product answered other than 200.
func (s *story) ask(ctx context.Context, a ask) (string, error) {
	request, err := http.NewRequestWithContext(ctx, cmp.Or(a.method, http.MethodGet), cmp.Or(a.to, s.URL), http.NoBody)
	if err != nil {
		return "", err
	}
	request.URL.Opaque = cmp.Or(a.path, echo)
	maps.Copy(request.Header, a.header)
	request.SetBasicAuth(cmp.Or(a.user, "alice"), cmp.Or(a.password, s.token))
	s.Product.Reset()
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(cmp.Or(a.from, "127.0.0.1"))}}
	response, err := (&http.Transport{DisableKeepAlives: true, DialContext: dialer.DialContext}).RoundTrip(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	return s.outcome(response, string(body))
}

func (s *story) outcome(response *http.Response, body string) (string, error) {
	status, reason := strconv.Itoa(response.StatusCode), response.Header.Get("X-Api-Token-Reason")
	seen := rig.ThroughNginx(s.Product)
	switch {
	case len(seen) > 0 && response.StatusCode != http.StatusOK:
		return "product " + status, nil
	case len(seen) > 0:
		return status, s.sawNoToken(response.Request.Context())
	case response.StatusCode == http.StatusForbidden && (reason == "" || strings.Contains(body, "API tokens may not do this.")):
		return "", fmt.Errorf("403 for the reason %q is not explained: %s", reason, body)
	case response.StatusCode == http.StatusOK || response.Request.Method != http.MethodHead && !json.Valid([]byte(body)):
		return "", fmt.Errorf("answered %s %s without the product", status, body)
	}
	return strings.TrimSpace(status + " " + reason), nil
}

// expect is a request with its expected outcome.
type expect struct {
	ask

	want string
	// free is the expected outcome without the limit, 200 if empty.
	free string
}

// await waits until all requests have their expected outcome.
func (s *story) await(t *testing.T, all ...expect) {
	t.Helper()
	begun := time.Now()
	var wrong []string
	err := s.eventually(t.Context(), "the limits", func(ctx context.Context) (bool, error) {
		var now []string
		for _, e := range all {
			got, err := s.ask(ctx, e.ask)
			if ctx.Err() != nil {
				return false, nil
			}
			if err != nil {
				return false, fmt.Errorf("%s: %w", e.ask, err)
			}
			if got != e.want {
				now = append(now, fmt.Sprintf("%s: %s, want %s", e.ask, got, e.want))
			}
		}
		wrong = now
		return len(wrong) == 0, nil
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, strings.Join(wrong, "\n"))
	}
	t.Logf("%d answers as they should be, after %d ms", len(all), time.Since(begun).Milliseconds())
}

// kubectlOrFail runs kubectl without printing, and fails the test on an error.
func (s *story) kubectlOrFail(t *testing.T, as, stdin string, args ...string) string {
	t.Helper()
	out, err := s.KubectlAs(t.Context(), as, []byte(stdin), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (s *story) patchSpec(t *testing.T, as, object string, spec fields) {
	t.Helper()
	patch, err := json.Marshal(fields{"spec": spec})
	if err != nil {
		t.Fatal(err)
	}
	s.kubectlOrFail(t, as, "", "patch", object, "--type", "merge", "-p", string(patch))
}
