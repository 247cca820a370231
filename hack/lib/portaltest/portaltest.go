// Package portaltest runs the portal for tests: on a real API server, with the rights of its own account, behind a small
// ingress, and with fake products.
package portaltest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/fakeproduct"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/hack/lib/ports"
	"apitokens.dev/operator/internal/feed"
	"apitokens.dev/operator/internal/license"
	"apitokens.dev/operator/internal/manager"
	"apitokens.dev/operator/internal/projection"
	"apitokens.dev/operator/internal/serving"
	"apitokens.dev/operator/webhook/portal"
	"apitokens.dev/operator/webhook/portal/leaks"
)

// Env is the control plane of a test package, with a running portal.
type Env struct {
	kubetest.Env

	// Licenses makes the portal require licences. Set it before the first world is made.
	Licenses *license.Verifier

	// Leaks are the messages about leaked tokens that the portal takes. Set it before the first world is made.
	Leaks leaks.Options

	// Connect changes how the portal reaches the API server. Set it before the first world is made.
	Connect func(*testing.T, *rest.Config) *rest.Config

	once    sync.Once
	address string
	stop    context.CancelFunc
	ended   chan error
	// audit holds the audit lines of the portal.
	audit lockedBuffer
}

// Main runs the tests of a package.
func (e *Env) Main(m *testing.M) int {
	defer func() {
		if e.stop != nil {
			e.stop()
			<-e.ended //nolint:errcheck // the tests are over
		}
	}()
	return e.Env.Main(m)
}

// start starts the portal, once for all tests of a package.
func (e *Env) start(t *testing.T) {
	t.Helper()
	e.Required(t)
	e.once.Do(func() {
		free, err := ports.Free(1)
		if err != nil {
			t.Fatal(err)
		}
		config := e.User(t, kubetest.Portal, "system:serviceaccounts", "system:serviceaccounts:"+kubetest.SystemNamespace)
		if e.Connect != nil {
			config = e.Connect(t, config)
		}
		klog.SetLogger(logr.Discard())                        // client-go logs that clients were stopped
		ctx, stop := context.WithCancel(context.Background()) //nolint:usetesting // it outlives this test
		e.address, e.stop, e.ended = "http://"+free[0], stop, make(chan error, 1)
		go func() {
			e.ended <- portal.Run(ctx, config, portal.Options{IntakeNamespace: kubetest.IntakeNamespace, Leaks: e.Leaks, Options: serving.Options{
				TLS:         serving.TLSFiles{PlainHTTP: true},
				BindAddress: free[0], Telemetry: manager.Telemetry{Health: "0", Metrics: "0"}, ShutdownTimeout: time.Second, Audit: &e.audit,
				Feed: feed.Config{Namespace: kubetest.SystemNamespace, Lease: Lease, Licenses: e.Licenses},
			}}, logr.Discard())
		}()
		Keep(ctx, t, &e.Env, clock.RealClock{}, nil)
		kubetest.Eventually(t, func() error {
			select {
			case err := <-e.ended:
				t.Fatal("the portal ended:", err)
			default:
			}
			response, err := http.Get(e.address)
			if err != nil {
				return err
			}
			return response.Body.Close()
		})
	})
}

// Audit returns the audit lines of the portal.
func (e *Env) Audit() string { return e.audit.String() }

// World is one site with a product, and an ingress in front of both.
type World struct {
	Site *tokensv1alpha1.AtlassianSite
	// Product is the fake product behind the ingress.
	Product *fakeproduct.Product
	// URL is the base URL of the site, with the context path.
	URL string
	// Portal is the URL to which the ingress sends requests for the portal.
	Portal string
	// Controller is a client with the rights of the controller. Of the controller only that of personal access tokens runs.
	Controller client.Client

	// ahead is how far the clock of the product is ahead.
	ahead *atomic.Int64
}

