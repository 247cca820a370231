package gateways_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/go-logr/logr"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"

	"apitokens.dev/operator/webhook/gateway/extauthz"
)

// verdict is what Envoy's filter does with a request: it answers with a status, or lets the request pass with changed headers.
type verdict struct {
	status int
	header http.Header
}

// filter is a gateway that does what Envoy's external authorization does, as the comments of its API say
// (envoy/extensions/filters/http/ext_authz/v3/ext_authz.proto and envoy/service/auth/v3, v1.40). Envoy itself is not to be had
// as a Go module. Its routes are those of a sample, and it changes headers as these say, and no others.
type filter struct {
	w      *world
	routes []envoyRoute
	// istio means that a policy says what is asked about, and no route.
	istio bool
	// adds means that it adds the client's address to X-Forwarded-For.
	adds bool
	// dropsUnderscores means that headers do not arrive whose names have underscores.
	dropsUnderscores bool
	// check asks about a request whose headers are already those for the product.
	check func(r *http.Request, target string, headers http.Header) verdict
}

// start starts the filter with the routes of a sample.
func (f filter) start(t *testing.T, folder string) string {
	t.Helper()
	var text string
	f.istio = folder == "istio"
	f.routes, text = envoyRoutes(t, folder, f.w.contextPath)
	f.dropsUnderscores = strings.Contains(text, "withUnderscoresAction: DropHeader")
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go f.serve(conn)
		}
	}()
	return listener.Addr().String()
}

// serve answers one request.
func (f filter) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	r, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return
	}
	headers := r.Header.Clone()
	for name := range headers {
		if f.dropsUnderscores && strings.Contains(name, "_") {
			delete(headers, name)
		}
	}
	if f.adds {
		headers.Set("X-Forwarded-For", strings.Join(append(headers["X-Forwarded-For"], "127.0.0.1"), ","))
	}
	to, target := f.w.productAt, r.RequestURI
	route := routeOf(f.routes, target, headers)
	if route.asked || f.istio && route.byPolicy(f.w.contextPath, target, headers) {
		v := f.check(r, target, headers)
		if v.status != 0 {
			_, _ = fmt.Fprintf(conn, "HTTP/1.1 %d %s\r\nContent-Length: 0\r\nConnection: close\r\n", v.status, http.StatusText(v.status))
			_ = v.header.Write(conn)
			_, _ = io.WriteString(conn, "\r\n")
			return
		}
	}
	route.change(headers)
	if route.portal {
		to, target = f.w.portalAt, route.rewrite+strings.TrimPrefix(target, route.prefix)
	}
	pass(conn, to, r, target, headers)
}

// pass sends the request on as it is, byte for byte, and the answer back.
func pass(conn net.Conn, to string, r *http.Request, target string, headers http.Header) {
	upstream, err := new(net.Dialer).DialContext(context.Background(), "tcp", to)
	if err != nil {
		return
	}
	defer func() { _ = upstream.Close() }()
	headers.Set("Connection", "close")
	_, _ = fmt.Fprintf(upstream, "%s %s HTTP/1.1\r\nHost: %s\r\n", r.Method, target, r.Host)
	_ = headers.Write(upstream)
	_, _ = io.WriteString(upstream, "\r\n")
	_, _ = io.Copy(upstream, r.Body)
	_, _ = io.Copy(conn, upstream)
}

// startEnvoyHTTP is the filter with http_service: path_prefix is the auth URL with "-" in place of the key, headers_to_add has
// the key, allowed_headers lists Cookie, X-Forwarded-For and X-Request-Id, allowed_upstream_headers the identity headers.
func startEnvoyHTTP(folder string) func(t *testing.T, w *world, edits ...string) string {
	return func(t *testing.T, w *world, _ ...string) string {
		t.Helper()
		return filter{w: w, adds: true, check: w.checkOverHTTP}.start(t, folder)
	}
}

// checkOverHTTP asks the webhook as http_service does.
func (w *world) checkOverHTTP(r *http.Request, target string, headers http.Header) verdict {
	conn, err := new(net.Dialer).DialContext(r.Context(), "tcp", w.webhookAt)
	if err != nil {
		return verdict{status: http.StatusForbidden}
	}
	defer func() { _ = conn.Close() }()
	question := http.Header{
		"X-Api-Token-Caller": {callerKey}, "Authorization": headers["Authorization"], "X-Forwarded-For": headers["X-Forwarded-For"],
		"Cookie":         headers["Cookie"],
		"Content-Length": {"0"}, "Connection": {"close"},
	}
	_, _ = fmt.Fprintf(conn, "%s /envoy/-/%s%s HTTP/1.1\r\nHost: %s\r\n", r.Method, site, target, r.Host)
	_ = question.Write(conn)
	_, _ = io.WriteString(conn, "\r\n")
	answer, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: r.Method})
	if err != nil {
		return verdict{status: http.StatusForbidden}
	}
	_ = answer.Body.Close()
	switch {
	case answer.StatusCode >= 500: // status_on_error
		return verdict{status: http.StatusForbidden}
	case answer.StatusCode != http.StatusOK:
		return verdict{status: answer.StatusCode, header: answer.Header}
	}
	for _, name := range []string{"Authorization", "X-Forwarded-User", "X-Api-Token-Id"} {
		if values, there := answer.Header[name]; there {
			headers[name] = values
		}
	}
	for name := range strings.SplitSeq(answer.Header.Get("X-Envoy-Auth-Headers-To-Remove"), ",") {
		headers.Del(name)
	}
	return verdict{}
}

