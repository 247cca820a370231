package serving

import (
	"crypto/tls"
	"net"
	"sync/atomic"
)

// brief is a connection on which nobody wants to know whether the client has left while its request is answered.
type brief struct {
	net.Conn

	// looked means that the last read was for one byte, and read nothing.
	looked atomic.Bool
}

// Read implements net.Conn.
//
// While a handler runs, an HTTP server reads one byte in the background, to learn whether the client has left. It takes longer to end
// that than to answer a question. So the first read of one byte reads nothing. The server takes that for "nothing has come" and does not
// read again. Other readers try again, and get their byte.
func (b *brief) Read(p []byte) (int, error) {
	if len(p) == 1 && !b.looked.Swap(true) {
		return 0, nil
	}
	b.looked.Store(false)
	return b.Conn.Read(p)
}

// CloseWrite is that of the connection below.
func (b *brief) CloseWrite() error { return closeWrite(b.Conn) }

// secureBrief is a brief connection with TLS, after the handshake.
type secureBrief struct {
	brief

	secure *tls.Conn
}

// ConnectionState is where an HTTP server finds the client's certificate.
func (b *secureBrief) ConnectionState() tls.ConnectionState { return b.secure.ConnectionState() }
