package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// load is HTTP requests to a server, which all get the same status.
type load struct {
	address string
	// secure is how to speak TLS, or nil.
	secure      *tls.Config
	connections int
	// reconnects means that each request has a connection of its own.
	reconnects bool
	// requests are sent one after the other.
	requests [][]byte
	status   string
	// rate is the number of requests a second, or 0 for as many as possible.
	rate float64
	// clients are the connections, from the first request on.
	clients []*client
}

// client is one connection of a load.
type client struct {
	*load

	conn net.Conn
	in   *bufio.Reader
	next int
}

var errAnswer = errors.New("the answer is another one")

// run sends requests for some time over new connections. It returns how long each took, from when it was due.
func (l *load) run(duration time.Duration) (latencies []time.Duration, err error) {
	latencies, err = l.runOn(duration)
	for _, c := range l.clients {
		c.disconnect()
	}
	return latencies, err
}

// runOn sends requests as run does, but over the connections of the last call. They stay open until the bench ends.
func (l *load) runOn(duration time.Duration) (latencies []time.Duration, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), duration)
	defer cancel()
	var (
		due   atomic.Int64
		mu    sync.Mutex
		group sync.WaitGroup
		begun = time.Now()
	)
	for i := len(l.clients); i < l.connections; i++ {
		l.clients = append(l.clients, &client{load: l, next: i * len(l.requests) / l.connections})
	}
	for _, c := range l.clients {
		group.Go(func() {
			took, failed := c.run(ctx, begun, &due)
			mu.Lock()
			defer mu.Unlock()
			latencies = append(latencies, took...)
			err = errors.Join(err, failed)
		})
	}
	group.Wait()
	return latencies, err
}

// run sends requests until ctx is done.
func (c *client) run(ctx context.Context, begun time.Time, due *atomic.Int64) (latencies []time.Duration, err error) {
	for ctx.Err() == nil {
		at := time.Now()
		if c.rate > 0 {
			at = waitUntil(begun.Add(time.Duration(float64(due.Add(1)) / c.rate * float64(time.Second))))
		}
		if err := c.send(); err != nil {
			return latencies, err
		}
		latencies = append(latencies, time.Since(at))
	}
	return latencies, nil
}

// waitUntil waits until a request is due, and returns when that was. A timer that is late delays the request, but a busy connection
// does not.
func waitUntil(due time.Time) time.Time {
	left := time.Until(due)
	if left <= 0 {
		return due
	}
	<-time.After(left)
	return time.Now()
}

// send sends one request, and reads its answer.
func (c *client) send() error {
	if c.conn == nil {
		if err := c.connect(); err != nil {
			return err
		}
	}
	request := c.requests[c.next%len(c.requests)]
	c.next++
	if _, err := c.conn.Write(request); err != nil {
		return fmt.Errorf("sending a request: %w", err)
	}
	if err := c.read(); err != nil {
		return err
	}
	if c.reconnects {
		c.disconnect()
	}
	return nil
}

func (c *client) disconnect() {
	if c.conn != nil {
		_ = c.conn.Close()
	}
	c.conn = nil
}

func (c *client) connect() error {
	conn, err := net.Dial("tcp", c.address)
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	if c.conn = conn; c.secure != nil {
		c.conn = tls.Client(conn, c.secure)
	}
	if c.reconnects {
		_ = conn.(*net.TCPConn).SetLinger(0) // else no port is left soon
	}
	if c.in == nil {
		c.in = bufio.NewReader(c.conn)
	}
	c.in.Reset(c.conn)
	return nil
}

// read reads an answer.
func (c *client) read() error {
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return fmt.Errorf("reading an answer: %w", err)
	}
	if !bytes.HasPrefix(line, []byte(c.status)) {
		return fmt.Errorf("%w: %q, want %s", errAnswer, line, c.status)
	}
	body := 0
	for len(line) > len("\r\n") {
		if line, err = c.in.ReadSlice('\n'); err != nil {
			return fmt.Errorf("reading an answer: %w", err)
		}
		if length, has := bytes.CutPrefix(line, []byte("Content-Length: ")); has {
			if body, err = strconv.Atoi(string(bytes.TrimSpace(length))); err != nil {
				return fmt.Errorf("reading the length of an answer: %w", err)
			}
		}
	}
	if _, err := c.in.Discard(body); err != nil {
		return fmt.Errorf("reading an answer: %w", err)
	}
	return nil
}

// p99 returns the latency that 99 of a hundred requests do not exceed.
func p99(latencies []time.Duration) time.Duration {
	slices.Sort(latencies)
	return latencies[len(latencies)*99/100]
}
