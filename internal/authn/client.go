package authn

import (
	"net/netip"
	"slices"
	"strings"
)

// Client is where a request came from, as the gateway tells it.
type Client struct {
	// Address is who connected to the gateway.
	Address string
	// Forwarded are the X-Forwarded-For headers, to which the gateway has added that address.
	Forwarded []string
}

// address returns the client's address, or the zero Addr. Behind so many trusted proxies it is what the first of them
// added; whatever stands before that could have been written by anybody.
func (c Client) address(trustedHops int) netip.Addr {
	text := c.Address
	if trustedHops > 0 {
		text = c.fromRight(trustedHops)
	}
	// A zone is of no use to anybody else, and would be remembered for ever.
	if text == "" || strings.IndexByte(text, '%') >= 0 {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap()
}

// fromRight returns the nth address from the right, counted from 0, or nothing.
func (c Client) fromRight(n int) string {
	for _, header := range slices.Backward(c.Forwarded) {
		for rest, more := header, true; more; n-- {
			var last string
			if comma := strings.LastIndexByte(rest, ','); comma >= 0 {
				rest, last = rest[:comma], rest[comma+1:]
			} else {
				last, more = rest, false
			}
			if n == 0 {
				return strings.Trim(last, " \t")
			}
		}
	}
	return ""
}
