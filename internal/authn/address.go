package authn

import (
	"net/netip"
	"slices"
	"strings"
)

// Client says where a request came from, as the gateway describes it.
type Client struct {
	// Address is the peer of the gateway's connection.
	Address string
	// Forwarded has the values of the X-Forwarded-For headers. The gateway has appended Address to them.
	Forwarded []string
}

// address returns the client's address, or the zero Addr if it is unknown. With trusted proxies in front of the gateway it
// is the address that the first of them added. Anybody could have written what stands before that.
func (c Client) address(trustedHops int) netip.Addr {
	text := c.Address
	if trustedHops > 0 {
		text = c.fromRight(trustedHops)
	}
	// A zone means nothing on another machine, and netip would remember each one for ever.
	if text == "" || strings.Contains(text, "%") {
		return netip.Addr{}
	}
	return parseAddress(text).Unmap()
}

// parseAddress reads an address as proxies write it: with or without a port, an IPv6 address with or without brackets. It
// returns the zero Addr for any other text.
func parseAddress(text string) netip.Addr {
	bracket := strings.HasPrefix(text, "[")
	inner, closed := strings.CutSuffix(text, "]")
	// After an error, the parsers return the zero value.
	switch {
	case bracket && closed:
		if a, _ := netip.ParseAddr(inner[1:]); a.Is6() {
			return a
		}
		return netip.Addr{}
	case bracket, strings.Count(text, ":") == 1:
		a, _ := netip.ParseAddrPort(text)
		return a.Addr()
	}
	a, _ := netip.ParseAddr(text)
	return a
}

// fromRight returns the nth address from the right, counted from 0, or "".
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
