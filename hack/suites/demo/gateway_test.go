package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"apitokens.dev/operator/hack/lib/ports"
	"apitokens.dev/operator/hack/lib/rig"
	"apitokens.dev/operator/internal/token"
)

// The sample configuration of nginx takes what Jira takes, gives identities to nobody but the product, and holds under
// load.
func TestGateway(t *testing.T) {
	s := begin(t)
	t.Run("uploads", s.uploads)
	t.Run("uploads are streamed", s.streams)
	t.Run("headers of an answer", s.answerHeaders)
	t.Run("upgrades", s.upgrades)
	t.Run("no Host", s.noHost)
	t.Run("limits of headers", s.headerLimits)
	t.Run("errors of nginx", s.errorLines)
	t.Run("load", s.manyQuestions)
}

// begin starts a rig with a site, its gateway and a token of alice.
func begin(t *testing.T) *story {
	t.Helper()
	r, err := rig.Start(t.Context(), t.Output())
	t.Cleanup(func() {
		if err := r.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &story{Rig: r, out: t.Output()}
	for _, step := range []func(context.Context) error{s.declareSite, s.startGateway, s.declareToken, s.readDelivered} {
		if err := step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// callers are the credentials of alice that pass.
func (s *story) callers() map[string]func(*http.Request) {
	return map[string]func(*http.Request){
		"a token":                 func(r *http.Request) { r.SetBasicAuth("alice", s.token) },
		"a session":               func(r *http.Request) { r.AddCookie(s.Product.SignIn("alice")) },
		"a personal access token": func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+rig.PersonalAccessToken) },
	}
}

// do sends a request and returns the answer with its body.
func do(t *testing.T, r *http.Request) (*http.Response, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Minute)
	defer cancel()
	response, err := http.DefaultTransport.RoundTrip(r.WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

func newRequest(t *testing.T, method, url string, body io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// uploads sends attachments that are larger than the limits of nginx for a body in memory and for any body.
func (s *story) uploads(t *testing.T) {
	for who, as := range s.callers() {
		for _, size := range []int64{100 << 10, 2 << 20, 12 << 20} {
			for _, chunked := range []bool{false, true} {
				r := newRequest(t, http.MethodPost, s.URL+echo, io.LimitReader(rand.Reader, size))
				r.ContentLength = size
				if chunked {
					r.ContentLength = -1
				}
				as(r)
				var got struct {
					User      string `json:"user"`
					BodyBytes int64  `json:"bodyBytes"`
				}
				response, body := do(t, r)
				if err := json.Unmarshal([]byte(body), &got); err != nil || response.StatusCode != http.StatusOK || got.User != "alice" || got.BodyBytes != size {
					t.Errorf("%d bytes with %s, chunked %v: %d %.200s", size, who, chunked, response.StatusCode, body)
				}
			}
		}
	}
	s.Product.Reset()
	r := newRequest(t, http.MethodPost, s.URL+echo, io.LimitReader(rand.Reader, 2<<20))
	r.SetBasicAuth("alice", s.token[:token.Length-1])
	if response, body := do(t, r); response.StatusCode != http.StatusUnauthorized || len(rig.ThroughNginx(s.Product)) != 0 {
		t.Errorf("with a wrong token: %d %s", response.StatusCode, body)
	}
}

// beside starts a second nginx, with another product and another portal. Both answer /login.jsp as handlers are free to.
func (s *story) beside(t *testing.T, product, portal http.Handler, changes ...func(*rig.Gateway)) (gateway rig.Gateway, nginx *rig.Process) {
	t.Helper()
	authURL, err := s.authURL(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if gateway, err = s.Gateway(authURL); err != nil {
		t.Fatal(err)
	}
	free, err := ports.Free(1)
	if err != nil {
		t.Fatal(err)
	}
	gateway.URL = "http://" + free[0]
	gateway.Product, gateway.Portal = serve(t, "127.0.0.1", product), serve(t, "127.0.0.1", portal)
	for _, change := range changes {
		change(&gateway)
	}
	if nginx, err = s.StartAnother(t.Context(), "nginx-beside", gateway); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := nginx.Stop(); err != nil {
			t.Error(err)
		}
	})
	return gateway, nginx
}

// serve serves a handler at an address of this machine, until the test ends.
func serve(t *testing.T, host string, handler http.Handler) string {
	t.Helper()
	listener, err := net.Listen("tcp", host+":0")
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: handler}}
	server.Start()
	t.Cleanup(server.Close)
	return listener.Addr().String()
}

// ok answers everything with 200.
var ok = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "answered") })

