package gateway

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"apitokens.dev/operator/hack/lib/authority"
	"apitokens.dev/operator/internal/audit"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/token"
	"apitokens.dev/operator/webhook/gateway/extauthz"
)

const (
	ingress = "traefik.ingress.svc"
	key     = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

// Two sites of the same token owner: one wants certificates, the other a key.
var certified, keyed = authn.SiteName{Namespace: "jira", Name: "certified"}, authn.SiteName{Namespace: "jira", Name: "keyed"}

// listeners are the ports of the gateway, with TLS, and what is behind them.
type listeners struct {
	*testing.T

	ours, other     *authority.Authority
	web, grpc       string
	authorizationOf map[authn.SiteName]string
	mu              sync.Mutex
	reasons         []authn.Reason
}

func newListeners(t *testing.T, tracer trace.Tracer) *listeners {
	t.Helper()
	l := &listeners{T: t, ours: must(authority.New("ours")), other: must(authority.New("ours")), authorizationOf: map[authn.SiteName]string{}}
	index := authn.NewIndex(time.Now)
	for _, at := range []authn.SiteName{certified, keyed} {
		l.addSite(index, at)
	}
	index.SetReady()
	settings := func() *tls.Config {
		return &tls.Config{
			MinVersion: tls.VersionTLS13, ClientAuth: tls.RequestClientCert,
			Certificates: []tls.Certificate{must(l.ours.Server(time.Now().Add(time.Hour), "127.0.0.1"))},
		}
	}
	web := NewWeb(index, l.observe, nil, tracer)
	web.TLSConfig = settings()
	l.web = l.listen(func(on net.Listener) error {
		if err := web.ServeTLS(on, "", ""); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	}, web.Shutdown)
	envoy := extauthz.NewServer(index, l.observe, func() error { return nil }, settings(), false, logr.Discard())
	envoy.Trace(tracer)
	l.grpc = l.listen(envoy.Serve, envoy.Shutdown)
	return l
}

// must returns the first of two results.
func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// addSite adds a site with a token of alice.
func (l *listeners) addSite(index *authn.Index, at authn.SiteName) {
	const origin = "http://jira.jira.svc:8080"
	s := authn.Site{Name: at, UID: "site-uid", Product: "Jira", Origin: origin, TokenPaths: []string{"/rest/"}}
	if at == certified {
		s.CallerNames = []string{ingress}
		index.PutCallerAuthorities(at, l.ours.Pool())
	}
	index.PutMemory(at, authn.Memory{UID: s.UID})
	index.PutSite(s)
	keys := map[authurl.Contract][]string{}
	for _, c := range authurl.Contracts() {
		keys[c] = []string{key}
	}
	// The site that wants certificates once had keys.
	index.PutCallerKeys(at, keys, nil)
	index.PutUpstreamCredential(authn.UpstreamCredential{Site: at, User: "alice", Authorization: "Bearer pat", Origin: origin})
	id := must(token.NewID(rand.Reader))
	text, entry, err := record.Mint(id, record.Delivered, time.Now(), rand.Reader)
	if err != nil {
		l.Fatal(err)
	}
	uid := "uid-of-" + at.Name
	index.PutToken(authn.Token{UID: uid, Namespace: at.Namespace, Name: at.Name, User: "alice", Site: at})
	index.PutRecord(uid, &record.Record{
		TokenID: id, User: "alice", Site: record.Ref(at), APIToken: record.Ref{Namespace: at.Namespace, Name: at.Name}, DeliverySecret: "ci", Entries: []record.Entry{entry},
	})
	l.authorizationOf[at] = "Basic " + base64.StdEncoding.EncodeToString([]byte("alice:"+text))
}

func (l *listeners) observe(x *audit.Exchange) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reasons = append(l.reasons, x.Decision.Reason)
}

// observed returns the reasons since the last call.
func (l *listeners) observed() []authn.Reason {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.reasons
	l.reasons = nil
	return all
}