// SetProductAhead sets how far the clock of the product is ahead.
func (w *World) SetProductAhead(by time.Duration) { w.ahead.Store(int64(by)) }

func clockOf(ahead *atomic.Int64) func() time.Time {
	return func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
}

// Users returns the users of the fake products. carol is an administrator of API tokens.
func Users() []fakeproduct.User {
	return []fakeproduct.User{
		{Name: "alice", Key: "JIRAUSER10001", DisplayName: "Alice Example", Password: "alices password"},
		{Name: "bob", Key: "JIRAUSER10002", DisplayName: "Bob Example", Password: "bobs password"},
		{Name: "carol", Key: "JIRAUSER10003", DisplayName: "Carol Example", Password: "carols password"},
	}
}

// Jira creates a site of Jira with the context path /jira.
func (e *Env) Jira(t *testing.T, mods ...func(*tokensv1alpha1.AtlassianSite)) *World {
	t.Helper()
	ahead := &atomic.Int64{}
	product := fakeproduct.NewJira(fakeproduct.Options{ContextPath: "/jira", Users: Users(), Now: clockOf(ahead)})
	return e.world(t, product, &product.Product, ahead, append([]func(*tokensv1alpha1.AtlassianSite){func(s *tokensv1alpha1.AtlassianSite) {
		s.Spec.Product = tokensv1alpha1.ProductJira
	}}, mods...)...)
}

// Confluence creates a site of Confluence. Its context path is /jira too, so that tests run on both.
func (e *Env) Confluence(t *testing.T, mods ...func(*tokensv1alpha1.AtlassianSite)) *World {
	t.Helper()
	ahead := &atomic.Int64{}
	product := fakeproduct.NewConfluence(fakeproduct.Options{ContextPath: "/jira", Users: Users(), Now: clockOf(ahead)})
	return e.world(t, product, &product.Product, ahead, append([]func(*tokensv1alpha1.AtlassianSite){func(s *tokensv1alpha1.AtlassianSite) {
		s.Spec.Product = tokensv1alpha1.ProductConfluence
	}}, mods...)...)
}

func (e *Env) world(t *testing.T, handler http.Handler, product *fakeproduct.Product, ahead *atomic.Int64, mods ...func(*tokensv1alpha1.AtlassianSite)) *World {
	t.Helper()
	e.start(t)
	ns := e.Namespace(t)
	upstream := httptest.NewServer(handler)
	t.Cleanup(upstream.Close)
	ingress := httptest.NewServer(ingress(t, e.address+"/portal/"+ns+"/main", upstream.URL))
	t.Cleanup(ingress.Close)
	w := &World{
		Product: product, URL: ingress.URL + "/jira", Portal: e.address + "/portal/" + ns + "/main", Controller: e.Client(t, kubetest.Controller), ahead: ahead,
	}
	w.Site = kubetest.Site(ns, "main", append([]func(*tokensv1alpha1.AtlassianSite){func(s *tokensv1alpha1.AtlassianSite) {
		s.Spec.BaseURL, s.Spec.UpstreamURL, s.Spec.Administrators = w.URL, upstream.URL+"/jira", []string{"carol"}
	}}, mods...)...)
	if err := e.Admin.Create(t.Context(), w.Site); err != nil {
		t.Fatal(err)
	}
	w.Project(t, projection.Projection{})
	kubetest.Eventually(t, func() error { return w.served() })
	return w
}

// Projection returns what the controller projects of the site.
func (w *World) Projection() projection.Projection {
	return projection.Projection{
		Namespace: w.Site.Namespace, Site: w.Site.Name, UID: string(w.Site.UID), UpstreamURL: w.Site.Spec.UpstreamURL,
	}
}

// Project writes the projection of the site, as the controller would. Only what belongs to no site by itself is taken from p.
func (w *World) Project(t *testing.T, p projection.Projection) {
	t.Helper()
	of := w.Projection()
	p.Namespace, p.Site, p.UID, p.UpstreamURL = of.Namespace, of.Site, of.UID, of.UpstreamURL
	w.ProjectAs(t, p)
}

