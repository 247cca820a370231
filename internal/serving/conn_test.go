package serving

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"apitokens.dev/operator/hack/lib/authority"
)

// counting is a listener that counts what its connections are asked for.
type counting struct {
	net.Listener

	reads, deadlines atomic.Int64
}

func (c *counting) Accept() (net.Conn, error) {
	below, err := c.Listener.Accept()
	return counted{below, c}, err
}

type counted struct {
	net.Conn

	of *counting
}

func (c counted) Read(p []byte) (int, error) {
	c.of.reads.Add(1)
	return c.Conn.Read(p)
}

func (c counted) SetReadDeadline(t time.Time) error {
	c.of.deadlines.Add(1)
	return c.Conn.SetReadDeadline(t)
}

func (c counted) SetWriteDeadline(t time.Time) error {
	c.of.deadlines.Add(1)
	return c.Conn.SetWriteDeadline(t)
}

// speakTLS has a server speak TLS.
func speakTLS(t *testing.T, server *http.Server) {
	t.Helper()
	pair, err := authority.ForTest(t, "ours").Server(time.Now().Add(time.Hour), host)
	if err != nil {
		t.Fatal(err)
	}
	server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13}
}

// serveHTTP serves until the test ends. It returns a connection to the server, with TLS if the server speaks it.
func serveHTTP(t *testing.T, h HTTP) (conn net.Conn, below *counting) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	below = &counting{Listener: listener}
	secure := h.Server.TLSConfig != nil
	done := make(chan error, 1)
	go func() { done <- h.Serve(below) }()
	conn, err = new(net.Dialer).DialContext(t.Context(), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		if err := errors.Join(h.Server.Close(), <-done); err != nil {
			t.Error(err)
		}
	})
	if secure {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}) // whose certificate it is does not matter
	}
	return conn, below
}

const question = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"

// answers reads so many answers, and fails if one is not a 200.
func answers(t *testing.T, from *bufio.Reader, count int) {
	t.Helper()
	for range count {
		answer, err := http.ReadResponse(from, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, answer.Body)
		if _ = answer.Body.Close(); answer.StatusCode != http.StatusOK {
			t.Fatal(answer.Status)
		}
	}
}

// A brief server reads once for each request, and moves no timers for it. Another one reads in the background too, ends that by a deadline,
// and takes the deadline away.
func TestRequestsCostLittle(t *testing.T) {
	const requests = 1000
	for name, tc := range map[string]struct {
		brief, secure bool
		// reads and deadlines are the most for 100 requests.
		reads, deadlines int64
	}{
		"brief":               {true, false, 110, 5},
		"brief with TLS":      {true, true, 110, 5},
		"not brief":           {false, false, 210, 210},
		"not brief, with TLS": {false, true, 210, 210},
	} {
		server := NewHTTP(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), time.Minute)
		if tc.secure {
			speakTLS(t, server)
		}
		conn, below := serveHTTP(t, HTTP{Server: server, Brief: tc.brief})
		in := bufio.NewReader(conn)
		for range requests {
			if _, err := io.WriteString(conn, question); err != nil {
				t.Fatal(err)
			}
			answers(t, in, 1)
		}
		if reads, deadlines := below.reads.Load(), below.deadlines.Load(); reads > tc.reads*requests/100 || deadlines > tc.deadlines*requests/100 {
			t.Errorf("%s: %d reads and %d deadlines for %d requests", name, reads, deadlines, requests)
		}
	}
}

