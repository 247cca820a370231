package serving

import (
	"errors"
	"net"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// recordOfHandshake is the first byte of a connection that begins with a TLS handshake. No method of HTTP begins with it.
const recordOfHandshake = 0x16

// begun is a connection of which the first byte was read.
type begun struct {
	net.Conn

	first []byte
}

// Read implements net.Conn.
func (b *begun) Read(p []byte) (int, error) {
	if len(b.first) == 0 || len(p) == 0 {
		return b.Conn.Read(p)
	}
	n := copy(p, b.first)
	b.first = b.first[n:]
	return n, nil
}

// Begin waits for the first byte of a connection. It returns a connection that still has it, and whether it begins a TLS
// handshake.
func Begin(conn net.Conn) (same net.Conn, handshake bool, err error) {
	first := make([]byte, 1)
	if _, err := conn.Read(first); err != nil {
		return nil, false, err
	}
	return &begun{conn, first}, first[0] == recordOfHandshake, nil
}

// splitter sorts the connections of a listener into those with TLS and those without.
type splitter struct {
	net.Listener

	secure, plain chan net.Conn
	failed        chan error
	once          sync.Once
	closed        chan struct{}
}

// half is a listener for the connections of one sort.
type half struct {
	*splitter

	conns chan net.Conn
}

// serveBoth serves the connections of a listener with TLS and those without.
func (h HTTP) serveBoth(listener net.Listener) error {
	s := &splitter{Listener: listener, secure: make(chan net.Conn), plain: make(chan net.Conn), failed: make(chan error), closed: make(chan struct{})}
	// The server sets HTTP/2 up once, for whichever half comes first. The plain half does so only if the configuration names it.
	h.Server.TLSConfig.NextProtos = []string{"h2", "http/1.1"}
	var group errgroup.Group
	group.Go(func() error { return h.serveTLS(half{s, s.secure}) })
	group.Go(func() error { return h.servePlain(half{s, s.plain}) })
	s.run()
	return group.Wait()
}

// run accepts connections until the listener is closed. Another error goes to one of the servers, which waits a moment.
func (s *splitter) run() {
	for {
		conn, err := s.Accept()
		if err == nil {
			go s.sort(conn)
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			_ = s.Close()
			return
		}
		select {
		case s.failed <- err:
		case <-s.closed:
			return
		}
	}
}

func (s *splitter) sort(conn net.Conn) {
	_ = conn.SetReadDeadline(time.Now().Add(readHeaderTimeout))
	same, handshake, err := Begin(conn)
	if err != nil {
		_ = conn.Close()
		return
	}
	_ = conn.SetReadDeadline(time.Time{})
	to := s.plain
	if handshake {
		to = s.secure
	}
	select {
	case to <- same:
	case <-s.closed:
		_ = conn.Close()
	}
}

// Accept implements net.Listener.
func (h half) Accept() (net.Conn, error) {
	select {
	case conn := <-h.conns:
		return conn, nil
	case err := <-h.failed:
		return nil, err
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

// Close closes both halves.
func (s *splitter) Close() (err error) {
	s.once.Do(func() {
		close(s.closed)
		err = s.Listener.Close()
	})
	return err
}
