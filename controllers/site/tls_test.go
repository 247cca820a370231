package site_test

import (
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/authority"
	"apitokens.dev/operator/hack/lib/fakeproduct"
)

func (w *world) authority(name string) *authority.Authority {
	w.Helper()
	return authority.ForTest(w, name)
}

// secure is the https origin of a Service.
func (w *world) secure(service string) string { return "https://" + service + "." + w.ns + ".svc:8443" }

// serveTLS puts a server with a certificate of this authority behind the https name of a Service. The certificate has to be
// for the server's address, to which the network of the test resolves the name.
func (w *world) serveTLS(service string, h http.Handler, a *authority.Authority, until time.Time, host string) {
	w.Helper()
	certificate, err := a.Server(until, host)
	if err != nil {
		w.Fatal(err)
	}
	server := httptest.NewUnstartedServer(h)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes fail on purpose
	server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	server.StartTLS()
	w.Cleanup(server.Close)
	w.network.servers[w.secure(service)] = server.URL
}

// ca puts the certificates of authorities into the Secret "product-ca".
func (w *world) ca(data map[string][]byte) {
	w.Helper()
	if s := w.secret(w.ns, "product-ca"); s != nil {
		w.setData(s, data)
		return
	}
	w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "product-ca"}, Data: data})
}

func caRef(key string) func(*tokensv1alpha1.AtlassianSite) {
	return func(s *tokensv1alpha1.AtlassianSite) {
		s.Spec.UpstreamCARef = tokensv1alpha1.UpstreamCAReference{Name: "product-ca", Key: key}
	}
}

func ofConfluence(s *tokensv1alpha1.AtlassianSite) { s.Spec.Product = tokensv1alpha1.ProductConfluence }

// confluence returns a Confluence at /wiki where alice has two personal access tokens.
func confluence() *fakeproduct.Confluence {
	return fakeproduct.NewConfluence(fakeproduct.Options{ContextPath: "/wiki", Users: []fakeproduct.User{{Name: "alice", PATs: []string{pat("alice", 1), pat("alice", 2)}}}})
}

