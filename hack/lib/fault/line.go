// Package fault breaks the path between a client and the API server, for the tests of outages: a Line breaks TCP
// connections, an API breaks HTTP answers.
package fault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"apitokens.dev/operator/hack/lib/ports"
)

// Line forwards TCP connections to a server. Its address stays the same through every fault.
type Line struct {
	address, target string

	mu       sync.Mutex
	changed  *sync.Cond
	listener net.Listener
	pairs    map[*pair]bool
	// freezing means that new connections are frozen too.
	freezing bool
	// deaf is a listening socket that accepts no connection and refuses none.
	deaf    []io.Closer
	serving sync.WaitGroup
}

// pair is the two halves of a forwarded connection.
type pair struct {
	client, server *net.TCPConn
	frozen, ended  bool
}

// NewLine returns a line to a server that forwards everything. The caller must call Close.
func NewLine(target string) (*Line, error) {
	// The line keeps its port, also while it refuses connections.
	free, err := ports.Free(1)
	if err != nil {
		return nil, err
	}
	l := &Line{address: free[0], target: target, pairs: map[*pair]bool{}}
	l.changed = sync.NewCond(&l.mu)
	if err := l.listen(); err != nil {
		return nil, err
	}
	return l, nil
}

// Address returns the address for clients.
func (l *Line) Address() string { return l.address }

// Freeze stops moving bytes, without closing anything: new connections are accepted, and carry nothing either.
func (l *Line) Freeze() { l.freeze(true) }

// FreezeOpen freezes the connections that are open. New ones pass.
func (l *Line) FreezeOpen() { l.freeze(false) }

func (l *Line) freeze(newOnes bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.freezing = newOnes
	for p := range l.pairs {
		p.frozen = true
	}
}

// Reset resets the connections that are open. New ones pass, unless the line refuses them.
func (l *Line) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p := range l.pairs {
		l.end(p)
	}
}

// Refuse resets every connection and refuses new ones, as if no process listened.
func (l *Line) Refuse() {
	l.stopListening()
	l.Reset()
}

func (l *Line) stopListening() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.listener != nil {
		_ = l.listener.Close()
		l.listener = nil
	}
	for _, c := range l.deaf {
		_ = c.Close()
	}
	l.deaf = nil
}

// Lose drops every packet: open connections are frozen, and new ones are never established.
func (l *Line) Lose() error {
	l.stopListening()
	l.Freeze()
	listener, err := l.bind()
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deaf = append(l.deaf, listener)
	raw, err := listener.SyscallConn()
	if err != nil {
		return fmt.Errorf("losing packets at %s: %w", l.address, err)
	}
	// Linux drops the packets of new connections while the accept queue is full.
	if errControl := raw.Control(func(fd uintptr) { err = syscall.Listen(int(fd), 0) }); err != nil || errControl != nil {
		return fmt.Errorf("losing packets at %s: %w", l.address, errors.Join(err, errControl))
	}
	for range 10 {
		waiting, err := (&net.Dialer{Timeout: 100 * time.Millisecond}).DialContext(context.Background(), "tcp", l.address)
		if os.IsTimeout(err) {
			return nil
		} else if err != nil {
			return fmt.Errorf("losing packets at %s: %w", l.address, err)
		}
		l.deaf = append(l.deaf, waiting)
	}
	return fmt.Errorf("losing packets at %s: connections are accepted all the same", l.address)
}

// Pass undoes every fault: frozen connections go on, and new ones are accepted.
func (l *Line) Pass() error {
	l.mu.Lock()
	l.freezing = false
	for p := range l.pairs {
		p.frozen = false
	}
	l.changed.Broadcast()
	refusing := l.listener == nil
	l.mu.Unlock()
	if !refusing {
		return nil
	}
	l.stopListening()
	return l.listen()
}

// Close ends every connection and the line.
func (l *Line) Close() {
	l.Refuse()
	l.serving.Wait()
}

// bind listens at the address again. It retries: an outgoing connection may use the port for a moment.
func (l *Line) bind() (*net.TCPListener, error) {
	var listener net.Listener
	var last error
	err := wait.PollUntilContextTimeout(context.Background(), 10*time.Millisecond, 5*time.Second, true, func(ctx context.Context) (bool, error) {
		listener, last = new(net.ListenConfig).Listen(ctx, "tcp", l.address)
		return last == nil, nil
	})
	bound, ok := listener.(*net.TCPListener)
	if err != nil || !ok {
		return nil, fmt.Errorf("listening at %s: %w", l.address, errors.Join(last, err))
	}
	return bound, nil
}

func (l *Line) listen() error {
	listener, err := l.bind()
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.address, l.listener = listener.Addr().String(), listener
	l.serving.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			l.serving.Go(func() { l.carry(client) })
		}
	})
	return nil
}

func (l *Line) carry(accepted net.Conn) {
	dialled, err := new(net.Dialer).DialContext(context.Background(), "tcp", l.target)
	client, _ := accepted.(*net.TCPConn)
	server, ok := dialled.(*net.TCPConn)
	if err != nil || client == nil || !ok {
		_ = accepted.Close()
		return
	}
	p := &pair{client: client, server: server}
	l.mu.Lock()
	p.frozen = l.freezing
	l.pairs[p] = true
	if l.listener == nil {
		l.end(p)
	}
	l.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { l.move(p, server, client) })
	both.Go(func() { l.move(p, client, server) })
	both.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.end(p)
}

// move copies one direction of a connection until it ends.
func (l *Line) move(p *pair, to, from *net.TCPConn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if !l.awaitThaw(p) {
			return
		}
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				break
			}
		}
		if errors.Is(err, io.EOF) {
			_ = to.CloseWrite() // the other direction may have more to say
			return
		}
		if err != nil {
			break
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.end(p)
}

// awaitThaw waits while the connection is frozen, and reports whether it still exists.
func (l *Line) awaitThaw(p *pair) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p.frozen && !p.ended {
		l.changed.Wait()
	}
	return !p.ended
}

// end resets both halves of the connection. The caller holds the lock.
func (l *Line) end(p *pair) {
	if p.ended {
		return
	}
	p.ended = true
	delete(l.pairs, p)
	for _, half := range []*net.TCPConn{p.client, p.server} {
		_ = half.SetLinger(0)
		_ = half.Close()
	}
	l.changed.Broadcast()
}