// streams checks that the product receives the beginning of a body before the client has sent its end.
func (s *story) streams(t *testing.T) {
	begun := make(chan struct{}, 3)
	product := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			_, _ = io.ReadFull(r.Body, make([]byte, 1))
			begun <- struct{}{}
			_, _ = io.Copy(io.Discard, r.Body)
		}
	})
	gateway, _ := s.beside(t, product, ok)
	for who, as := range s.callers() {
		reader, writer := io.Pipe()
		r := newRequest(t, http.MethodPost, gateway.URL+"/rest/x", reader)
		as(r)
		go func() {
			_, _ = io.WriteString(writer, "the beginning")
			select {
			case <-begun:
			case <-t.Context().Done():
			case <-time.After(5 * time.Second):
				t.Errorf("with %s the product had to wait for the end of the body", who)
			}
			_ = writer.Close()
		}()
		if response, body := do(t, r); response.StatusCode != http.StatusOK {
			t.Errorf("with %s: %d %s", who, response.StatusCode, body)
		}
	}
}

// answerHeaders checks that no answer of product or portal directs nginx, or carries an identity to the client.
func (s *story) answerHeaders(t *testing.T) {
	hostile := http.Header{
		"X-Accel-Redirect": {"/.api-token/ask"}, "X-Accel-Expires": {"1000"}, "X-Accel-Limit-Rate": {"1000"}, "X-Accel-Buffering": {"no"},
		"X-Accel-Charset": {"x"},
		"Authorization":   {"Bearer of-the-product"}, "X-Forwarded-User": {"of-the-product"}, "X-Api-Token-Id": {"of-the-product"},
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/login.jsp" {
			maps.Copy(w.Header(), hostile)
		}
		_, _ = io.WriteString(w, "answered")
	})
	gateway, _ := s.beside(t, handler, handler)
	callers := s.callers()
	callers["nothing"] = func(*http.Request) {}
	for who, as := range callers {
		for _, path := range []string{"/rest/x", "/secure/x", "/rest/api-tokens/latest/", "/plugins/servlet/api-tokens"} {
			r := newRequest(t, http.MethodGet, gateway.URL+path, http.NoBody)
			as(r)
			response, body := do(t, r)
			if who == "a token" && path == "/secure/x" {
				continue // not a path for tokens
			}
			if response.StatusCode != http.StatusOK || body != "answered" {
				t.Errorf("%s with %s: %d %s", path, who, response.StatusCode, body)
			}
			for name := range hostile {
				if response.Header.Get(name) != "" {
					t.Errorf("%s with %s: the client received %s", path, who, name)
				}
			}
			if strings.Contains(fmt.Sprint(response.Header), rig.PersonalAccessToken) {
				t.Errorf("%s with %s: the client received the personal access token", path, who)
			}
		}
	}
}