func TestUpstreamCA(t *testing.T) {
	// Every message has to say what to do.
	instruction := regexp.MustCompile(`\b(Put|put|Name|Use|Replace|Create)\b`)
	soon, past := time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
	shared := &world{T: t}
	ours, others := shared.authority("ours"), shared.authority("others")
	for name, tc := range map[string]struct {
		data   map[string][]byte // of the Secret, nil for none
		ref    func(*tokensv1alpha1.AtlassianSite)
		host   string
		until  time.Time
		reason string
		says   string
	}{
		"right":             {map[string][]byte{"ca.crt": ours.PEM}, caRef(""), "127.0.0.1", soon, tokensv1alpha1.ReasonAnswered, "Confluence answers at "},
		"under another key": {map[string][]byte{"root": ours.PEM}, caRef("root"), "127.0.0.1", soon, tokensv1alpha1.ReasonAnswered, "Confluence answers at "},
		"another authority's": {map[string][]byte{"ca.crt": others.PEM}, caRef(""), "127.0.0.1", soon,
			tokensv1alpha1.ReasonCertificateRefused, "is not signed by an authority with a valid certificate in the key 'ca.crt' of Secret 'product-ca'"},
		"no reference": {map[string][]byte{"ca.crt": ours.PEM}, func(*tokensv1alpha1.AtlassianSite) {}, "127.0.0.1", soon,
			tokensv1alpha1.ReasonCertificateRefused, "in `upstreamCARef`"},
		"another host": {map[string][]byte{"ca.crt": ours.PEM}, caRef(""), "confluence.example", soon,
			tokensv1alpha1.ReasonCertificateRefused, "is for another host"},
		"expired": {map[string][]byte{"ca.crt": ours.PEM}, caRef(""), "127.0.0.1", past,
			tokensv1alpha1.ReasonCertificateRefused, "has expired"},
		"no Secret": {nil, caRef(""), "127.0.0.1", soon, tokensv1alpha1.ReasonCAUnusable, "There is no Secret 'product-ca'"},
		"no key": {map[string][]byte{"tls.crt": ours.PEM}, caRef(""), "127.0.0.1", soon,
			tokensv1alpha1.ReasonCAUnusable, "Secret 'product-ca' has no key 'ca.crt'"},
		"empty": {map[string][]byte{"ca.crt": nil}, caRef(""), "127.0.0.1", soon,
			tokensv1alpha1.ReasonCAUnusable, "The key 'ca.crt' of Secret 'product-ca', which `upstreamCARef` names, does not hold certificates"},
		"garbled": {map[string][]byte{"ca.crt": []byte(canary)}, caRef(""), "127.0.0.1", soon,
			tokensv1alpha1.ReasonCAUnusable, "does not hold certificates in PEM"},
		"garbled after a good one": {map[string][]byte{"ca.crt": slices.Concat(ours.PEM, []byte("-----BEGIN "+canary))},
			caRef(""), "127.0.0.1", soon, tokensv1alpha1.ReasonCAUnusable, "a certificate in it is damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			product := confluence()
			w.serveTLS("confluence", product, ours, tc.until, tc.host)
			if tc.data != nil {
				w.ca(tc.data)
			}
			w.giveTo("wiki", "alice", pat("alice", 1))
			s := w.site("wiki", ofConfluence, upstreamURL(w.secure("confluence")+"/wiki"), users("alice"), tc.ref)
			w.reconcile(s)
			w.expectServed(s)
			c := w.expect(s, tokensv1alpha1.ConditionUpstreamReachable, tc.reason)
			if !strings.Contains(c.Message, tc.says) || strings.Contains(c.Message, "127.0.0.1") {
				t.Errorf("message %q", c.Message)
			}
			w.expectIdle(s)
			if tc.reason == tokensv1alpha1.ReasonAnswered {
				w.expectCredentials(s, tokensv1alpha1.ReasonVerified)
				w.expectHeld(s, map[string]string{"alice": pat("alice", 1)})
				return
			}
			if !instruction.MatchString(c.Message) {
				t.Errorf("it does not say what to do: %q", c.Message)
			}
			w.expectCredentials(s, tokensv1alpha1.ReasonCredentialUnusable)
			w.expectHeld(s, map[string]string{"alice": ""})
			if requests := product.Requests(); len(requests) != 0 {
				t.Errorf("a server that is not trusted was asked: %v", requests)
			}
		})
	}
}

// Each pass reads the certificates again, so that a change counts within a minute.
func TestUpstreamCAChanges(t *testing.T) {
	w := newWorld(t)
	ours, others := w.authority("ours"), w.authority("others")
	product := confluence()
	w.serveTLS("confluence", product, ours, time.Now().Add(time.Hour), "127.0.0.1")
	w.giveTo("wiki", "alice", pat("alice", 1))
	s := w.site("wiki", ofConfluence, upstreamURL(w.secure("confluence")+"/wiki"), users("alice"), caRef(""))
	for _, step := range []struct {
		data   map[string][]byte
		reason string
	}{
		{map[string][]byte{"ca.crt": others.PEM}, tokensv1alpha1.ReasonCertificateRefused},
		{map[string][]byte{"ca.crt": slices.Concat(others.PEM, ours.PEM)}, tokensv1alpha1.ReasonAnswered},
		{map[string][]byte{"ca.crt": others.PEM}, tokensv1alpha1.ReasonCertificateRefused},
		{map[string][]byte{"ca.crt": ours.PEM[1:]}, tokensv1alpha1.ReasonCAUnusable},
		{map[string][]byte{"ca.crt": ours.PEM}, tokensv1alpha1.ReasonAnswered},
	} {
		w.ca(step.data)
		w.reconcile(s)
		w.expect(s, tokensv1alpha1.ConditionUpstreamReachable, step.reason)
	}
	// A verified copy stays in use, and a new one is not sent to a server without trust.
	w.ca(map[string][]byte{"ca.crt": others.PEM})
	w.give("alice", pat("alice", 2))
	product.Reset()
	w.reconcile(s)
	w.expect(s, tokensv1alpha1.ConditionUpstreamReachable, tokensv1alpha1.ReasonCertificateRefused)
	w.expectHeld(s, map[string]string{"alice": pat("alice", 1)})
	if requests := product.Requests(); len(requests) != 0 {
		t.Errorf("a server that is not trusted any more was asked: %v", requests)
	}
}

