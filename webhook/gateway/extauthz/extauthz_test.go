package extauthz_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"

	"apitokens.dev/operator/hack/lib/authority"
	"apitokens.dev/operator/internal/audit"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/webhook/gateway/extauthz"
)

// decider always gives the same answer, and records the questions.
type decider struct {
	answer authn.Decision
	asked  []authn.Request
	panics bool
}

func (d *decider) Decide(r *authn.Request) authn.Decision {
	if d.panics {
		panic("no verdict")
	}
	d.asked = append(d.asked, *r)
	return d.answer
}

// serve starts a server, and returns a connection to it.
func serve(t *testing.T, d *decider, observe func(*audit.Exchange), ready func() error) *grpc.ClientConn {
	t.Helper()
	return serveWith(t, extauthz.NewServer(d, observe, ready, nil, false, logr.Discard()), insecure.NewCredentials())
}

// serveWith has a server serve, and returns a connection to it.
func serveWith(t *testing.T, server *extauthz.Server, c credentials.TransportCredentials) *grpc.ClientConn {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(c))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		if err := errors.Join(server.Shutdown(context.WithoutCancel(t.Context())), <-served); err != nil {
			t.Error(err)
		}
	})
	return conn
}

func isReady() error { return nil }

// check asks once, and returns what the decider was asked and the response.
func check(t *testing.T, decision authn.Decision, r *authv3.CheckRequest) ([]authn.Request, *authv3.CheckResponse) {
	t.Helper()
	d, observed := &decider{answer: decision}, 0
	conn := serve(t, d, func(*audit.Exchange) { observed++ }, isReady)
	response, err := authv3.NewAuthorizationClient(conn).Check(t.Context(), r)
	if err != nil || observed != 1 {
		t.Fatalf("observed %d times, %v", observed, err)
	}
	return d.asked, response
}

// question is what Envoy sends, as attribute_context.proto says it.
func question(change func(*authv3.AttributeContext)) *authv3.CheckRequest {
	a := &authv3.AttributeContext{
		Source: &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{
			SocketAddress: &corev3.SocketAddress{Address: "10.1.2.3", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 4711}},
		}}},
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Id: "1", Method: "PUT", Path: "/rest/api//2?a=b", Host: "jira.example", Scheme: "https", Protocol: "HTTP/2",
			Headers: map[string]string{"authorization": "Basic YTpi", "x-forwarded-for": "10.9.9.9,10.1.2.3", ":path": "/evil", ":method": "GET"},
		}},
		ContextExtensions: map[string]string{"site": "jira/main", "key": "KEY"},
	}
	if change != nil {
		change(a)
	}
	return &authv3.CheckRequest{Attributes: a}
}

func wantQuestion(change func(*authn.Request)) []authn.Request {
	q := authn.Request{
		Contract: authurl.GRPC, CallerKey: "KEY", Site: authn.SiteName{Namespace: "jira", Name: "main"}, Authorization: []string{"Basic YTpi"},
		Target: "/rest/api//2?a=b", Method: "PUT", Client: authn.Client{Address: "10.1.2.3", Forwarded: []string{"10.9.9.9,10.1.2.3"}},
	}
	if change != nil {
		change(&q)
	}
	return []authn.Request{q}
}