// upgrades checks that WebSockets pass, but no other upgrade, and none with a token.
func (s *story) upgrades(t *testing.T) {
	product := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked := r.Header.Get("Upgrade")
		if asked == "" {
			_, _ = io.WriteString(w, "answered")
			return
		}
		conn, stream, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = stream.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: " + asked + "\r\n\r\n")
		_ = stream.Flush()
		line, _ := stream.ReadString('\n')
		_, _ = stream.WriteString("echo of " + line)
		_ = stream.Flush()
	})
	gateway, _ := s.beside(t, product, ok)
	for _, tc := range []struct {
		protocol, path, who string
		switches            bool
	}{
		{"websocket", "/synchrony/v1", "a session", true},
		{"WebSocket", "/synchrony/v1", "a session", true},
		{"websocket", "/rest/x", "a session", true},
		{"websocket", "/rest/x", "a personal access token", true},
		{"websocket", "/rest/x", "a token", false},
		{"h2c", "/synchrony/v1", "a session", false},
		{"h2c", "/rest/x", "a personal access token", false},
		{"h2c, websocket", "/rest/x", "a session", false},
		{"h2c", "/rest/x", "a token", false},
	} {
		r := newRequest(t, http.MethodGet, gateway.URL+tc.path, http.NoBody)
		s.callers()[tc.who](r)
		r.Header.Set("Connection", "upgrade")
		r.Header.Set("Upgrade", tc.protocol)
		conn, err := net.Dial("tcp", strings.TrimPrefix(gateway.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Write(conn)
		stream := bufio.NewReader(conn)
		response, err := http.ReadResponse(stream, r)
		if err != nil {
			t.Fatal(err)
		}
		if tc.switches {
			_, _ = io.WriteString(conn, "hello\n")
			if line, _ := stream.ReadString('\n'); response.StatusCode != http.StatusSwitchingProtocols || line != "echo of hello\n" {
				t.Errorf("%s at %s with %s: %d %q", tc.protocol, tc.path, tc.who, response.StatusCode, line)
			}
		} else if response.StatusCode != http.StatusOK {
			t.Errorf("%s at %s with %s: %d", tc.protocol, tc.path, tc.who, response.StatusCode)
		}
		_ = conn.Close()
	}
}

// noHost sends requests of HTTP/1.0, which need no Host.
func (s *story) noHost(t *testing.T) {
	authorized := newRequest(t, http.MethodGet, s.URL, http.NoBody)
	authorized.SetBasicAuth("alice", s.token)
	authorization := "Authorization: " + authorized.Header.Get("Authorization") + "\r\n"
	for _, tc := range []struct{ request, body string }{
		{"GET /rest/api/2/myself HTTP/1.0\r\n" + authorization + "\r\n", `"name":"alice"`},
		{"GET /rest/api/2/serverInfo HTTP/1.0\r\n\r\n", `"deploymentType"`},
		{"GET /login.jsp HTTP/1.0\r\n\r\n", "Log in"},
		{"GET /rest/api-tokens/latest/ HTTP/1.0\r\n" + authorization + "\r\n", `"label":"CI scripts"`},
	} {
		answer := s.raw(t, tc.request)
		if line, _, _ := strings.Cut(answer, "\r\n"); line != "HTTP/1.1 200 OK" || !strings.Contains(answer, tc.body) {
			t.Errorf("%q: %.300s", strings.ReplaceAll(tc.request, authorization, ""), answer)
		}
	}
}

// raw sends bytes to nginx and returns the answer.
func (s *story) raw(t *testing.T, request string) string {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, _ = io.WriteString(conn, request) // nginx may answer before it has read all
	answer, _ := io.ReadAll(conn)
	return string(answer)
}

// headerLimits checks that nginx refuses itself what is too much for the webhook: whatever it lets through is answered.
func (s *story) headerLimits(t *testing.T) {
	repeat := func(line string, size int) string { return strings.Repeat(line, size/len(line)) }
	for shape, request := range map[string]func(size int) (target, headers string){
		"one header":      func(size int) (string, string) { return "", "X-Long: " + repeat("x", size) + "\r\n" },
		"headers of 15 K": func(size int) (string, string) { return "", repeat("X-Long: "+repeat("x", 15<<10)+"\r\n", size) },
		"headers of 1 K":  func(size int) (string, string) { return "", repeat("X-Long: "+repeat("x", 1<<10)+"\r\n", size) },
		"tiny headers":    func(size int) (string, string) { return "", repeat("a:b\r\n", size) },
		"forwarded":       func(size int) (string, string) { return "", repeat("X-Forwarded-For: 192.0.2.1\r\n", size) },
		"Kerberos": func(size int) (string, string) {
			return "", "Authorization: Negotiate " + repeat("YIIJ", size) + "\r\n"
		},
		"the target": func(size int) (string, string) { return "?" + repeat("x", size), "" },
		"the Host":   func(size int) (string, string) { return "", "Host: " + repeat("h", size) + "\r\n" },
		"all of them": func(size int) (string, string) {
			return "?" + repeat("x", size/4), "Host: " + repeat("h", size/4) + "\r\nAuthorization: Negotiate " + repeat("YIIJ", size/4) + "\r\n" + repeat("a:b\r\n", size/4)
		},
	} {
		answered, refused := 0, ""
		for size := 1 << 10; size <= 128<<10; size += 3 << 10 {
			target, headers := request(size)
			if !strings.Contains(headers, "Host:") {
				headers = "Host: jira\r\n" + headers
			}
			answer := s.raw(t, "GET "+echo+target+" HTTP/1.1\r\nConnection: close\r\n"+headers+"\r\n")
			line, _, _ := strings.Cut(answer, "\r\n")
			switch {
			case line == "HTTP/1.1 200 OK":
				answered = size
			case !slices.Contains([]string{"HTTP/1.1 400 Bad Request", "HTTP/1.1 414 Request-URI Too Large"}, line):
				t.Errorf("%s, %d bytes: %q", shape, size, line)
			case refused == "":
				refused = answer
			}
		}
		if answered < 4<<10 || answered > 80<<10 {
			t.Errorf("%s: answered up to %d bytes, then %s", shape, answered, refused)
		}
	}
}

// errorLines has nginx fail to reach the webhook in every way that it writes about, and checks that the caller key is in
// none of the lines.
func (s *story) errorLines(t *testing.T) {
	hang := make(chan struct{})
	closed, err := ports.Free(1)
	if err != nil {
		t.Fatal(err)
	}
	drop := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	tooLong := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Long", strings.Repeat("x", 100<<10)) })
	slow := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang })
	webhooks := map[string]string{
		"refuses": closed[0], "drops": serve(t, "127.0.0.1", drop), "answers too much": serve(t, "127.0.0.1", tooLong), "hangs": serve(t, "127.0.0.1", slow),
	}
	t.Cleanup(func() { close(hang) }) // before the servers are closed
	for name, webhook := range webhooks {
		t.Run(name, func(t *testing.T) {
			gateway, nginx := s.beside(t, ok, ok, func(g *rig.Gateway) { g.Webhooks = []string{webhook} })
			if response, body := do(t, newRequest(t, http.MethodGet, gateway.URL+"/rest/x", http.NoBody)); response.StatusCode != http.StatusInternalServerError {
				t.Errorf("answered %d %s", response.StatusCode, body)
			}
			log, err := nginx.Log()
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(log, "upstream: ") || strings.Contains(log, gateway.CallerKey) {
				t.Errorf("the log has no line about the webhook, or the caller key in it: %s", strings.ReplaceAll(log, gateway.CallerKey, "CALLER_KEY"))
			}
		})
	}
}