// listen serves at an address of this machine until the test ends.
func (l *listeners) listen(serve func(net.Listener) error, shutdown func(context.Context) error) string {
	l.Helper()
	on, err := new(net.ListenConfig).Listen(l.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		l.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- serve(on) }()
	l.Cleanup(func() {
		if err := errors.Join(shutdown(context.WithoutCancel(l.Context())), <-done); err != nil {
			l.Error(err)
		}
	})
	return on.Addr().String()
}

// answer is what a gateway gets to know.
type answer struct {
	code          int
	authorization string
}

// asker asks about a request with the token of a site, over one connection, twice. key stands in the URL or in the extensions.
type asker func(l *listeners, at authn.SiteName, settings *tls.Config, key string) []answer

// askOver returns an asker of an HTTP contract, in HTTP/1.1 or HTTP/2.
func askOver(protocol string, c authurl.Contract, following string, describe func(http.Header)) asker {
	return func(l *listeners, at authn.SiteName, settings *tls.Config, key string) []answer {
		l.Helper()
		transport := &http.Transport{TLSClientConfig: settings, ForceAttemptHTTP2: protocol == "HTTP/2.0"}
		defer transport.CloseIdleConnections()
		var all []answer
		for range 2 {
			url := "https://" + l.web + authurl.Address{Contract: c, Key: key, Namespace: at.Namespace, Site: at.Name}.String() + following
			r := must(http.NewRequestWithContext(l.Context(), http.MethodGet, url, http.NoBody))
			describe(r.Header)
			r.Header.Set("Authorization", l.authorizationOf[at])
			got, err := transport.RoundTrip(r)
			if err != nil {
				l.Fatal(err)
			}
			_ = got.Body.Close()
			if got.Proto != protocol {
				l.Fatalf("answered in %s, want %s", got.Proto, protocol)
			}
			all = append(all, answer{got.StatusCode, got.Header.Get("Authorization")})
		}
		return all
	}
}

func askGRPC(l *listeners, at authn.SiteName, settings *tls.Config, key string) []answer {
	l.Helper()
	conn := must(grpc.NewClient(l.grpc, grpc.WithTransportCredentials(credentials.NewTLS(settings))))
	defer func() { _ = conn.Close() }()
	extensions := map[string]string{"site": at.String()}
	if key != authurl.NoKey {
		extensions["key"] = key
	}
	var all []answer
	for range 2 {
		got, err := authv3.NewAuthorizationClient(conn).Check(l.Context(), &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
			ContextExtensions: extensions,
			Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
				Method: http.MethodGet, Path: "/rest/api/2/myself", Headers: map[string]string{"authorization": l.authorizationOf[at]},
			}},
		}})
		if err != nil {
			l.Fatal(err)
		}
		a := answer{code: http.StatusOK}
		if refused := got.GetErrorResponse(); refused != nil {
			a.code = int(refused.GetStatus().GetCode())
		}
		for _, h := range got.GetOkResponse().GetHeaders() {
			if h.GetHeader().GetKey() == "authorization" {
				a.authorization = h.GetHeader().GetValue()
			}
		}
		all = append(all, a)
	}
	return all
}

func askers() map[string]asker {
	set := func(pairs ...string) func(http.Header) {
		return func(h http.Header) {
			for i := 0; i < len(pairs); i += 2 {
				h.Set(pairs[i], pairs[i+1])
			}
		}
	}
	all := map[string]asker{"grpc": askGRPC}
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2.0"} {
		all["nginx "+protocol] = askOver(protocol, authurl.Nginx, "", set("X-Original-Url", "https://jira.example.com/rest/api/2/myself"))
		all["forward "+protocol] = askOver(protocol, authurl.Forward, "", set("X-Forwarded-Uri", "/rest/api/2/myself", "X-Forwarded-Method", "GET"))
		all["envoy "+protocol] = askOver(protocol, authurl.Envoy, "/rest/api/2/myself", set())
		all["fabric "+protocol] = askOver(protocol, authurl.Fabric, "", set("Path", "/rest/api/2/myself", "Method", "GET"))
	}
	return all
}

