package portal_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/fault"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/hack/lib/portaltest"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/recordstore"
	"apitokens.dev/operator/webhook/portal/selfservice"
)

var (
	env portaltest.Env
	api apiServer
)

func TestMain(m *testing.M) {
	env.Connect = api.connect
	os.Exit(runWithScanners(m))
}

// promise is how long an answer may take. The rest is for a machine that is busy with other tests.
const promise = 5*time.Second + 500*time.Millisecond

// apiServer breaks the portal's connection to the API server.
type apiServer struct {
	line *fault.Line

	mu     sync.Mutex
	delay  time.Duration
	status int
	// held is open while watches whose URL contains holds deliver nothing.
	held  chan struct{}
	holds string
	// lost says whose answers are lost.
	lost func(*http.Request) lossKind
}

// hold makes the portal see no changes of a resource, or of Secrets of a type, until the test ends.
func (a *apiServer) hold(t *testing.T, what string) {
	t.Helper()
	held := make(chan struct{})
	set := func(now chan struct{}) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.held, a.holds = now, what
	}
	set(held)
	t.Cleanup(func() {
		set(nil)
		close(held)
	})
}

// heldBody is the answer to a watch.
type heldBody struct {
	io.ReadCloser
	*apiServer

	url *url.URL
}

func (b heldBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.mu.Lock()
	held, holds := b.held, b.holds
	b.mu.Unlock()
	if held != nil && (strings.HasSuffix(b.url.Path, "/"+holds) || strings.Contains(b.url.Query().Get("fieldSelector"), holds)) {
		<-held
	}
	return n, err
}

// lossKind says what is lost of an exchange with the API server.
type lossKind int

const (
	nothingLost lossKind = iota
	answerLost
	allLost
)

// lose makes the API server do the next request of this kind without an answer. With off, it is away after that until found is
// called, which fails the test if there was no such request.
func (a *apiServer) lose(t *testing.T, method, path string, off bool) (found func()) {
	t.Helper()
	done := false
	a.intercept(func(r *http.Request) lossKind {
		switch {
		case done && off:
			return allLost
		case !done && r.Method == method && strings.Contains(r.URL.Path, path) && r.URL.Query().Get("dryRun") == "":
			done = true
			return answerLost
		}
		return nothingLost
	})
	return func() {
		a.intercept(nil)
		if !done {
			t.Error("there was no such request")
		}
	}
}

// before calls do before the API server gets the next request of this kind. It returns a function that fails the test if there was
// no such request.
func (a *apiServer) before(t *testing.T, method, path string, do func()) (found func()) {
	t.Helper()
	done := false
	a.intercept(func(r *http.Request) lossKind {
		if !done && r.Method == method && strings.Contains(r.URL.Path, path) {
			done = true
			do()
		}
		return nothingLost
	})
	return func() {
		a.intercept(nil)
		if !done {
			t.Error("there was no such request")
		}
	}
}

// intercept calls lost before each request but watches, one at a time.
func (a *apiServer) intercept(lost func(*http.Request) lossKind) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lost = lost
}

// set delays answers, or replaces them by an error status.
func (a *apiServer) set(delay time.Duration, status int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.delay, a.status = delay, status
}

// brokenTransport applies what set says to all requests but watches.
type brokenTransport struct {
	*apiServer

	next http.RoundTripper
}

func (b brokenTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	b.mu.Lock()
	delay, status := b.delay, b.status
	b.mu.Unlock()
	if r.URL.Query().Get("watch") == "true" {
		response, err := b.next.RoundTrip(r)
		if err == nil {
			response.Body = heldBody{response.Body, b.apiServer, r.URL}
		}
		return response, err
	}
	if loses := b.loses(r); loses != nothingLost {
		if loses == answerLost {
			if response, err := b.next.RoundTrip(r); err == nil {
				_ = response.Body.Close()
			}
		}
		return nil, io.ErrUnexpectedEOF
	}
	select {
	case <-time.After(delay):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	if status == 0 {
		return b.next.RoundTrip(r)
	}
	return &http.Response{
		Status: http.StatusText(status), StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Retry-After": {"30"}}, Body: io.NopCloser(strings.NewReader("")),
	}, nil
}

func (a *apiServer) loses(r *http.Request) lossKind {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.lost == nil {
		return nothingLost
	}
	return a.lost(r)
}

// connect makes the portal use a line that a test can break.
func (a *apiServer) connect(t *testing.T, config *rest.Config) *rest.Config {
	t.Helper()
	address, _, err := rest.DefaultServerUrlFor(config)
	must(t, err)
	a.line, err = fault.NewLine(address.Host)
	must(t, err)
	config.Host = "https://" + a.line.Address()
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return brokenTransport{a, next} })
	return config
}