// startEnvoyGRPC is the filter with grpc_service. raw is encode_raw_headers.
func startEnvoyGRPC(folder string, raw bool) func(t *testing.T, w *world, edits ...string) string {
	return func(t *testing.T, w *world, _ ...string) string {
		t.Helper()
		client := grpcClient(t, w)
		ask := func(r *http.Request, target string, headers http.Header) verdict {
			answer, err := client.Check(r.Context(), checkRequest(r, target, headers, raw))
			refusal := answer.GetDeniedResponse()
			switch {
			case err != nil, answer.GetErrorResponse() != nil:
				return verdict{status: http.StatusForbidden}
			case codes.Code(answer.GetStatus().GetCode()) != codes.OK:
				v := verdict{status: int(refusal.GetStatus().GetCode()), header: http.Header{}}
				for _, h := range refusal.GetHeaders() {
					v.header.Set(h.GetHeader().GetKey(), h.GetHeader().GetValue())
				}
				return v
			}
			for _, h := range answer.GetOkResponse().GetHeaders() {
				headers.Set(h.GetHeader().GetKey(), h.GetHeader().GetValue())
			}
			for _, name := range answer.GetOkResponse().GetHeadersToRemove() {
				headers.Del(name)
			}
			return verdict{}
		}
		return filter{w: w, adds: true, check: ask}.start(t, folder)
	}
}

// startAgentgateway is a filter that does what agentgateway's does (crates/agentgateway/src/http/ext_authz.rs, 75b4e6c). Several
// values of a header are joined by a comma and a space, those of Cookie by a semicolon. Pseudo headers are among the headers.
func startAgentgateway(t *testing.T, w *world, _ ...string) string {
	t.Helper()
	client := grpcClient(t, w)
	ask := func(r *http.Request, target string, headers http.Header) verdict {
		question := checkRequest(r, target, nil, false)
		sent := question.GetAttributes().GetRequest().GetHttp().GetHeaders()
		for name, values := range headers {
			between := ", "
			if name == "Cookie" {
				between = "; "
			}
			sent[strings.ToLower(name)] = strings.ToValidUTF8(strings.Join(values, between), "\uFFFD")
		}
		sent[":method"], sent[":path"], sent[":authority"] = r.Method, target, r.Host
		answer, err := client.Check(r.Context(), question)
		denied, ok := answer.GetDeniedResponse(), answer.GetOkResponse()
		switch {
		case err != nil, answer.GetStatus().GetCode() != 0 && denied == nil:
			return verdict{status: http.StatusForbidden}
		case answer.GetStatus().GetCode() != 0:
			v := verdict{status: int(denied.GetStatus().GetCode()), header: http.Header{}}
			set(v.header, denied.GetHeaders())
			return v
		}
		for _, name := range ok.GetHeadersToRemove() {
			headers.Del(name)
		}
		set(headers, ok.GetHeaders())
		return verdict{}
	}
	return filter{w: w, check: ask}.start(t, "agentgateway")
}

// set sets the headers of an answer. agentgateway leaves those out that have no value.
func set(headers http.Header, options []*corev3.HeaderValueOption) {
	for _, h := range options {
		if h.GetHeader().GetValue() != "" {
			headers.Set(h.GetHeader().GetKey(), h.GetHeader().GetValue())
		}
	}
}

func grpcClient(t testing.TB, w *world) authv3.AuthorizationClient {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := extauthz.NewServer(w.index, w.observe, func() error { return nil }, nil, false, logr.Discard())
	go func() { _ = server.Serve(listener) }()
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Second)
		defer cancel()
		_ = server.Shutdown(ctx)
	})
	return authv3.NewAuthorizationClient(conn)
}

// checkRequest is what Envoy sends about a request.
func checkRequest(r *http.Request, target string, headers http.Header, raw bool) *authv3.CheckRequest {
	h := &authv3.AttributeContext_HttpRequest{
		Method: r.Method, Path: target, Host: r.Host, Scheme: "http", Protocol: "HTTP/1.1", Headers: map[string]string{},
	}
	for name, values := range headers {
		if !raw {
			h.Headers[strings.ToLower(name)] = strings.ToValidUTF8(strings.Join(values, ","), "!")
			continue
		}
		for _, value := range values {
			if h.HeaderMap == nil {
				h.HeaderMap = &corev3.HeaderMap{}
			}
			h.HeaderMap.Headers = append(h.HeaderMap.Headers, &corev3.HeaderValue{Key: strings.ToLower(name), RawValue: []byte(value)})
		}
	}
	peer := netip.MustParseAddrPort("127.0.0.1:4711")
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source: &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: peer.Addr().String(), PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(peer.Port())},
		}}}},
		Request:           &authv3.AttributeContext_Request{Http: h},
		ContextExtensions: map[string]string{"site": site.String(), "key": callerKey},
	}}
}

// A client's headers and targets that Envoy would not take are no business of the filter's.
func TestFilterPassesBytes(t *testing.T) {
	w := newWorld(t)
	gateway := startEnvoyHTTP("istio")(t, w)
	for _, target := range []string{"/secure/a%2Fb;c=d?e=//", "/login.jsp"} {
		got := w.send(t, gateway, "GET", target)
		if len(got.seen) != 1 || got.seen[0].RequestURI != target {
			t.Errorf("%s: the product saw %v", target, got.seen)
		}
	}
}
