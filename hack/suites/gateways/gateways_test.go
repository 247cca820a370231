package gateways_test

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"apitokens.dev/operator/hack/lib/fakeproduct"
)

const myself = "/rest/api/2/myself"

// received is an answer, and what the product saw of the request.
type received struct {
	status int
	header http.Header
	body   string
	seen   []fakeproduct.Seen
}

// sender sends a request through a gateway.
type sender func(t *testing.T, method, target string, headers ...string) received

// over sends raw bytes of HTTP/1.1.
func (w *world) over(gateway string) sender {
	return func(t *testing.T, method, target string, headers ...string) received {
		t.Helper()
		return w.send(t, gateway, method, target, headers...)
	}
}

// send sends raw bytes through a gateway.
func (w *world) send(t *testing.T, gateway, method, target string, headers ...string) received {
	t.Helper()
	w.product.Reset()
	conn := dial(t, gateway)
	defer func() { _ = conn.Close() }()
	lines := append([]string{method + " " + target + " HTTP/1.1", "Host: " + gateway, "Connection: close"}, headers...)
	if _, err := io.WriteString(conn, strings.Join(lines, "\r\n")+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	return w.received(answer)
}

func dial(t *testing.T, gateway string) net.Conn {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", gateway)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	return conn
}

// received reads an answer to its end.
func (w *world) received(answer *http.Response) received {
	defer func() { _ = answer.Body.Close() }()
	body, _ := io.ReadAll(answer.Body)
	return received{answer.StatusCode, answer.Header, string(body), w.product.Requests()}
}

// credential is what a client presents. user is the one that the product must serve, status the answer at a path that needs a
// user.
type credential struct {
	name    string
	headers []string
	status  int
	user    string
	// unauthorized means that the refusal is the webhook's, so that the product sees nothing.
	refused bool
}

func (w *world) credentials() []credential {
	authorization := func(value string) string { return "Authorization: " + value }
	session := "Cookie: " + w.product.SignIn("bob").String()
	return []credential{
		{name: "nothing", status: 401},
		{name: "a token", headers: []string{authorization(basic("alice", w.token))}, status: 200, user: "alice"},
		{name: "a token and bob's session", headers: []string{authorization(basic("alice", w.token)), session}, status: 200, user: "alice"},
		{name: "a wrong secret", headers: []string{authorization(basic("alice", w.wrong))}, status: 401, refused: true},
		{name: "a wrong secret and bob's session", headers: []string{authorization(basic("alice", w.wrong)), session}, status: 401, refused: true},
		{name: "somebody else's token", headers: []string{authorization(basic("bob", w.token))}, status: 401, refused: true},
		{name: "a mistyped token", headers: []string{authorization(basic("alice", w.token[:30]))}, status: 401, refused: true},
		{name: "a token as Bearer", headers: []string{authorization("Bearer " + w.token)}, status: 401, refused: true},
		{name: "a token as user name", headers: []string{authorization(basic(w.token, ""))}, status: 401, refused: true},
		{name: "a password", headers: []string{authorization(basic("alice", password))}, status: 200, user: "alice"},
		{name: "a personal access token", headers: []string{authorization("Bearer " + pat)}, status: 200, user: "alice"},
		{name: "a session", headers: []string{session}, status: 200, user: "bob"},
		{name: "OAuth 1.0a", headers: []string{authorization(`OAuth realm="", oauth_token="x", oauth_nonce="a%2Cb"`)}, status: 401},
		{name: "a large Kerberos ticket", headers: []string{authorization("Negotiate " + strings.Repeat("YIIJ", 3<<10))}, status: 401},
	}
}

// forged are headers with which a client pretends to be somebody, or something else was asked for.
var forged = []string{
	"X-Forwarded-User: root", "X-Api-Token-Id: asp_0000000000000000", "X-Api-Token-Target: /secure/", "X_Forwarded_User: root", "X-Forwarded_User: root",
	"X.Forwarded.User: root", "X-Original-URL: http://h/rest/other", "X-Original-URI: /rest/other", "X-Original-Method: GET", "X-Forwarded-Uri: /rest/other",
	"X-Forwarded-Method: GET", "X-Forwarded-Prefix: /rest", "X-Rewrite-URL: /rest/other", "Path: /rest/other", "Method: GET",
	"X-Envoy-Original-Path: /rest/other", "X-Envoy-Auth-Headers-To-Remove: host", "X-Api-Token-Caller: " + strings.Repeat("A", 26), "X-Real-IP: 192.0.2.1",
	"Proxy-Authorization: Basic YTpi",
}

// Every credential, at paths with and without tokens, with each forged header: the client gets what it should, the product
// serves whom it should, and no token and no forged identity reaches it.
func TestRequests(t *testing.T) {
	through(t, programs(), func(t *testing.T, p program) {
		w := newWorld(t)
		send := w.over(p.start(t, w))
		for _, c := range w.credentials() {
			for _, path := range []string{myself, myself + "?expand=groups", "/rest/api/2/user%40x", "//rest//api//2//myself"} {
				for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"} {
					w.check(t, p, send, c, method, path)
				}
			}
			for _, header := range forged {
				w.check(t, p, send, c.with(header), "GET", myself)
			}
		}
	})
}