// A brief server reads requests as any does: many at once, one byte at a time, and with bodies.
func TestBriefServerReadsEverything(t *testing.T) {
	for _, secure := range []bool{false, true} {
		server := NewHTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }), time.Minute)
		if secure {
			speakTLS(t, server)
		}
		conn, _ := serveHTTP(t, HTTP{Server: server, Brief: true})
		in := bufio.NewReader(conn)
		if _, err := io.WriteString(conn, strings.Repeat(question, 100)); err != nil {
			t.Fatal(err)
		}
		answers(t, in, 100)
		// The server's buffer has 4096 bytes, and so has room for a single one at some of these lengths.
		for length := 4000; length < 4200; length++ {
			head := fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n", length)
			for _, part := range []string{head, strings.Repeat("x", length-1), "x", "\r\n0\r\n", "\r\n"} {
				if _, err := io.WriteString(conn, part); err != nil {
					t.Fatal(err)
				}
			}
			answers(t, in, 1)
		}
		for i := range len(question) {
			_, _ = io.WriteString(conn, question[i:i+1])
		}
		answers(t, in, 1)
	}
}

// A reader of one byte gets it at the second try.
func TestBriefConnectionReadsOneByte(t *testing.T) {
	here, there := net.Pipe()
	defer func() { _ = here.Close() }()
	c := &brief{Conn: here}
	go func() { _, _ = io.WriteString(there, "abc") }()
	for _, want := range []string{"", "a", "", "b", "", "c"} {
		p := make([]byte, 1)
		if n, err := c.Read(p); err != nil || string(p[:n]) != want {
			t.Fatalf("read %q, %v, want %q", p[:n], err, want)
		}
	}
}

// The timeouts of a server count on a brief connection too, and for a handshake.
func TestSlowClientsAreCutOff(t *testing.T) {
	for name, sent := range map[string]string{
		"nothing":         "",
		"half a header":   question[:10],
		"half a second":   question + question[:10],
		"idle":            question,
		"body is missing": "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n",
	} {
		for _, secure := range []bool{false, true} {
			server := NewHTTP(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), 50*time.Millisecond)
			server.ReadHeaderTimeout, server.IdleTimeout = 50*time.Millisecond, 50*time.Millisecond
			if secure {
				speakTLS(t, server)
			}
			conn, _ := serveHTTP(t, HTTP{Server: server, Brief: true})
			if _, err := io.WriteString(conn, sent); err != nil {
				t.Fatal(err)
			}
			_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
			if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s, TLS %t: the connection stays", name, secure)
			}
		}
	}
}

// Half a handshake is cut off as half a request is.
func TestSlowHandshakesAreCutOff(t *testing.T) {
	for name, h := range map[string]HTTP{"brief": {Brief: true}, "not brief": {}, "plain too": {Brief: true, AlsoPlain: true}} {
		h.Server = NewHTTP(http.NotFoundHandler(), 50*time.Millisecond)
		h.Server.ReadHeaderTimeout = 50 * time.Millisecond
		speakTLS(t, h.Server)
		conn, _ := serveHTTP(t, h)
		conn = conn.(*tls.Conn).NetConn()
		for _, sent := range []string{"", "\x16\x03\x01"} {
			if _, err := io.WriteString(conn, sent); err != nil {
				t.Fatal(err)
			}
		}
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: the connection stays", name)
		}
	}
}

// lastLine keeps the line that a logger has written last.
type lastLine struct{ atomic.Value }

func (l *lastLine) Write(line []byte) (int, error) {
	l.Store(string(line))
	return len(line), nil
}

// A panic in a handshake is logged, and ends no connection but its own. Those of crypto/tls have been caused by clients.
func TestPanicEndsOneConnection(t *testing.T) {
	for _, brief := range []bool{false, true} {
		var logged lastLine
		var calm atomic.Bool
		server := NewHTTP(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), time.Minute)
		server.ErrorLog = log.New(&logged, "", 0)
		speakTLS(t, server)
		server.TLSConfig.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
			if !calm.Swap(true) {
				panic("something unforeseen")
			}
			return nil, nil
		}
		conn, _ := serveHTTP(t, HTTP{Server: server, Brief: brief})
		if _, err := io.WriteString(conn, question); err == nil {
			t.Errorf("brief: %t: a handshake that panics succeeds", brief)
		}
		again, err := tls.Dial("tcp", conn.RemoteAddr().String(), &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(again, question); err != nil {
			t.Fatal(err)
		}
		answers(t, bufio.NewReader(again), 1)
		_ = again.Close()
		if line, _ := logged.Load().(string); !strings.Contains(line, "something unforeseen") {
			t.Errorf("brief: %t: logged %q", brief, line)
		}
	}
}