// exchange is one request to the REST API or the page.
type exchange struct {
	// name is the method and the path of the route.
	name, method, target, body, media string
	header                            http.Header
	// asks says that the product authenticates the request. writes says that it needs the API server.
	asks, writes bool
}

// answer sends the request and returns the status and the body of the answer.
func (x exchange) answer(t *testing.T, w *portaltest.World) (status int, body string) {
	t.Helper()
	response, _ := x.send(t, w)
	text, _ := io.ReadAll(response.Body) // send has read all of it
	return response.StatusCode, string(text)
}

func (x exchange) send(t *testing.T, w *portaltest.World) (*http.Response, time.Duration) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), x.method, w.URL+x.target, strings.NewReader(x.body))
	must(t, err)
	r.Header = x.header.Clone()
	r.Header.Set("Content-Type", x.media)
	r.Header.Set("Origin", strings.TrimSuffix(w.URL, "/jira"))
	begun := time.Now()
	response, err := http.DefaultTransport.RoundTrip(r)
	must(t, err)
	text, _ := io.ReadAll(response.Body)
	must(t, response.Body.Close())
	response.Body = io.NopCloser(bytes.NewReader(text))
	return response, time.Since(begun)
}

// routes returns a request for each route of the REST API, as a session and as a token, and for each of the page.
func routes(t *testing.T, w *portaltest.World) []exchange {
	t.Helper()
	var document struct {
		Paths map[string]map[string]any
	}
	must(t, json.Unmarshal([]byte(call(t, w, "GET", "/rest/api-tokens/latest/openapi.json", "", nil)), &document))
	var all []exchange
	for path, methods := range document.Paths {
		for method := range maps.Keys(methods) {
			if method == "parameters" {
				continue
			}
			for _, by := range []string{"session", "token"} {
				all = append(all, restExchange(t, w, strings.ToUpper(method), path, by))
			}
		}
	}
	return append(all, pageExchanges(t, w)...)
}

func restExchange(t *testing.T, w *portaltest.World, method, path, by string) exchange {
	t.Helper()
	user := "alice"
	switch {
	case path == "/all":
		user = "bob" // another user, so that the tokens of the other requests stay
	case strings.HasPrefix(path, "/admin"):
		user = "carol"
	}
	id, text := create(t, w, user)
	x := exchange{
		name: method + " " + path + " by " + by, method: method, header: session(w, user), media: "application/json", asks: by == "session",
		writes: method != "GET", target: "/rest/api-tokens/latest" + strings.Replace(path, "{id}", id, 1),
	}
	if by == "token" {
		x.writes = x.writes && !strings.HasPrefix(path, "/admin") // an API token never administers: 403, and nobody is asked
		x.header = http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+text))}}
	}
	switch method + " " + path {
	case "POST /":
		x.body = `{"label":"x"}`
	case "POST /revoke":
		x.body, x.asks = `{"token":"`+text+`"}`, false
	case "POST /verify": // it is asked of the memory only
		x.body, x.asks, x.writes = `{"token":"`+text+`"}`, false, false
	case "GET /openapi.json":
		x.asks = false
	case "DELETE /admin/tokens":
		x.target += "?user=bob"
	}
	return x
}

var issued = regexp.MustCompile(`name="issued" value="([^"]*)"`)

func pageExchanges(t *testing.T, w *portaltest.World) []exchange {
	t.Helper()
	id, _ := create(t, w, "alice")
	doomed, _ := create(t, w, "alice")
	create(t, w, "bob")
	of := issued.FindStringSubmatch(call(t, w, "GET", selfservice.PagePath+"?dialog=rotate&id="+id, "", session(w, "alice")))
	var all []exchange
	for _, query := range []string{"", "?dialog=create", "?dialog=revoke-all", "?dialog=paste", "?dialog=rotate&id=" + id, "?note=revoked"} {
		// The page looks for a personal access token, which needs the API server.
		name, _, _ := strings.Cut(query, "&id=")
		all = append(all, exchange{name: "page " + name, method: "GET", target: selfservice.PagePath + query, header: session(w, "alice"), asks: true, writes: true})
	}
	for path, form := range map[string]url.Values{
		"/create":     {"nonce": {selfservice.NewNonce(time.Now())}, "label": {"x"}, "lifetimeDays": {"30"}, "access": {"ReadWrite"}, "consent": {"yes"}},
		"/rotate":     {"id": {id}, "issued": {of[1]}, "overlapHours": {"1"}},
		"/revoke":     {"id": {doomed}},
		"/revoke-all": {"count": {"0"}},
		"/paste":      {"personalAccessToken": {"bm90LWEtcGVyc29uYWwtYWNjZXNzLXRva2Vu"}},
	} {
		user := "carol"
		if path == "/rotate" || path == "/revoke" {
			user = "alice"
		}
		form.Set("user", user)
		all = append(all, exchange{
			name: "page " + path, method: "POST", target: selfservice.PagePath + path, body: form.Encode(), media: "application/x-www-form-urlencoded",
			header: session(w, user), asks: true, writes: true,
		})
	}
	return all
}

