// Command forward connects the machine with the test node: it accepts connections on listeners of the machine's network, which
// it inherits from file descriptor 3 on, and dials in the node's network, in which it runs.
//
//	forward FILE
//
// The file has an address for each listener, one a line. The DNS server of the cluster knows their names.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
)

// dns is the address of the cluster's DNS server.
const dns = "10.96.0.10:53"

var dialer = net.Dialer{Resolver: &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, dns)
}}}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "forward:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: forward FILE")
	}
	text, err := os.ReadFile(args[0])
	if err != nil {
		return fmt.Errorf("reading the addresses: %w", err)
	}
	ended := make(chan error)
	for i, address := range strings.Fields(string(text)) {
		listener, err := net.FileListener(os.NewFile(uintptr(3+i), address))
		if err != nil {
			return fmt.Errorf("taking over the listener for %s: %w", address, err)
		}
		go func() { ended <- forward(listener, address) }()
	}
	return <-ended
}

// forward connects each connection of a listener with one to the address.
func forward(from net.Listener, address string) error {
	for {
		client, err := from.Accept()
		if err != nil {
			return fmt.Errorf("accepting a connection for %s: %w", address, err)
		}
		go func() {
			defer func() { _ = client.Close() }()
			server, err := dialer.Dial("tcp", address)
			if err != nil {
				fmt.Fprintln(os.Stderr, "forward:", err)
				return
			}
			defer func() { _ = server.Close() }()
			done := make(chan struct{})
			go func() {
				copyHalf(server, client)
				close(done)
			}()
			copyHalf(client, server)
			<-done
		}()
	}
}

// copyHalf copies until one side ends, and passes the end on.
func copyHalf(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	if half, ok := to.(*net.TCPConn); ok {
		_ = half.CloseWrite()
	}
}