// manyQuestions asks more often than there are ports for connections between two addresses. On loopback Linux would use
// ports again at once, so everything is at another address of this machine.
func (s *story) manyQuestions(t *testing.T) {
	const requests, workers = 30_000, 8
	host := ownAddress(t)
	webhook, err := s.StartReplicaAt(t.Context(), host, "webhook-at-an-address", time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = webhook.Stop() })
	gateway, nginx := s.beside(t, ok, ok, func(g *rig.Gateway) {
		g.Webhooks = []string{strings.TrimPrefix(webhook.URL, "http://")}
		g.Product, g.Portal = serve(t, host, ok), serve(t, host, ok)
	})
	transport := &http.Transport{MaxIdleConnsPerHost: workers}
	defer transport.CloseIdleConnections()
	for _, path := range []string{"/rest/x", "/rest/api-tokens/latest/"} {
		var sent, failed atomic.Int64
		var group sync.WaitGroup
		begun := time.Now()
		for range workers {
			group.Go(func() {
				for sent.Add(1) <= requests {
					request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, gateway.URL+path, http.NoBody)
					if err != nil {
						t.Error(err)
						return
					}
					response, err := transport.RoundTrip(request)
					if err != nil || response.StatusCode != http.StatusOK {
						failed.Add(1)
					}
					if err == nil {
						_, _ = io.Copy(io.Discard, response.Body)
						_ = response.Body.Close()
					}
				}
			})
		}
		group.Wait()
		t.Logf("%s: %d requests in %s", path, requests, time.Since(begun).Round(time.Millisecond))
		if n := failed.Load(); n > 0 {
			log, _ := nginx.Log()
			t.Fatalf("%s: %d of %d requests failed; nginx's log begins with: %.1000s", path, n, requests, log)
		}
	}
}

// ownAddress returns an address of this machine that is not on loopback.
func ownAddress(t *testing.T) string {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if network, ok := a.(*net.IPNet); ok && network.IP.To4() != nil && network.IP.IsGlobalUnicast() {
			return network.IP.String()
		}
	}
	t.Fatal("this machine has only loopback addresses: give it another one, `ip address add 192.0.2.1/32 dev lo`")
	return ""
}
