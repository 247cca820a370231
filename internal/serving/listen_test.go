package serving

import (
	"net"
	"syscall"
	"testing"
)

// Connections have no TCP keep-alive: to set it takes four system calls for each.
func TestListenSetsNoKeepAlive(t *testing.T) {
	l, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	client, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	alive, failed := -1, error(nil)
	if err := raw.Control(func(fd uintptr) {
		alive, failed = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_KEEPALIVE)
	}); err != nil || failed != nil || alive != 0 {
		t.Errorf("keep-alive is %d, %v, %v", alive, err, failed)
	}
}