// ProjectAs writes a projection as it is.
func (w *World) ProjectAs(t *testing.T, p projection.Projection) {
	t.Helper()
	encoded, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: kubetest.SystemNamespace, Name: p.SecretName()},
		Type:       projection.SecretType, Data: map[string][]byte{projection.DataKey: encoded},
	}
	err = w.Controller.Create(t.Context(), s)
	if err != nil && client.IgnoreAlreadyExists(err) == nil {
		err = w.Controller.Update(t.Context(), s)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// MalformToken is kubetest.Env.Malform for an APIToken. The API server ends all watches of a kind whose rules change, and what is
// created before the portal watches again is taken back after some seconds. So restore waits until carol can create a token.
func (e *Env) MalformToken(t *testing.T, w *World, token *tokensv1alpha1.APIToken, field string, value any) (restore func()) {
	t.Helper()
	t.Cleanup(func() { e.awaitWatch(t, w) })
	back := e.Malform(t, token, field, value)
	return func() {
		back()
		e.awaitWatch(t, w)
	}
}

// awaitWatch creates and revokes a token of carol as soon as the portal can.
func (e *Env) awaitWatch(t *testing.T, w *World) {
	t.Helper()
	api, cookie := w.URL+"/rest/api-tokens/latest/", w.Product.SignIn("carol")
	ctx := context.WithoutCancel(t.Context()) // a clean-up runs after the test's context
	send := func(method, target, body string) (status int, answer []byte) {
		r, err := http.NewRequestWithContext(ctx, method, target, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.AddCookie(cookie)
		r.Header.Set("Content-Type", "application/json")
		response, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		answer, err = io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, answer
	}
	for range 10 {
		status, answer := send(http.MethodPost, api, `{"label":"watched"}`)
		if status == http.StatusServiceUnavailable {
			continue // it has waited for seconds
		}
		var made struct{ ID string }
		if err := json.Unmarshal(answer, &made); status != http.StatusCreated || err != nil {
			t.Fatalf("creating a token answers %d: %s", status, answer)
		}
		if status, answer := send(http.MethodDelete, api+made.ID, ""); status != http.StatusNoContent {
			t.Fatalf("revoking it answers %d: %s", status, answer)
		}
		return
	}
	t.Fatal("the portal does not watch APITokens again")
}

// served sends an anonymous request. The portal answers it with 401 once it knows the site.
func (w *World) served() error {
	response, err := http.Get(w.URL + "/rest/api-tokens/latest/")
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusUnauthorized {
		return &url.Error{Op: "GET", URL: w.URL, Err: http.ErrNotSupported}
	}
	return nil
}

// ingress routes the portal's paths to the portal and all others to the product, as config/samples/nginx.conf does.
func ingress(t *testing.T, portal, product string) http.Handler {
	t.Helper()
	to := func(target string) *url.URL {
		u, err := url.Parse(target)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	portalURL, productURL := to(portal), to(product)
	quiet := log.New(io.Discard, "", 0) // tests cancel requests and stop products on purpose
	return &httputil.ReverseProxy{ErrorLog: quiet, Rewrite: func(r *httputil.ProxyRequest) {
		below, ok := strings.CutPrefix(r.In.URL.Path, "/jira")
		if ok && (strings.HasPrefix(below, "/rest/api-tokens/") || strings.HasPrefix(below, "/plugins/servlet/api-tokens")) {
			r.Out.URL.Path, r.Out.URL.RawPath = below, ""
			r.SetURL(portalURL)
			r.Out.Header.Set("X-Real-Ip", "192.0.2.7")
			r.SetXForwarded()
		} else {
			r.SetURL(productURL)
		}
		r.Out.Host = r.In.Host
	}}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