func TestQuestion(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*authv3.AttributeContext)
		want   []authn.Request
	}{
		"joined headers": {nil, wantQuestion(nil)},
		"raw headers": {func(a *authv3.AttributeContext) {
			a.Request.Http.Headers, a.Request.Http.HeaderMap = nil, &corev3.HeaderMap{Headers: []*corev3.HeaderValue{
				{Key: "authorization", RawValue: []byte("Basic YTpi")}, {Key: "x-forwarded-for", RawValue: []byte("10.9.9.9,10.1.2.3")},
				{Key: "cookie", RawValue: []byte("\xff")},
			}}
		}, wantQuestion(func(q *authn.Request) { q.Cookies = []string{"\xff"} })},
		"two raw credentials": {func(a *authv3.AttributeContext) {
			a.Request.Http.HeaderMap = &corev3.HeaderMap{Headers: []*corev3.HeaderValue{
				{Key: "authorization", RawValue: []byte("Basic YTpi")}, {Key: "Authorization", RawValue: []byte("OAuth a=\"b\", c=\"d\"")},
			}}
			a.Request.Http.Headers = map[string]string{"x-forwarded-for": "10.9.9.9,10.1.2.3"}
		}, wantQuestion(func(q *authn.Request) { q.Authorization = []string{"Basic YTpi", `OAuth a="b", c="d"`} })},
		"no credential": {func(a *authv3.AttributeContext) { delete(a.Request.Http.Headers, "authorization") }, wantQuestion(func(q *authn.Request) { q.Authorization = nil })},
		"no peer":       {func(a *authv3.AttributeContext) { a.Source = nil }, wantQuestion(func(q *authn.Request) { q.Client.Address = "" })},
		"no key":        {func(a *authv3.AttributeContext) { delete(a.ContextExtensions, "key") }, wantQuestion(func(q *authn.Request) { q.CallerKey = "" })},
		"a site in another form": {func(a *authv3.AttributeContext) { a.ContextExtensions["site"] = "jira/main/x" },
			wantQuestion(func(q *authn.Request) { q.Site.Name = "main/x" })},

		"no attributes": {func(a *authv3.AttributeContext) { a.Reset() }, nil},
		"no request":    {func(a *authv3.AttributeContext) { a.Request = nil }, nil},
		"no path":       {func(a *authv3.AttributeContext) { a.Request.Http.Path = "" }, nil},
		"an asterisk":   {func(a *authv3.AttributeContext) { a.Request.Http.Path = "*" }, nil},
		"an authority":  {func(a *authv3.AttributeContext) { a.Request.Http.Path = "other:443" }, nil},
		"no extensions": {func(a *authv3.AttributeContext) { a.ContextExtensions = nil }, nil},
		"a site alone":  {func(a *authv3.AttributeContext) { a.ContextExtensions["site"] = "main" }, nil},
		"the site's name": {func(a *authv3.AttributeContext) {
			a.ContextExtensions = map[string]string{"Site": "jira/main", "key": "KEY"}
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, response := check(t, authn.Decision{Verdict: authn.Unauthorized}, question(tc.change))
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
			if denied := response.GetDeniedResponse() != nil; denied != (tc.want != nil) || response.GetOkResponse() != nil {
				t.Errorf("answered %v", response)
			}
		})
	}
}

func set(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: name, Value: value}, AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD}
}