// A failed read of the authorities is an error, and the product is not asked without them.
func TestUpstreamCACannotBeRead(t *testing.T) {
	w := newWorld(t)
	ours := w.authority("ours")
	w.serveTLS("confluence", confluence(), ours, time.Now().Add(time.Hour), "127.0.0.1")
	w.ca(map[string][]byte{"ca.crt": ours.PEM})
	s := w.site("wiki", ofConfluence, upstreamURL(w.secure("confluence")+"/wiki"), caRef(""))
	w.reconcile(s)
	broken := errors.New("the API server is broken")
	failing := *w.reconciler
	failing.Live = interceptor.NewClient(w.api, interceptor.Funcs{
		Get: failingGet(broken, func(k client.ObjectKey) bool { return k.Name == "product-ca" }),
	})
	if _, err := w.pass(&failing, s); !errors.Is(err, broken) || !strings.Contains(err.Error(), "reading Secret "+w.ns+"/product-ca") {
		t.Errorf("the pass ended with %v", err)
	}
	w.expect(s, tokensv1alpha1.ConditionUpstreamReachable, tokensv1alpha1.ReasonAnswered)
}

func TestWrongProduct(t *testing.T) {
	for name, tc := range map[string]struct {
		product  func(*tokensv1alpha1.AtlassianSite)
		upstream http.Handler
		says     string
	}{
		"Confluence for Jira": {func(*tokensv1alpha1.AtlassianSite) {}, fakeproduct.NewConfluence(fakeproduct.Options{ContextPath: "/jira"}), "is Confluence, not Jira. Correct `upstreamURL`"},
		"Jira for Confluence": {ofConfluence, fakeproduct.NewJira(fakeproduct.Options{ContextPath: "/jira"}), "is Jira, not Confluence. Correct `upstreamURL`"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			var received []string
			w.serve("jira", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				received = append(received, r.Header.Values("Authorization")...)
				tc.upstream.ServeHTTP(rw, r)
			}))
			w.give("alice", pat("alice", 1))
			s := w.site("main", tc.product, users("alice"))
			w.reconcile(s)
			c := w.expect(s, tokensv1alpha1.ConditionUpstreamReachable, tokensv1alpha1.ReasonWrongProduct)
			if !strings.Contains(c.Message, "The server at "+s.Spec.UpstreamURL+" "+tc.says) {
				t.Errorf("message %q", c.Message)
			}
			w.expectCredentials(s, tokensv1alpha1.ReasonCredentialUnusable)
			w.expectIdle(s)
			if len(received) != 0 {
				t.Errorf("the wrong product received %q", received)
			}
		})
	}
}

// A Confluence that ignores a personal access token answers 200 as to an anonymous caller.
func TestAnonymousCredential(t *testing.T) {
	w := newWorld(t)
	product := fakeproduct.NewConfluence(fakeproduct.Options{ContextPath: "/jira", Users: []fakeproduct.User{{Name: "alice", PATs: []string{pat("alice", 1)}}}})
	w.serve("jira", product)
	w.give("alice", pat("alice", 1))
	s := w.site("main", ofConfluence, users("alice"))
	w.reconcile(s)
	w.expectCredentials(s, tokensv1alpha1.ReasonVerified)

	w.serve("jira", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		r.Header.Del("Authorization")
		product.ServeHTTP(rw, r)
	}))
	w.give("alice", pat("alice", 2))
	w.reconcile(s)
	if c := w.expectCredentials(s, tokensv1alpha1.ReasonCredentialUnusable); !strings.Contains(c.Message, "does not accept the personal access token") {
		t.Errorf("message %q", c.Message)
	}
	w.expectHeld(s, map[string]string{"alice": ""})
}