func session(w *portaltest.World, user string) http.Header {
	return http.Header{"Cookie": {w.Product.SignIn(user).String()}}
}

// call sends a request that must succeed, and returns the body of the answer.
func call(t *testing.T, w *portaltest.World, method, target, body string, header http.Header) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, w.URL+target, strings.NewReader(body))
	must(t, err)
	r.Header = header.Clone()
	if r.Header == nil {
		r.Header = http.Header{}
	}
	r.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultTransport.RoundTrip(r)
	must(t, err)
	defer func() { _ = response.Body.Close() }()
	var text bytes.Buffer
	_, err = text.ReadFrom(response.Body)
	must(t, err)
	if response.StatusCode >= 300 {
		t.Fatalf("%s %s: %d %s", method, target, response.StatusCode, text.String())
	}
	return text.String()
}

func create(t *testing.T, w *portaltest.World, user string) (id, text string) {
	t.Helper()
	var created struct{ ID, Token string }
	must(t, json.Unmarshal([]byte(call(t, w, "POST", "/rest/api-tokens/latest/", `{"label":"x"}`, session(w, user))), &created))
	return created.ID, created.Token
}

// Every route answers within 5 s while a dependency is away or slow: as always, or with 503 and Retry-After.
func TestEveryRouteDuringOutages(t *testing.T) {
	var product *fault.Line
	var healthy map[string]int
	for _, tc := range []struct {
		name       string
		breaks     func(*portaltest.World) error
		mends      func(*portaltest.World) error
		api, slow  bool
		productOff bool
	}{
		{name: "healthy", breaks: nothing, mends: nothing},
		{name: "API server frozen", api: true, breaks: func(*portaltest.World) error { api.line.Freeze(); return nil }, mends: func(*portaltest.World) error { return api.line.Pass() }},
		{name: "API server refused", api: true, breaks: func(*portaltest.World) error { api.line.Refuse(); return nil }, mends: func(*portaltest.World) error { return api.line.Pass() }},
		{name: "API server lost", api: true, breaks: func(*portaltest.World) error { return api.line.Lose() }, mends: func(*portaltest.World) error { return api.line.Pass() }},
		{name: "API server answers 500", api: true, breaks: api.answering(0, 500), mends: api.answering(0, 0)},
		{name: "API server answers 503", api: true, breaks: api.answering(0, 503), mends: api.answering(0, 0)},
		{name: "API server answers 429", api: true, breaks: api.answering(0, 429), mends: api.answering(0, 0)},
		{name: "API server slow", slow: true, breaks: api.answering(2*time.Second, 0), mends: api.answering(0, 0)},
		{name: "product frozen", productOff: true, breaks: func(*portaltest.World) error { product.Freeze(); return nil }, mends: func(*portaltest.World) error { return product.Pass() }},
		{name: "product refused", productOff: true, breaks: func(*portaltest.World) error { product.Refuse(); return nil }, mends: func(*portaltest.World) error { return product.Pass() }},
		{name: "product lost", productOff: true, breaks: func(*portaltest.World) error { return product.Lose() }, mends: func(*portaltest.World) error { return product.Pass() }},
		{name: "product answers 503", productOff: true, breaks: func(w *portaltest.World) error { w.Product.SetUnavailable(true); return nil }, mends: nothing},
		{name: "product slow", slow: true, breaks: func(w *portaltest.World) error { w.Product.SetDelay(2 * time.Second); return nil }, mends: nothing},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := env.Jira(t, func(s *tokensv1alpha1.AtlassianSite) { product = lineTo(t, s) })
			requests := routes(t, w)
			must(t, tc.breaks(w))
			statuses := sendAll(t, w, requests)
			must(t, tc.mends(w))
			if tc.name == "healthy" {
				healthy = statuses
			}
			for _, x := range requests {
				switch got, away := statuses[x.name], tc.api && x.writes || tc.productOff && x.asks; {
				case away && got != http.StatusServiceUnavailable:
					t.Errorf("%s: %d, want 503", x.name, got)
				case !away && got != healthy[x.name] && (!tc.slow || got != http.StatusServiceUnavailable):
					t.Errorf("%s: %d, want %d", x.name, got, healthy[x.name])
				case got == http.StatusInternalServerError, tc.name == "healthy" && got == http.StatusServiceUnavailable:
					t.Errorf("%s: %d", x.name, got)
				}
			}
			if tc.api || tc.slow {
				kubetest.Eventually(t, func() error { return works(t, w) })
			}
		})
	}
}