// The whole response to each decision. An identity leaves on Allow alone, and what is not set is removed.
func TestResponse(t *testing.T) {
	for name, tc := range map[string]struct {
		decision authn.Decision
		code     codes.Code
		status   int
		set      []*corev3.HeaderValueOption
		remove   []string
	}{
		"allow": {
			authn.Decision{Verdict: authn.Allow, User: "alice", TokenID: "asp_x", Authorization: "Bearer pat", Target: "/rest/"}, codes.OK, 0,
			[]*corev3.HeaderValueOption{
				set("x-forwarded-user", "alice"), set("x-api-token-id", "asp_x"), set("authorization", "Bearer pat"), set("x-api-token-target", "/rest/"),
			},
			[]string{"cookie"},
		},
		"allow by header": {
			authn.Decision{Verdict: authn.Allow, User: "alice", TokenID: "asp_x", Target: "/rest/"}, codes.OK, 0,
			[]*corev3.HeaderValueOption{set("x-forwarded-user", "alice"), set("x-api-token-id", "asp_x"), set("x-api-token-target", "/rest/")},
			[]string{"cookie", "authorization"},
		},
		"allow by a header of the site": {
			authn.Decision{Verdict: authn.Allow, User: "alice", TokenID: "asp_x", IdentityHeader: "X-Remote-User", Target: "/rest/"}, codes.OK, 0,
			[]*corev3.HeaderValueOption{
				set("x-forwarded-user", "alice"), set("x-api-token-id", "asp_x"), set("x-api-token-target", "/rest/"), set("x-remote-user", "alice"),
			},
			[]string{"cookie", "authorization"},
		},
		"forward at a site with a header": {
			authn.Decision{Verdict: authn.Forward, Authorization: "Basic YTpi", IdentityHeader: "X-Remote-User", Target: "/rest/", User: "alice"}, codes.OK, 0,
			[]*corev3.HeaderValueOption{set("x-api-token-target", "/rest/")}, []string{"x-forwarded-user", "x-api-token-id", "x-remote-user"},
		},
		"forward": {
			authn.Decision{Verdict: authn.Forward, Authorization: "OAuth a!b", Target: "/rest/", User: "alice"}, codes.OK, 0,
			[]*corev3.HeaderValueOption{set("x-api-token-target", "/rest/")}, []string{"x-forwarded-user", "x-api-token-id"},
		},
		"forward without a credential": {
			authn.Decision{Verdict: authn.Forward, Target: "/rest/"}, codes.OK, 0,
			[]*corev3.HeaderValueOption{set("x-api-token-target", "/rest/")}, []string{"x-forwarded-user", "x-api-token-id"},
		},
		"unauthorized": {
			authn.Decision{Verdict: authn.Unauthorized, Reason: authn.ReasonWrongSecret, User: "alice", Authorization: "Bearer pat"}, codes.Unauthenticated, 401,
			[]*corev3.HeaderValueOption{set("www-authenticate", `Basic realm="API token", charset="UTF-8"`)}, nil,
		},
		"forbidden": {
			authn.Decision{Verdict: authn.Forbidden, Reason: authn.ReasonReadOnly, User: "alice", Authorization: "Bearer pat"}, codes.PermissionDenied, 403,
			[]*corev3.HeaderValueOption{set("x-api-token-reason", "ReadOnly")}, nil,
		},
		"cannot decide":      {authn.Decision{Reason: authn.ReasonNotReady, User: "alice", Authorization: "Bearer pat"}, codes.Unavailable, 503, nil, nil},
		"an unknown verdict": {authn.Decision{Verdict: 99, User: "alice", Authorization: "Bearer pat"}, codes.Unavailable, 503, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			_, got := check(t, tc.decision, question(nil))
			if code := codes.Code(got.GetStatus().GetCode()); code != tc.code {
				t.Errorf("the status is %s, want %s", code, tc.code)
			}
			refusal := got.GetDeniedResponse()
			if tc.status == 503 {
				refusal = got.GetErrorResponse()
			}
			headers := slices.Concat(got.GetOkResponse().GetHeaders(), refusal.GetHeaders())
			if diff := cmp.Diff(tc.set, headers, protocmp.Transform()); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(tc.remove, got.GetOkResponse().GetHeadersToRemove()); diff != "" {
				t.Error(diff)
			}
			if int(refusal.GetStatus().GetCode()) != tc.status || refusal.GetBody() != "" || (tc.status == 0) != (got.GetOkResponse() != nil) {
				t.Errorf("answered %v", got)
			}
		})
	}
}

