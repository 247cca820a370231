// Package ports finds free ports for the servers of tests.
package ports

import (
	"fmt"
	"math/rand/v2"
	"net"
)

// Free returns loopback addresses on which no process listens. Their ports lie below 32768, where Linux begins with the
// ports of outgoing connections, so that no connection takes one by chance before the test does.
func Free(n int) ([]string, error) {
	const lowest, highest = 10_000, 32_000
	var addresses []string
	for range 100 * n {
		if len(addresses) == n {
			break
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", lowest+rand.IntN(highest-lowest)))
		if err != nil {
			continue // in use
		}
		defer func() { _ = l.Close() }()
		addresses = append(addresses, l.Addr().String())
	}
	if len(addresses) < n {
		return nil, fmt.Errorf("looking for %d free ports between %d and %d: found %d", n, lowest, highest, len(addresses))
	}
	return addresses, nil
}
