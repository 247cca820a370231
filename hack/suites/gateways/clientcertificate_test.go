package gateways_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"apitokens.dev/operator/hack/lib/authority"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/serving"
	"apitokens.dev/operator/webhook/gateway/contract"
)

const (
	webhookName = "apitoken-webhook.apitoken-system.svc"
	gatewayName = "gateway.ingress.svc"
)

// must returns the first of two results.
func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// overTLS has webhook and portal serve TLS, with a certificate of signer for names. The gateway trusts ours. It returns how often
// the portal was reached.
func (w *world) overTLS(t *testing.T, ours, signer *authority.Authority, names ...string) *int {
	t.Helper()
	web := serving.NewHTTP(contract.NewHandler(w.index, w.observe), 10*time.Second)
	web.ConnContext = contract.WithConnection
	w.webhookAt = serveTLS(t, web, signer, names...)
	reached := new(int)
	w.portalAt = serveTLS(t, serving.NewHTTP(http.HandlerFunc(func(answer http.ResponseWriter, _ *http.Request) {
		*reached++
		_, _ = io.WriteString(answer, "the portal")
	}), 10*time.Second), signer, names...)
	w.authority = write(t, t.TempDir(), "ca.crt", string(ours.PEM))
	return reached
}

// newCertified is a world whose site wants client certificates of an authority, and whose gateway presents one, or none.
func newCertified(t *testing.T, ours *authority.Authority, certificate *tls.Certificate) *world {
	t.Helper()
	w := newWorld(t)
	w.overTLS(t, ours, ours, webhookName, portalName, "127.0.0.1")
	w.certified, w.certificate = true, certificate
	w.index.PutSite(authn.Site{
		Name: site, UID: "site-uid", Product: "Jira", Origin: "http://" + w.productAt, TokenPaths: []string{"/rest/"}, CallerNames: []string{gatewayName},
	})
	w.index.PutCallerAuthorities(site, ours.Pool())
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

// certificateFiles writes the certificate of the gateway and its key into files, and both into a third.
func (w *world) certificateFiles(t *testing.T) (certificate, key, both string) {
	t.Helper()
	c, k, err := authority.EncodePEM(*w.certificate)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	return write(t, dir, "client.crt", string(c)), write(t, dir, "client.key", string(k)), write(t, dir, "client.pem", string(c)+string(k))
}

// withCertificate does with a sample what docs/how-to/client-certificates.md says: the key goes, and the certificate comes. A
// gateway without a certificate has the same configuration but for it.
func (w *world) withCertificate(t *testing.T, sample string) string {
	t.Helper()
	for _, key := range []string{
		"proxy_set_header X-Api-Token-Caller \"CALLER_KEY\";\n", "header_up X-Api-Token-Caller CALLER_KEY\n", "setenv API_TOKEN_CALLER_KEY CALLER_KEY\n",
	} {
		sample = strings.ReplaceAll(sample, key, "\n")
	}
	sample = strings.NewReplacer("#cert ", "", "unix@/run/haproxy", "unix@"+socketFolder(t)).Replace(sample)
	if strings.Contains(sample, "listen api_token_webhook") { // HAProxy asks through a server of its own
		sample = strings.ReplaceAll(sample, "API_TOKEN_URL https://", "API_TOKEN_URL http://")
	}
	if w.certificate == nil {
		return strings.ReplaceAll(sample, " crt /etc/haproxy/client.pem", "")
	}
	certificate, key, both := w.certificateFiles(t)
	return strings.NewReplacer(
		"# proxy_ssl_certificate /etc/nginx/client.crt", "proxy_ssl_certificate "+certificate,
		"# proxy_ssl_certificate_key /etc/nginx/client.key", "proxy_ssl_certificate_key "+key,
		"# \ttls_client_auth /etc/caddy/client.crt /etc/caddy/client.key", "\ttls_client_auth "+certificate+" "+key,
		"/etc/haproxy/client.pem", both,
	).Replace(sample)
}

// socketFolder returns a folder whose name is short enough for a socket in it.
func socketFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "h")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(filepath.Clean(dir)); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// Each gateway asks a webhook with TLS, verifies it, and is answered only with the client certificate that its site wants.
func TestGatewaysPresentTheirCertificate(t *testing.T) {
	ours, soon := must(authority.New("ours")), time.Now().Add(time.Hour)
	through(t, realPrograms(), func(t *testing.T, p program) {
		for name, tc := range map[string]struct {
			certificate *tls.Certificate
			want        authn.Reason
		}{
			"right":             {new(must(ours.Client(soon, gatewayName))), authn.ReasonAuthenticated},
			"none":              {nil, authn.ReasonCallerCertificateMissing},
			"another authority": {new(must(must(authority.New("ours")).Client(soon, gatewayName))), authn.ReasonCallerCertificateUntrusted},
			"ended":             {new(must(ours.Client(time.Now().Add(-time.Minute), gatewayName))), authn.ReasonCallerCertificateExpired},
			"another name":      {new(must(ours.Client(soon, "other.ingress.svc"))), authn.ReasonCallerCertificateName},
		} {
			w := newCertified(t, ours, tc.certificate)
			gateway := p.start(t, w)
			w.asked()
			p.judge(t, "a certificate: "+name, func(fail func(format string, a ...any)) {
				for range 2 { // the second time over the same connection
					got := w.send(t, gateway, http.MethodGet, myself, "Authorization: "+basic("alice", w.token))
					status, reached := p.unready, 0
					if tc.want == authn.ReasonAuthenticated {
						status, reached = http.StatusOK, 1
					}
					if got.status != status || len(got.seen) != reached {
						fail("answered %d, and the product saw %d requests, want %d and %d", got.status, len(got.seen), status, reached)
					}
				}
				asked, _ := w.asked()
				for _, x := range asked {
					if x.Decision.Reason != tc.want {
						fail("decided with the reason %q, want %q", x.Decision.Reason, tc.want)
					}
				}
				if len(asked) < 2 {
					fail("the webhook was asked %d times", len(asked))
				}
			})
		}
	})
}
