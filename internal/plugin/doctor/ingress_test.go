package doctor

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/authority"
	"apitokens.dev/operator/internal/httpheader"
	"apitokens.dev/operator/internal/plugin/exit"
)

// visitTo returns a visit to the ingress of a Jira at a URL.
func visitTo(t *testing.T, url string) *visit {
	t.Helper()
	s := &tokensv1alpha1.AtlassianSite{ObjectMeta: metav1.ObjectMeta{Namespace: "jira", Name: "main"}, Spec: tokensv1alpha1.AtlassianSiteSpec{
		Product: tokensv1alpha1.ProductJira, BaseURL: url + "/jira", TokenPaths: []string{"/rest/"},
	}}
	v, err := newExam(time.Now()).newVisit(s, &sync.Mutex{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.http.CloseIdleConnections)
	return v
}

// jira is an ingress without a fault: it knows one token, that of alice, which may only read.
func jira(w http.ResponseWriter, r *http.Request) {
	switch _, password, _ := r.BasicAuth(); {
	case password == "secret" && r.Method != http.MethodGet:
		w.WriteHeader(http.StatusForbidden)
	case password == "secret":
		_, _ = fmt.Fprint(w, `{"name":"alice"}`)
	case password != "":
		w.Header().Set("WWW-Authenticate", httpheader.Challenge)
		w.WriteHeader(http.StatusUnauthorized)
	default:
		w.WriteHeader(http.StatusUnauthorized)
	}
}

// Each fault of an ingress is named, with and without a token. One without a fault has no finding.
func TestVisits(t *testing.T) {
	named := func(name string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintf(w, `{"name":%q}`, name) }
	}
	on := func(path string, status int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.URL.EscapedPath() == path {
				w.WriteHeader(status)
				return
			}
			jira(w, r)
		}
	}
	withToken := func(v *visit) ([]finding, error) { return v.withToken(t.Context(), "alice", "secret") }
	spellings := func(v *visit) ([]finding, error) { return v.spellings(t.Context()) }
	for name, tc := range map[string]struct {
		ingress http.HandlerFunc
		look    func(*visit) ([]finding, error)
		want    string
	}{
		"a token":                          {jira, withToken, ""},
		"a token that is refused":          {on("/jira/rest/api/2/myself", 401), withToken, reasonTokenRefused},
		"the token of another":             {named("bob"), withToken, reasonOtherUser},
		"a connection that knows its user": {named("alice"), withToken, reasonConnectionKeepsUser},
		"a read-only token":                {jira, func(v *visit) ([]finding, error) { v.createFor = "alice"; return v.write(t.Context(), "secret") }, ""},
		"a read-only token that may write": {named("alice"), func(v *visit) ([]finding, error) { return v.write(t.Context(), "secret") }, reasonWriteNotRefused},
		"spellings":                        {jira, spellings, ""},
		"a spelling that is not found":     {on("/jira//rest/api/2/myself", 404), spellings, ""},
		"a spelling that passes unasked":   {on("/jira//rest/api/2/myself", 401), spellings, reasonPathNotChecked},
		"an encoded one that passes":       {on("/jira/%72est/api/2/myself", 200), spellings, reasonPathNotChecked},
		"a spelling that is served as a user": {func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/jira//rest/api/2/myself" {
				w.Header().Set("X-Ausername", "bob")
			}
			jira(w, r)
		}, func(v *visit) ([]finding, error) {
			found, err := v.spellings(t.Context())
			if len(found) != 1 || found[0].Severity != problem {
				t.Errorf("served as a user: %+v", found)
			}
			return found, err
		}, reasonPathNotChecked},
		"a body":                            {jira, func(v *visit) ([]finding, error) { return v.body(t.Context()) }, ""},
		"a body that is too large":          {on("/jira/rest/api/2/myself", 413), func(v *visit) ([]finding, error) { return v.body(t.Context()) }, reasonBodyTooSmall},
		"a connection":                      {jira, func(v *visit) ([]finding, error) { return v.connection(t.Context()) }, ""},
		"a connection that ends":            {func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Connection", "close"); jira(w, r) }, func(v *visit) ([]finding, error) { return v.connection(t.Context()) }, reasonNoKeepAlive},
		"a revoked token":                   {on("/jira/rest/api/2/myself", 401), dead(t), ""},
		"a revoked token that goes on":      {named("alice"), dead(t), reasonRevokedStillWorks},
		"plain HTTP on this machine is all": {jira, func(v *visit) ([]finding, error) { return oneOf(v.plainHTTP()), nil }, ""},
	} {
		server := httptest.NewServer(tc.ingress)
		found, err := tc.look(visitTo(t, server.URL))
		server.Close()
		if err != nil || (tc.want == "") != (len(found) == 0) || len(found) > 0 && (found[0].Reason != tc.want || found[0].Do == "") {
			t.Errorf("%s: %+v, %v, want %s", name, found, err, tc.want)
		}
	}
	for url, want := range map[string]int{"http://jira.example.com": 1, "https://jira.example.com": 0} {
		if found := oneOf(visitTo(t, url).plainHTTP()); len(found) != want {
			t.Errorf("%s: %+v", url, found)
		}
	}
}

func oneOf(f *finding) []finding {
	if f == nil {
		return nil
	}
	return []finding{*f}
}

func dead(t *testing.T) func(v *visit) ([]finding, error) {
	return func(v *visit) ([]finding, error) {
		err := v.dead(t.Context(), "secret", 10*time.Millisecond)
		return v.Findings, err
	}
}

// The certificate of an ingress is a finding a week before its end.
func TestCertificateOfTheIngress(t *testing.T) {
	signer, err := authority.New("an authority")
	if err != nil {
		t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(signer.PEM)
	end := time.Now().Add(24 * time.Hour)
	for left, want := range map[time.Duration]string{8 * 24 * time.Hour: "", 6 * 24 * time.Hour: reasonCertificateEnds} {
		certificate, err := signer.Server(end, "127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewUnstartedServer(http.HandlerFunc(jira))
		server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
		server.StartTLS()
		v := visitTo(t, server.URL)
		v.Now = func() time.Time { return end.Add(-left) }
		transport, _ := v.http.Transport.(*http.Transport)
		transport.TLSClientConfig.RootCAs = trusted
		found, err := v.connection(t.Context())
		server.Close()
		if err != nil || (want == "") != (len(found) == 0) || len(found) > 0 && (found[0].Reason != want || found[0].Severity != warning) {
			t.Errorf("%s: %+v, %v", left, found, err)
		}
	}
}

// A file that has no token is refused, without a word of its content.
func TestTokenFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	for text, ok := range map[string]bool{"alice:secret\n": true, "the-secret": false, ":secret": false, "alice:": false, "": false} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		user, secret, err := readToken(file)
		if ok != (err == nil) || ok && (user != "alice" || secret != "secret") || err != nil && (exit.CodeOf(err) != exit.Usage || strings.Contains(err.Error(), "secret")) {
			t.Errorf("%q: %q, %v", text, user, err)
		}
	}
}
