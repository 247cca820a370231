package serving

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	stdlog "log"
	"net"
	"runtime/debug"
	"sync"
	"time"
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

// CloseWrite is that of the connection below.
func (b *begun) CloseWrite() error { return closeWrite(b.Conn) }

// Begin waits for the first byte of a connection. It returns a connection that still has it, and whether it begins a TLS
// handshake.
func Begin(conn net.Conn) (same net.Conn, handshake bool, err error) {
	first := make([]byte, 1)
	if _, err := conn.Read(first); err != nil {
		return nil, false, err
	}
	return &begun{conn, first}, first[0] == recordOfHandshake, nil
}

// The protocols that a client may choose in the handshake.
const (
	http1 = "http/1.1"
	http2 = "h2"
)

// listen returns a listener whose connections the server is to serve.
func (h HTTP) listen(l net.Listener) net.Listener {
	if h.Server.TLSConfig == nil {
		return plain{l, h}
	}
	h.Server.TLSConfig.NextProtos = []string{http2, http1} // without these, the server would serve no HTTP/2
	s := &secured{
		Listener: l, http: h, opened: make(chan net.Conn), failed: make(chan error), closed: make(chan struct{}), ended: make(chan struct{}),
	}
	go s.run()
	return s
}

// plain is a listener for connections without TLS.
type plain struct {
	net.Listener

	http HTTP
}

// Accept implements net.Listener.
func (p plain) Accept() (net.Conn, error) {
	c, err := p.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return p.http.plain(c), nil
}

// secured is a listener for connections with TLS, and also for those without it if HTTP.AlsoPlain says so. It waits for none before it
// accepts the next one.
type secured struct {
	net.Listener

	http HTTP
	// opened has connections that the server is to serve, and failed has errors of the listener below.
	opened chan net.Conn
	failed chan error
	// closed is closed once, by Close.
	once   sync.Once
	closed chan struct{}
	// opening are the connections that are not opened yet.
	opening sync.WaitGroup
	// ended is closed after closed, when there is nothing more to accept.
	ended chan struct{}
}

// run accepts connections until the listener is closed. Then it waits for the handshakes that run: a server that shuts down still answers
// requests of HTTP/2 that follow them. A server that has failed accepts none of them, so they are closed after the time for a handshake.
func (s *secured) run() {
	s.acceptAll()
	end := sync.OnceFunc(func() { close(s.ended) })
	defer time.AfterFunc(s.http.Server.ReadHeaderTimeout, end).Stop()
	s.opening.Wait()
	end()
}

// acceptAll accepts connections until the listener is closed. Another error goes to the server, which waits a moment.
func (s *secured) acceptAll() {
	for {
		c, err := s.Listener.Accept()
		if err == nil {
			s.opening.Go(func() { s.open(c) })
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		select {
		case s.failed <- err:
		case <-s.closed:
			return
		}
	}
}

// open gives a connection to the server. A panic in a handshake ends that connection only, as in an HTTP server.
func (s *secured) open(c net.Conn) {
	defer func() {
		if failure := recover(); failure != nil {
			log := cmp.Or(s.http.Server.ErrorLog, stdlog.Default())
			log.Printf("panic opening the connection from %v: %v\n%s", c.RemoteAddr(), failure, debug.Stack())
			_ = c.Close()
		}
	}()
	_ = c.SetDeadline(time.Now().Add(s.http.Server.ReadHeaderTimeout)) // a connection that is closed says so when it is read
	opened, err := s.http.open(c)
	if err != nil {
		_ = c.Close()
		return
	}
	_ = c.SetDeadline(time.Time{})
	select {
	case s.opened <- opened:
	case <-s.ended:
		_ = c.Close()
	}
}

// open returns a connection in the form that the server serves.
func (h HTTP) open(c net.Conn) (net.Conn, error) {
	if h.AlsoPlain {
		same, handshake, err := Begin(c)
		if err != nil {
			return nil, err
		}
		if !handshake {
			return h.plain(same), nil
		}
		c = same
	}
	secure := tls.Server(c, h.Server.TLSConfig)
	if !h.Brief {
		return secure, nil
	}
	// The server gets the same error again, logs it, and tells a client without TLS what is wrong. It serves HTTP/2 on none but a tls.Conn.
	if err := secure.HandshakeContext(context.Background()); err != nil || secure.ConnectionState().NegotiatedProtocol == http2 {
		return secure, nil //nolint:nilerr // as the comment says
	}
	return &secureBrief{brief{Conn: secure}, secure}, nil
}

// plain returns a connection without TLS in the form that the server serves.
func (h HTTP) plain(c net.Conn) net.Conn {
	if h.Brief {
		return &brief{Conn: c}
	}
	return c
}

// Accept implements net.Listener.
func (s *secured) Accept() (net.Conn, error) {
	select {
	case c := <-s.opened:
		return c, nil
	case err := <-s.failed:
		return nil, err
	case <-s.ended:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (s *secured) Close() (err error) {
	s.once.Do(func() {
		close(s.closed)
		err = s.Listener.Close()
	})
	return err
}
