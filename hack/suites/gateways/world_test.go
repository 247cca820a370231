// Package gateways_test sends one table of requests through real gateways, each with its sample configuration, to a fake
// Jira. Every gateway asks the real handler of its contract.
package gateways_test

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"apitokens.dev/operator/hack/lib/fakeproduct"
	"apitokens.dev/operator/internal/audit"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/serving"
	"apitokens.dev/operator/internal/token"
	"apitokens.dev/operator/webhook/gateway/contract"
)

const (
	pat       = "alices-personal-access-token"
	password  = "alices password"
	callerKey = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

var site = authn.SiteName{Namespace: "jira", Name: "main"}

// world is what is behind and beside a gateway.
type world struct {
	index   *authn.Index
	product *fakeproduct.Jira
	// contextPath is that of the product.
	contextPath string
	// token is alice's, and wrong has its id with another secret.
	token, wrong string
	// authority is the file with the authority of webhook and portal, if these serve TLS.
	authority string
	// certified means that the gateway asks without a key, and presents a certificate, if there is one.
	certified   bool
	certificate *tls.Certificate
	// productAt, webhookAt and portalAt are addresses, as host:port.
	productAt, webhookAt, portalAt string

	mu        sync.Mutex
	exchanges []audit.Exchange
	portal    []*http.Request
}

func newWorld(t *testing.T) *world { return newWorldAt(t, "", "/rest/") }

// newWorldAt is a world with a product at a context path, where tokens count at the given paths.
func newWorldAt(t *testing.T, contextPath string, tokenPaths ...string) *world {
	t.Helper()
	w := &world{index: authn.NewIndex(time.Now), contextPath: contextPath}
	w.product = fakeproduct.NewJira(fakeproduct.Options{ContextPath: contextPath, BasicAuth: true, Users: []fakeproduct.User{
		{Name: "alice", Password: password, PATs: []string{pat}}, {Name: "bob", Password: "bobs password"},
	}})
	w.productAt = serve(t, upgrading{w.product}, 0)
	w.issue(t, tokenPaths)
	w.index.SetReady()
	w.webhookAt = serve(t, contract.NewHandler(w.index, w.observe), 10*time.Second)
	w.portalAt = serve(t, http.HandlerFunc(func(answer http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.portal = append(w.portal, r)
		_, _ = io.WriteString(answer, "the portal")
	}), 0)
	return w
}

// upgrading is a product that speaks every protocol to which a request asks to switch: it sends back what it gets. It accepts the
// key of RFC 6455, section 1.3.
type upgrading struct{ *fakeproduct.Jira }

func (p upgrading) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	to := r.Header.Get("Upgrade")
	if to == "" {
		p.Jira.ServeHTTP(w, r)
		return
	}
	p.Jira.ServeHTTP(httptest.NewRecorder(), r)
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	_, _ = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n", to)
	_, _ = io.Copy(conn, buffered)
}

// issue fills the index with the site and one token of alice.
func (w *world) issue(t testing.TB, tokenPaths []string) {
	t.Helper()
	id, err := token.NewID(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text, entry, err := record.Mint(id, record.Delivered, time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if w.wrong, err = token.New(id, rand.Reader); err != nil {
		t.Fatal(err)
	}
	w.token = text
	keys := map[authurl.Contract][]string{}
	for _, c := range authurl.Contracts() {
		keys[c] = []string{callerKey}
	}
	origin := "http://" + w.productAt
	w.index.PutMemory(site, authn.Memory{UID: "site-uid"})
	w.index.PutSite(authn.Site{Name: site, UID: "site-uid", Product: "Jira", ContextPath: w.contextPath, Origin: origin, TokenPaths: tokenPaths})
	w.index.PutCallerKeys(site, keys, nil)
	w.index.PutUpstreamCredential(authn.UpstreamCredential{Site: site, User: "alice", Authorization: "Bearer " + pat, Origin: origin})
	w.index.PutToken(authn.Token{UID: "uid", Namespace: "jira", Name: "ci", User: "alice", Site: site})
	w.index.PutRecord("uid", &record.Record{
		TokenID: id, User: "alice", Site: record.Ref(site), APIToken: record.Ref{Namespace: "jira", Name: "ci"}, DeliverySecret: "ci", Entries: []record.Entry{entry},
	})
}

func (w *world) observe(x *audit.Exchange) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.exchanges = append(w.exchanges, *x)
}

// asked returns the exchanges and the requests to the portal since the last call.
func (w *world) asked() ([]audit.Exchange, []*http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	x, p := w.exchanges, w.portal
	w.exchanges, w.portal = nil, nil
	return x, p
}

// serve serves a handler at an address of this machine until the test ends, with the limits of the operator's ports.
func serve(t *testing.T, handler http.Handler, timeout time.Duration) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: listener, Config: serving.NewHTTP(handler, timeout)}
	server.Start()
	t.Cleanup(server.Close)
	return listener.Addr().String()
}

func basic(user, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+secret))
}

// fill replaces the words in capitals of a sample.
func (w *world) fill(sample, listen string) string {
	return strings.NewReplacer(
		"CALLER_KEY;", callerKey+";", `"CALLER_KEY"`, `"`+callerKey+`"`, "API_TOKEN_CALLER_KEY CALLER_KEY", "API_TOKEN_CALLER_KEY "+callerKey,
		"X-Api-Token-Caller CALLER_KEY", "X-Api-Token-Caller "+callerKey, "/-/SITE", "/-/"+site.String(), "/portal/SITE", "/portal/"+site.String(),
		"WEBHOOK", w.webhookAt, "PORTAL", w.portalAt, "PRODUCT", w.productAt, "http://LISTEN", "http://"+listen, "LISTEN", listen,
		"server_name HOST", "server_name localhost", "open BASE_URL", "open http://"+listen, "BASE_URL", "http://"+listen,
	).Replace(sample)
}