// Every contract identifies its site's ingress in the same way. Each fault has its reason in the log, and all of them have the same
// answer.
func TestClientCertificatesInEveryContract(t *testing.T) {
	l := newListeners(t, nil)
	soon := time.Now().Add(time.Hour)
	right := must(l.ours.Client(soon, ingress))
	asked := map[authurl.Contract]bool{}
	for name, ask := range askers() {
		asked[authurl.Contract(strings.Split(name, " ")[0])] = true
		for fault, tc := range map[string]struct {
			at          authn.SiteName
			certificate *tls.Certificate
			key         string
			want        authn.Reason
		}{
			"right":                         {certified, &right, authurl.NoKey, authn.ReasonAuthenticated},
			"right, and a key from before":  {certified, &right, key, authn.ReasonAuthenticated},
			"right, and a wrong key":        {certified, &right, "wrong", authn.ReasonAuthenticated},
			"none":                          {certified, nil, authurl.NoKey, authn.ReasonCallerCertificateMissing},
			"a key instead":                 {certified, nil, key, authn.ReasonCallerCertificateMissing},
			"another authority":             {certified, new(must(l.other.Client(soon, ingress))), authurl.NoKey, authn.ReasonCallerCertificateUntrusted},
			"ended":                         {certified, new(must(l.ours.Client(time.Now().Add(-time.Minute), ingress))), key, authn.ReasonCallerCertificateExpired},
			"another name":                  {certified, new(must(l.ours.Client(soon, "caddy.ingress.svc"))), authurl.NoKey, authn.ReasonCallerCertificateName},
			"for servers":                   {certified, new(must(l.ours.Server(soon, ingress))), authurl.NoKey, authn.ReasonCallerCertificateUsage},
			"a key":                         {keyed, nil, key, authn.ReasonAuthenticated},
			"a key and a certificate":       {keyed, &right, key, authn.ReasonAuthenticated},
			"a certificate instead of keys": {keyed, &right, authurl.NoKey, authn.ReasonCallerKeyMismatch},
		} {
			settings := &tls.Config{RootCAs: l.ours.Pool(), MinVersion: tls.VersionTLS13}
			if tc.certificate != nil {
				// A client of the library leaves out a certificate that the server's list of authorities does not want. Ours has none.
				settings.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return tc.certificate, nil }
			}
			want := answer{http.StatusServiceUnavailable, ""}
			if tc.want == authn.ReasonAuthenticated {
				want = answer{http.StatusOK, "Bearer pat"}
			}
			got, reasons := ask(l, tc.at, settings, tc.key), l.observed()
			if !slices.Equal(got, []answer{want, want}) || !slices.Equal(reasons, []authn.Reason{tc.want, tc.want}) {
				t.Errorf("%s, %s: answered %+v with the reasons %q, want %+v with %q", name, fault, got, reasons, want, tc.want)
			}
		}
	}
	for _, c := range authurl.Contracts() {
		if !asked[c] {
			t.Errorf("the contract %s is not tried", c)
		}
	}
}

// A client that presents a certificate must have its key: TLS itself refuses another one.
func TestStolenCertificateIsRefused(t *testing.T) {
	l := newListeners(t, nil)
	right, thief := must(l.ours.Client(time.Now().Add(time.Hour), ingress)), must(l.other.Client(time.Now().Add(time.Hour), ingress))
	stolen := tls.Certificate{Certificate: right.Certificate, PrivateKey: thief.PrivateKey}
	conn, err := (&tls.Dialer{Config: &tls.Config{
		RootCAs: l.ours.Pool(), MinVersion: tls.VersionTLS13,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &stolen, nil },
	}}).DialContext(t.Context(), "tcp", l.web)
	if err == nil {
		// In TLS 1.3 the client learns of it when it reads.
		_, err = conn.Read(make([]byte, 1))
		_ = conn.Close()
	}
	if alert := new(tls.AlertError); !errors.As(err, alert) && (err == nil || !strings.Contains(err.Error(), "remote error: tls")) {
		t.Errorf("a certificate without its key: %v", err)
	}
}