// A server that is shut down during a handshake answers the request of HTTP/2 that comes after it.
func TestShutdownDuringHandshake(t *testing.T) {
	for name, h := range map[string]HTTP{"brief": {Brief: true}, "not brief": {}, "plain too": {Brief: true, AlsoPlain: true}} {
		h.Server = NewHTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }), time.Minute)
		speakTLS(t, h.Server)
		var address string
		ended := make(chan error, 1)
		h.Server.TLSConfig.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
			go func() { ended <- h.Server.Shutdown(context.Background()) }()
			for {
				conn, err := net.Dial("tcp", address)
				if err != nil {
					return nil, nil
				}
				_ = conn.Close()
			}
		}
		conn, _ := serveHTTP(t, h)
		address = conn.RemoteAddr().String()
		_ = conn.(*tls.Conn).NetConn().Close()
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}}
		answer, err := client.Get("https://" + address)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		body, _ := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if string(body) != "HTTP/2.0" {
			t.Errorf("%s: answered %q", name, body)
		}
		if err := <-ended; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// pair returns both ends of a connection: the first is one of ours.
func pair(t *testing.T) (c *conn, other net.Conn) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	other, err = new(net.Dialer).DialContext(t.Context(), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := conns{listener}.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = accepted.Close(), other.Close() })
	return accepted.(*conn), other
}

// The last deadline that was set counts, whatever was set before it, and whether a read runs or not.
func TestLastDeadlineCounts(t *testing.T) {
	const short, long = 20 * time.Millisecond, 100 * time.Millisecond
	past, never := -time.Hour, time.Duration(0)
	for _, tc := range []struct {
		before, during []time.Duration
		want           time.Duration
	}{
		{before: []time.Duration{long}, want: long},
		{before: []time.Duration{short, long}, want: long},
		{before: []time.Duration{long, short}, want: short},
		{before: []time.Duration{short, never, long}, want: long},
		{before: []time.Duration{past, long}, want: long},
		{before: []time.Duration{long, past}, want: 0},
		{before: []time.Duration{short}, during: []time.Duration{long}, want: long},
		{before: []time.Duration{long}, during: []time.Duration{past}, want: 0},
		{before: []time.Duration{never}, during: []time.Duration{long}, want: long},
		{before: []time.Duration{short}, during: []time.Duration{never, long}, want: long},
	} {
		c, _ := pair(t)
		begun := time.Now()
		set := func(after time.Duration) {
			deadline := begun.Add(after)
			if after == never {
				deadline = time.Time{}
			}
			_ = c.SetReadDeadline(deadline)
		}
		for _, after := range tc.before {
			set(after)
		}
		result := make(chan error, 1)
		go func() {
			_, err := c.Read(make([]byte, 8))
			result <- err
		}()
		if tc.during != nil {
			for c.reading.running.Load() == 0 {
				<-time.After(time.Millisecond)
			}
		}
		for _, after := range tc.during {
			set(after)
		}
		err := <-result
		if took := time.Since(begun); !errors.Is(err, os.ErrDeadlineExceeded) || took < tc.want {
			t.Errorf("%v, then %v: ended after %v with %v, want %v", tc.before, tc.during, took, err, tc.want)
		}
	}
}

// A write that an earlier deadline stops goes on where it was.
func TestLongWriteGoesOn(t *testing.T) {
	c, other := pair(t)
	_ = c.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	const size = 64 << 20
	go func() {
		n, err := c.Write(make([]byte, size))
		if err = errors.Join(err, c.CloseWrite()); n != size || err != nil {
			t.Errorf("wrote %d bytes: %v", n, err)
		}
	}()
	<-time.After(100 * time.Millisecond)
	if n, err := io.Copy(io.Discard, other); n != size+1 || err != nil {
		t.Errorf("%d bytes have come: %v", n, err)
	}
}
