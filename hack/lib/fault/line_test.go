package fault_test

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"apitokens.dev/operator/hack/lib/fault"
)

// echo sends back all that it receives.
func echo(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(conn, conn)
				_ = conn.Close()
			}()
		}
	}()
	return listener.Addr().String()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newLine(t *testing.T) *fault.Line {
	t.Helper()
	line, err := fault.NewLine(echo(t))
	must(t, err)
	t.Cleanup(line.Close)
	return line
}

func dial(t *testing.T, line *fault.Line) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", line.Address())
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// read reads from the connection within the given time.
func read(t *testing.T, conn net.Conn, patience time.Duration) (string, error) {
	t.Helper()
	must(t, conn.SetReadDeadline(time.Now().Add(patience)))
	said := make([]byte, 5)
	n, err := io.ReadFull(conn, said)
	return string(said[:n]), err
}

func say(t *testing.T, conn net.Conn) {
	t.Helper()
	_, err := io.WriteString(conn, "hello")
	must(t, err)
}

func expectEcho(t *testing.T, conn net.Conn) {
	t.Helper()
	say(t, conn)
	if said, err := read(t, conn, 10*time.Second); said != "hello" || err != nil {
		t.Fatalf("answered %q, %v", said, err)
	}
}

// expectSilence fails if anything arrives, or if the connection is closed.
func expectSilence(t *testing.T, conn net.Conn) {
	t.Helper()
	say(t, conn)
	if said, err := read(t, conn, 50*time.Millisecond); said != "" || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("a frozen connection answered %q, %v", said, err)
	}
}

func TestLineFreezesAndThaws(t *testing.T) {
	line := newLine(t)
	old := dial(t, line)
	expectEcho(t, old)
	line.Freeze()
	expectSilence(t, old)
	fresh := dial(t, line)
	expectSilence(t, fresh)
	must(t, line.Pass())
	for _, conn := range []net.Conn{old, fresh} {
		if said, err := read(t, conn, 10*time.Second); said != "hello" || err != nil {
			t.Errorf("what was said while it was frozen: %q, %v", said, err)
		}
		expectEcho(t, conn)
	}
}

func TestLineFreezesOpenConnectionsAlone(t *testing.T) {
	line := newLine(t)
	old := dial(t, line)
	expectEcho(t, old)
	line.FreezeOpen()
	expectSilence(t, old)
	expectEcho(t, dial(t, line))
}

func TestLineRefusesAndComesBack(t *testing.T) {
	line := newLine(t)
	old, address := dial(t, line), line.Address()
	expectEcho(t, old)
	line.Refuse()
	if _, err := read(t, old, 10*time.Second); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("an open connection ended with %v", err)
	}
	if _, err := net.Dial("tcp", address); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a new connection: %v", err)
	}
	must(t, line.Pass())
	if line.Address() != address {
		t.Errorf("came back at %s", line.Address())
	}
	expectEcho(t, dial(t, line))
}

func TestLineLosesPackets(t *testing.T) {
	line := newLine(t)
	old := dial(t, line)
	expectEcho(t, old)
	must(t, line.Lose())
	expectSilence(t, old)
	if _, err := (&net.Dialer{Timeout: 50 * time.Millisecond}).Dial("tcp", line.Address()); !os.IsTimeout(err) {
		t.Errorf("a new connection: %v", err)
	}
	must(t, line.Pass())
	if said, err := read(t, old, 10*time.Second); said != "hello" || err != nil {
		t.Errorf("what was said while packets were lost: %q, %v", said, err)
	}
	expectEcho(t, dial(t, line))
}

func TestLineResets(t *testing.T) {
	line := newLine(t)
	old := dial(t, line)
	expectEcho(t, old)
	line.FreezeOpen()
	line.Reset()
	if _, err := read(t, old, 10*time.Second); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("an open connection ended with %v", err)
	}
	expectEcho(t, dial(t, line))
}

func TestLinePassesTheEndOn(t *testing.T) {
	conn, ok := dial(t, newLine(t)).(*net.TCPConn)
	if !ok {
		t.Fatal("not a TCP connection")
	}
	say(t, conn)
	must(t, conn.CloseWrite())
	if answer, err := io.ReadAll(conn); string(answer) != "hello" || err != nil {
		t.Errorf("answered %q, %v", answer, err)
	}
}
