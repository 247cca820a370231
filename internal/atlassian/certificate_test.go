package atlassian_test

import (
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"apitokens.dev/operator/hack/lib/authority"
	"apitokens.dev/operator/hack/lib/fakeproduct"
	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/trust"
)

// serveTLS starts a server with a certificate for these hosts that expires at an instant.
func serveTLS(t *testing.T, h http.Handler, a *authority.Authority, until time.Time, hosts ...string) string {
	t.Helper()
	certificate, err := a.Server(until, hosts...)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(h)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes fail on purpose
	server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL
}

func TestCertificates(t *testing.T) {
	ours, others := authority.ForTest(t, "ours"), authority.ForTest(t, "other")
	soon, past := time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
	for name, tc := range map[string]struct {
		hosts   []string
		until   time.Time
		trusted []byte // nil for the authorities of the system
		noTLS   bool
		want    error // nil if it is accepted
	}{
		"the right authority":          {[]string{"127.0.0.1"}, soon, ours.PEM, false, nil},
		"the right one among several":  {[]string{"127.0.0.1"}, soon, slices.Concat(others.PEM, ours.PEM), false, nil},
		"another authority":            {[]string{"127.0.0.1"}, soon, others.PEM, false, atlassian.ErrUnknownAuthority},
		"the authorities of the image": {[]string{"127.0.0.1"}, soon, nil, false, atlassian.ErrUnknownAuthority},
		"another host":                 {[]string{"jira.example"}, soon, ours.PEM, false, atlassian.ErrCertificateHost},
		"expired":                      {[]string{"127.0.0.1"}, past, ours.PEM, false, atlassian.ErrCertificateExpired},
		"no TLS":                       {nil, soon, ours.PEM, true, atlassian.ErrNoTLS},
	} {
		t.Run(name, func(t *testing.T) {
			product := fakeproduct.NewConfluence(fakeproduct.Options{Users: []fakeproduct.User{{Name: "alice", PATs: []string{"pat"}}}})
			u := atlassian.Upstream{Product: atlassian.Confluence}
			if tc.noTLS {
				u.URL = strings.Replace(serve(t, product), "http:", "https:", 1)
			} else {
				u.URL = serveTLS(t, product, ours, tc.until, tc.hosts...)
			}
			if tc.trusted != nil {
				var err error
				if u.CAs, err = trust.Parse(tc.trusted); err != nil {
					t.Fatal(err)
				}
			}
			client := atlassian.NewClient()
			if err := client.Probe(t.Context(), u); !errors.Is(err, tc.want) {
				t.Errorf("Probe: %v, want %v", err, tc.want)
			}
			user, err := client.WhoAmI(t.Context(), u, atlassian.Bearer("pat"))
			if accepted := err == nil && user.Name == "alice"; accepted != (tc.want == nil) {
				t.Errorf("who-am-I: %q, %v", user, err)
			}
			if tc.want != nil && len(product.Requests()) != 0 {
				t.Errorf("what is not trusted received %v", product.Requests())
			}
		})
	}
}

// Trust ends at once, because no connection is kept.
func TestTrustEnds(t *testing.T) {
	ours, others := authority.ForTest(t, "ours"), authority.ForTest(t, "other")
	u := atlassian.Upstream{Product: atlassian.Jira, URL: serveTLS(t, fakeproduct.NewJira(fakeproduct.Options{}), ours, time.Now().Add(time.Hour), "127.0.0.1")}
	client := atlassian.NewClient()
	for _, step := range []struct {
		trusted []byte
		want    error
	}{{ours.PEM, nil}, {others.PEM, atlassian.ErrUnknownAuthority}, {ours.PEM, nil}, {nil, atlassian.ErrUnknownAuthority}} {
		u.CAs = nil
		if step.trusted != nil {
			u.CAs, _ = trust.Parse(step.trusted)
		}
		if err := client.Probe(t.Context(), u); !errors.Is(err, step.want) {
			t.Errorf("Probe: %v, want %v", err, step.want)
		}
	}
}
