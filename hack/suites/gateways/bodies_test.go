package gateways_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"slices"
	"strings"
	"testing"
	"time"

	"apitokens.dev/operator/hack/lib/fakeproduct"
)

// uploads are the ways in which a client sends a body.
var uploads = map[string]func(t *testing.T, conn io.Writer, answers *bufio.Reader, head []string) bool{
	"with its length": func(t *testing.T, conn io.Writer, _ *bufio.Reader, head []string) bool {
		t.Helper()
		_, err := io.WriteString(conn, strings.Join(head, "\r\n")+fmt.Sprintf("\r\nContent-Length: %d\r\n\r\n", bodySize)+strings.Repeat("x", bodySize))
		return err == nil
	},
	"chunked": func(t *testing.T, conn io.Writer, _ *bufio.Reader, head []string) bool {
		t.Helper()
		_, err := io.WriteString(conn, strings.Join(head, "\r\n")+"\r\nTransfer-Encoding: chunked\r\n\r\n")
		chunks := httputil.NewChunkedWriter(conn)
		for range bodySize >> 16 {
			if err == nil {
				_, err = io.WriteString(chunks, strings.Repeat("x", 1<<16))
			}
		}
		_, _ = io.WriteString(conn, "0\r\n\r\n")
		return err == nil
	},
	"after 100 Continue": func(t *testing.T, conn io.Writer, answers *bufio.Reader, head []string) bool {
		t.Helper()
		_, _ = io.WriteString(conn, strings.Join(head, "\r\n")+fmt.Sprintf("\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", bodySize))
		if begun, err := answers.Peek(len("HTTP/1.1 100")); err != nil || string(begun) != "HTTP/1.1 100" {
			return false // A final answer: the body is not wanted.
		}
		for line := ""; line != "\r\n"; {
			line, _ = answers.ReadString('\n')
		}
		_, err := io.WriteString(conn, strings.Repeat("x", bodySize))
		return err == nil
	},
}

const bodySize = 3 << 20

// Large bodies arrive whole behind every credential that passes, and not at all behind one that is refused.
func TestBodies(t *testing.T) {
	through(t, realPrograms(), func(t *testing.T, p program) {
		w := newWorld(t)
		gateway := p.start(t, w)
		for name, upload := range uploads {
			for _, c := range w.credentials() {
				if slices.Contains([]string{"nothing", "a token", "a wrong secret", "a password", "a session"}, c.name) {
					p.judge(t, name+" with "+c.name, func(fail func(format string, a ...any)) {
						got, sent := w.upload(t, gateway, upload, c)
						var echoed struct {
							fakeproduct.Seen

							BodyBytes int `json:"bodyBytes"`
						}
						switch err := json.Unmarshal([]byte(got.body), &echoed); {
						case c.refused && (got.status != 401 || len(got.seen) != 0 || name == "after 100 Continue" && sent):
							fail("%d, and the product saw %d requests", got.status, len(got.seen))
						case !c.refused && (err != nil || echoed.BodyBytes != bodySize || echoed.User != c.user):
							fail("%d, %v: the product got %d bytes of %q", got.status, err, echoed.BodyBytes, echoed.User)
						}
					})
				}
			}
		}
	})
}

// upload posts a body to the echo of the product. sent means that the client sent all of it.
func (w *world) upload(t *testing.T, gateway string, send func(*testing.T, io.Writer, *bufio.Reader, []string) bool, c credential) (got received, sent bool) {
	t.Helper()
	w.product.Reset()
	conn := dial(t, gateway)
	defer func() { _ = conn.Close() }()
	answers, done := bufio.NewReader(conn), make(chan bool, 1)
	head := append([]string{"POST " + echo + " HTTP/1.1", "Host: " + gateway, "Connection: close", "X-Atlassian-Token: no-check"}, c.headers...)
	go func() { done <- send(t, conn, answers, head) }()
	select {
	case sent = <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("the body is not taken")
	}
	for {
		answer, err := http.ReadResponse(answers, &http.Request{Method: http.MethodPost})
		if err != nil {
			t.Fatalf("POST with %s: %v", c.name, err)
		}
		if answer.StatusCode != http.StatusContinue {
			return w.received(answer), sent
		}
	}
}

// A session may become a WebSocket. A token may not, because the connection would outlive it, and no request may become anything
// else: behind another protocol nothing would be asked about.
func TestUpgrades(t *testing.T) {
	through(t, realPrograms(), func(t *testing.T, p program) {
		w := newWorld(t)
		gateway := p.start(t, w)
		for _, c := range w.credentials() {
			for _, target := range []string{"/rest/ws", "/plugins/servlet/ws"} {
				for _, protocol := range []string{
					"websocket", "WebSocket", "h2c", "websocket, h2c", "TLS/1.0", "h2c\r\nUpgrade: websocket", "TLS/1.0\r\nUpgrade: websocket",
				} {
					if !slices.Contains([]string{"nothing", "a token", "a wrong secret", "a session"}, c.name) {
						continue
					}
					p.judge(t, protocol+" at "+target+" with "+c.name, func(fail func(format string, a ...any)) {
						switched, seen := w.upgrade(t, gateway, target, protocol, c.headers)
						want := strings.EqualFold(protocol, "websocket") && !c.refused && c.name != "a token"
						if p.switches != nil {
							want = p.switches(c, target, protocol)
						}
						if switched != want {
							fail("switched: %t, want %t, and the product saw %+v", switched, want, seen)
						}
					})
				}
			}
		}
	})
}

// upgrade asks to switch to a protocol, and reports whether a line comes back from the product through the new connection.
func (w *world) upgrade(t *testing.T, gateway, target, protocol string, headers []string) (bool, []fakeproduct.Seen) {
	t.Helper()
	w.product.Reset()
	conn := dial(t, gateway)
	defer func() { _ = conn.Close() }()
	lines := append([]string{
		"GET " + target + " HTTP/1.1", "Host: " + gateway, "Connection: Upgrade, HTTP2-Settings", "Upgrade: " + protocol, "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
	}, headers...)
	if _, err := io.WriteString(conn, strings.Join(lines, "\r\n")+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewReader(conn)
	answer, err := http.ReadResponse(answers, nil)
	if err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode != http.StatusSwitchingProtocols {
		return false, w.product.Requests()
	}
	_, _ = io.WriteString(conn, "hello\n")
	line, _ := answers.ReadString('\n')
	return line == "hello\n", w.product.Requests()
}