func nothing(*portaltest.World) error { return nil }

func (a *apiServer) answering(delay time.Duration, status int) func(*portaltest.World) error {
	return func(*portaltest.World) error {
		a.set(delay, status)
		return nil
	}
}

// lineTo puts a line in front of the site's product.
func lineTo(t *testing.T, s *tokensv1alpha1.AtlassianSite) *fault.Line {
	t.Helper()
	upstream, err := url.Parse(s.Spec.UpstreamURL)
	must(t, err)
	line, err := fault.NewLine(upstream.Host)
	must(t, err)
	t.Cleanup(line.Close)
	s.Spec.UpstreamURL = "http://" + line.Address() + "/jira"
	return line
}

// sendAll sends all requests at the same time, and checks what holds for every answer.
func sendAll(t *testing.T, w *portaltest.World, requests []exchange) map[string]int {
	t.Helper()
	var mu sync.Mutex
	statuses := map[string]int{}
	var group sync.WaitGroup
	for _, x := range requests {
		group.Go(func() {
			response, took := x.send(t, w)
			if took > promise {
				t.Errorf("%s: %d after %s", x.name, response.StatusCode, took)
			}
			if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); (response.StatusCode == http.StatusServiceUnavailable) != (err == nil && seconds > 0) {
				t.Errorf("%s: %d with Retry-After %q", x.name, response.StatusCode, response.Header.Get("Retry-After"))
			}
			mu.Lock()
			defer mu.Unlock()
			statuses[x.name] = response.StatusCode
		})
	}
	group.Wait()
	return statuses
}

// works returns an error while the portal does not create tokens again.
func works(t *testing.T, w *portaltest.World) error {
	t.Helper()
	w.Product.SetDelay(0)
	x := exchange{name: "POST /", method: "POST", target: "/rest/api-tokens/latest/", body: `{"label":"after"}`, media: "application/json", header: session(w, "alice")}
	if response, _ := x.send(t, w); response.StatusCode != http.StatusCreated {
		return fmt.Errorf("creating a token: %d", response.StatusCode)
	}
	return nil
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// recovery is the time after the end of an outage within which gateway and portal have seen all missed changes.
const recovery = 10 * time.Second

// The portal is back as soon as the gateway: attempts to reach the API server do not become rarer the longer it is away.
func TestBackWithinSecondsOfALongOutage(t *testing.T) {
	w := env.Jira(t)
	gone, _ := create(t, w, "alice")
	left, _ := create(t, w, "alice")
	var objects tokensv1alpha1.APITokenList
	must(t, env.Admin.List(t.Context(), &objects, ctrlclient.InNamespace(w.Site.Namespace)))
	api.line.Refuse()
	for _, object := range objects.Items {
		if recordOf(t, &object).TokenID == gone {
			must(t, env.Admin.Delete(t.Context(), &object))
		}
	}
	<-time.After(25 * time.Second)
	list := func() string { return call(t, w, "GET", "/rest/api-tokens/latest/", "", session(w, "alice")) }
	if all := list(); !strings.Contains(all, gone) || !strings.Contains(all, left) {
		t.Fatalf("this was no outage: %s", all)
	}
	must(t, api.line.Pass())
	for ended := time.Now(); strings.Contains(list(), gone); {
		if time.Since(ended) > recovery {
			t.Fatalf("the portal has not seen a deletion %s after the outage", recovery)
		}
	}
	if all := list(); !strings.Contains(all, left) {
		t.Errorf("the list is %s", all)
	}
	must(t, works(t, w))
}

// recordOf returns the record of an APIToken.
func recordOf(t *testing.T, of *tokensv1alpha1.APIToken) *record.Record {
	t.Helper()
	var stored corev1.Secret
	must(t, env.Admin.Get(t.Context(), ctrlclient.ObjectKey{Namespace: kubetest.SystemNamespace, Name: string(of.UID)}, &stored))
	r, err := recordstore.Decode(&stored)
	must(t, err)
	return r
}