// with is a credential with one more header.
func (c credential) with(header string) credential {
	c.name, c.headers = c.name+" with "+header, append(slices.Clone(c.headers), header)
	return c
}

// check sends one request, and judges the answer and what the product saw.
func (w *world) check(t *testing.T, p program, send sender, c credential, method, target string) {
	t.Helper()
	p.judge(t, method+" "+target+" with "+c.name, func(fail func(format string, a ...any)) {
		got := send(t, method, target, c.headers...)
		w.judgeAnswer(fail, got, c, method, target)
		for _, seen := range got.seen {
			w.judgeSeen(fail, p, seen, c, method)
		}
	})
}

func (w *world) judgeAnswer(fail func(format string, a ...any), got received, c credential, method, target string) {
	switch {
	case c.refused && (got.status != http.StatusUnauthorized || len(got.seen) != 0):
		fail("%d, and the product saw %d requests", got.status, len(got.seen))
	case c.refused && !strings.HasPrefix(got.header.Get("WWW-Authenticate"), `Basic realm="API token"`):
		fail("the challenge is %q", got.header.Get("WWW-Authenticate"))
	case !c.refused && len(got.seen) != 1:
		fail("%d, and the product saw %d requests", got.status, len(got.seen))
	case method == "GET" && strings.HasPrefix(target, w.contextPath+myself) && got.status != c.status:
		fail("%d, want %d: %.200s", got.status, c.status, got.body)
	}
	if text := fmt.Sprint(got.header, got.body); strings.Contains(text, pat) || strings.Contains(text, callerKey) {
		fail("the client got a personal access token or the caller key")
	}
}

// judgeSeen judges what the product saw of a request.
func (w *world) judgeSeen(fail func(format string, a ...any), p program, seen fakeproduct.Seen, c credential, method string) {
	if seen.User != c.user || seen.Method != method {
		fail("the product served %q with %s", seen.User, seen.Method)
	}
	seen.Header = maps.Clone(seen.Header)
	maps.DeleteFunc(seen.Header, func(name string, _ []string) bool { return strings.ContainsAny(name, p.passes) })
	if text := fmt.Sprint(seen.Header, seen.RequestURI); strings.Contains(text, w.token[4:]) || strings.Contains(text, "root") ||
		strings.Contains(text, "asp_0000000000000000") || strings.Contains(text, basic("alice", w.token)) {
		fail("a token or a forged identity reached the product: %v", seen.Header)
	}
	if c.user == "alice" && strings.HasPrefix(c.name, "a token") && seen.Header.Get("Cookie") != "" {
		fail("the product got a cookie beside a token")
	}
}

// The portal gets what is its own, whatever is presented, and is told the client's address.
func TestPortalRoutes(t *testing.T) {
	through(t, programs(), func(t *testing.T, p program) {
		w := newWorld(t)
		w.checkPortal(t, p, p.start(t, w))
	})
}

func (w *world) checkPortal(t *testing.T, p program, gateway string) {
	t.Helper()
	w.asked()
	for _, path := range []string{"/rest/api-tokens/latest/", "/rest/api-tokens/latest/asp_x/rotate?a=b", "/plugins/servlet/api-tokens", "/plugins/servlet/api-tokens/x.css"} {
		p.judge(t, path, func(fail func(format string, a ...any)) {
			got := w.send(t, gateway, "GET", w.contextPath+path, "Authorization: "+basic("alice", w.token), "X-Real-IP: 192.0.2.1")
			exchanges, portal := w.asked()
			if got.body != "the portal" || len(exchanges) != 0 || len(portal) != 1 {
				fail("%d %.100s, asked %d times, %d requests to the portal", got.status, got.body, len(exchanges), len(portal))
				return
			}
			r := portal[0]
			address := []string{"127.0.0.1"}
			if p.unknown {
				address = nil
			}
			if r.RequestURI != "/portal/jira/main"+path || r.Header.Get("Authorization") != basic("alice", w.token) || !slices.Equal(r.Header["X-Real-Ip"], address) {
				fail("the portal got %s with %v", r.RequestURI, r.Header)
			}
		})
	}
}
