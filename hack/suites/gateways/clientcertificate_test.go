package gateways_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"testing"
	"time"

	"apitokens.dev/operator/hack/lib/authority"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/serving"
	"apitokens.dev/operator/webhook/gateway/contract"
)

const (
	webhookName = "apitoken-webhook.apitoken-system.svc"
	gatewayName = "nginx.ingress.svc"
)

// must returns the first of two results.
func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// secured is a webhook with TLS for a site that wants client certificates of the authority ours.
type secured struct {
	*world

	ours *authority.Authority
}

func newSecured(t *testing.T) secured {
	t.Helper()
	w := secured{newWorld(t), must(authority.New("ours"))}
	w.index.PutSite(authn.Site{
		Name: site, UID: "site-uid", Product: "Jira", Origin: "http://" + w.productAt, TokenPaths: []string{"/rest/"}, CallerNames: []string{gatewayName},
	})
	w.index.PutCallerAuthorities(site, w.ours.Pool())
	web := serving.NewHTTP(contract.NewHandler(w.index, w.observe), 10*time.Second)
	web.ConnContext = contract.WithConnection
	w.webhookAt = serveTLS(t, web, w.ours, webhookName)
	return w
}

// serveTLS serves TLS 1.3 alone, with a certificate for names, at an address of this machine until the test ends. An address is a
// DNS name too: HAProxy compares nothing else.
func serveTLS(t *testing.T, web *http.Server, by *authority.Authority, names ...string) string {
	t.Helper()
	web.ErrorLog = log.New(io.Discard, "", 0) // gateways refuse it on purpose
	template := &x509.Certificate{NotAfter: time.Now().Add(time.Hour), DNSNames: names, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		}
	}
	web.TLSConfig = &tls.Config{
		MinVersion: tls.VersionTLS13, ClientAuth: tls.RequestClientCert, Certificates: []tls.Certificate{must(by.Issue(template))},
	}
	listener := must(new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0"))
	done := make(chan error, 1)
	go func() { done <- web.ServeTLS(listener, "", "") }()
	t.Cleanup(func() {
		_ = web.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

// certificated returns the sample for nginx with the changes that docs/how-to/tls.md and client-certificates.md say. Without a
// certificate nginx presents none.
func (w secured) certificated(t *testing.T, certificate *tls.Certificate) string {
	t.Helper()
	dir, own := t.TempDir(), ""
	ca := write(t, dir, "ca.crt", string(w.ours.PEM))
	if certificate != nil {
		c, key, err := authority.EncodePEM(*certificate)
		if err != nil {
			t.Fatal(err)
		}
		own = "proxy_ssl_certificate " + write(t, dir, "client.crt", string(c)) + ";\nproxy_ssl_certificate_key " + write(t, dir, "client.key", string(key)) + ";"
	}
	return edited(t, withTLS(sample(t, "nginx.conf"), ca), []string{`proxy_set_header X-Api-Token-Caller "CALLER_KEY";`, own})
}

// nginx asks a webhook with TLS, verifies it, and is answered only with the client certificate that its site wants.
func TestNginxWithClientCertificate(t *testing.T) {
	w, soon := newSecured(t), time.Now().Add(time.Hour)
	for name, tc := range map[string]struct {
		certificate *tls.Certificate
		want        authn.Reason
	}{
		"right":             {new(must(w.ours.Client(soon, gatewayName))), authn.ReasonAuthenticated},
		"none":              {nil, authn.ReasonCallerCertificateMissing},
		"another authority": {new(must(must(authority.New("ours")).Client(soon, gatewayName))), authn.ReasonCallerCertificateUntrusted},
		"ended":             {new(must(w.ours.Client(time.Now().Add(-time.Minute), gatewayName))), authn.ReasonCallerCertificateExpired},
		"another name":      {new(must(w.ours.Client(soon, "caddy.ingress.svc"))), authn.ReasonCallerCertificateName},
	} {
		t.Run(name, func(t *testing.T) {
			gateway := startNginxWith(t, w.world, w.certificated(t, tc.certificate))
			w.asked()
			for range 2 { // the second time over the same connection
				got := w.send(t, gateway, http.MethodGet, myself, "Authorization: "+basic("alice", w.token))
				status, reached := http.StatusInternalServerError, 0
				if tc.want == authn.ReasonAuthenticated {
					status, reached = http.StatusOK, 1
				}
				if got.status != status || len(got.seen) != reached {
					t.Errorf("answered %d, and the product saw %d requests, want %d and %d", got.status, len(got.seen), status, reached)
				}
			}
			asked, _ := w.asked()
			for _, x := range asked {
				if x.Decision.Reason != tc.want {
					t.Errorf("decided with the reason %q, want %q", x.Decision.Reason, tc.want)
				}
			}
			if len(asked) < 2 {
				t.Errorf("the webhook was asked %d times", len(asked))
			}
		})
	}
}