// What Envoy says beside the contract does not change the question.
func TestOtherAttributesDoNotCount(t *testing.T) {
	names := []string{
		"x-forwarded-uri", "x-forwarded-method", "x-original-url", "x-original-uri", "x-real-ip", "x-envoy-original-path", "path", "method", ":path",
		":method", ":authority", "x-forwarded-user", "x-api-token-caller", "site", "key", "proxy-authorization", "x-envoy-external-address",
	}
	random, d := rand.New(rand.NewPCG(5, 6)), &decider{}
	client := authv3.NewAuthorizationClient(serve(t, d, func(*audit.Exchange) {}, isReady))
	for range 2_000 {
		r := question(func(a *authv3.AttributeContext) {
			for range random.IntN(5) {
				a.Request.Http.Headers[names[random.IntN(len(names))]] = fmt.Sprintf("/rest/%d", random.Uint64())
			}
			a.Request.Http.Query, a.Request.Http.Fragment, a.Request.Http.Body, a.Request.Http.Host = "os_username=bob", "x", "asp_", "other.example"
			a.Source.Principal, a.Destination = "spiffe://root", &authv3.AttributeContext_Peer{Service: "jira/other"}
		})
		if _, err := client.Check(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if len(d.asked) != 2_000 {
		t.Errorf("asked %d times", len(d.asked))
	}
	for _, asked := range d.asked {
		if diff := cmp.Diff(wantQuestion(nil)[0], asked); diff != "" {
			t.Fatal(diff)
		}
	}
}

// Health follows readiness. There is no reflection, and a defect is an error of this one question.
func TestServer(t *testing.T) {
	var failing atomic.Bool
	d := &decider{panics: true}
	conn := serve(t, d, func(*audit.Exchange) {}, func() error {
		if failing.Load() {
			return errors.New("shutting down")
		}
		return nil
	})
	health := grpc_health_v1.NewHealthClient(conn)
	for _, fails := range []bool{false, true, false} {
		failing.Store(fails)
		got, err := health.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: "envoy.service.auth.v3.Authorization"})
		if want := map[bool]grpc_health_v1.HealthCheckResponse_ServingStatus{false: 1, true: 2}[fails]; err != nil || got.GetStatus() != want {
			t.Errorf("health is %v, %v, want %v", got, err, want)
		}
	}
	if _, err := authv3.NewAuthorizationClient(conn).Check(t.Context(), question(nil)); status.Code(err) != codes.Internal {
		t.Errorf("after a panic: %v", err)
	}
	d.panics = false
	if got, err := authv3.NewAuthorizationClient(conn).Check(t.Context(), question(nil)); err != nil || got.GetErrorResponse() == nil {
		t.Errorf("afterwards: %v, %v", got, err)
	}
	for _, method := range []string{
		"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "/envoy.service.auth.v2.Authorization/Check", "/envoy.service.auth.v3.Authorization/Other",
	} {
		if err := conn.Invoke(t.Context(), method, &authv3.CheckRequest{}, &authv3.CheckResponse{}); status.Code(err) != codes.Unimplemented {
			t.Errorf("%s: %v", method, err)
		}
	}
}

// A panic in a handshake is logged, and the server goes on. gRPC does not recover from panics. Clients have caused panics of crypto/tls.
func TestPanicEndsOneConnection(t *testing.T) {
	ours := authority.ForTest(t, "ours")
	pair, err := ours.Server(time.Now().Add(time.Hour), "localhost")
	if err != nil {
		t.Fatal(err)
	}
	for _, alsoPlain := range []bool{false, true} {
		var calm, logged atomic.Bool
		settings := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13}
		settings.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
			if !calm.Swap(true) {
				panic("something unforeseen")
			}
			return nil, nil
		}
		log := funcr.New(func(_, line string) {
			if strings.Contains(line, "something unforeseen") && strings.Contains(line, "ServerHandshake") {
				logged.Store(true)
			}
		}, funcr.Options{})
		server := extauthz.NewServer(&decider{}, func(*audit.Exchange) {}, isReady, settings, alsoPlain, log)
		conn := serveWith(t, server, credentials.NewTLS(&tls.Config{RootCAs: ours.Pool(), ServerName: "localhost", MinVersion: tls.VersionTLS13}))
		// The client connects again after the first connection has failed.
		_, err := authv3.NewAuthorizationClient(conn).Check(t.Context(), question(nil), grpc.WaitForReady(true))
		if err != nil || !logged.Load() {
			t.Errorf("plain too: %t: %v, logged: %t", alsoPlain, err, logged.Load())
		}
	}
}
