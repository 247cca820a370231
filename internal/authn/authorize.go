package authn

import (
	"net/netip"

	"apitokens.dev/operator/internal/pathprefix"
)

// Limits narrow what a token may do. The zero value narrows nothing.
type Limits struct {
	// ReadOnly allows only methods that change nothing.
	ReadOnly bool
	// Sources are the only networks that requests may come from. Nil means any.
	Sources []netip.Prefix
	// Paths are the only paths below the context path, each with everything below it. Nil means any.
	Paths []string
}

// forbid returns the reason why the limits forbid a request, or "".
func (l *Limits) forbid(method string, client netip.Addr, path []byte) Reason {
	switch {
	case !l.allowsSource(client):
		return ReasonSourceNotAllowed
	case l.ReadOnly && !changesNothing(method):
		return ReasonReadOnly
	case !l.allowsPath(path):
		return ReasonPathNotAllowed
	}
	return ""
}

func (l *Limits) allowsSource(client netip.Addr) bool {
	for _, network := range l.Sources {
		if network.Contains(client) {
			return true
		}
	}
	return l.Sources == nil
}

func (l *Limits) allowsPath(path []byte) bool {
	for _, p := range l.Paths {
		if pathprefix.Covers(p, path) {
			return true
		}
	}
	return l.Paths == nil
}

// changesNothing reports whether a method only reads. Methods are case-sensitive, and an unknown one could do anything.
func changesNothing(method string) bool {
	return method == "GET" || method == "HEAD" || method == "OPTIONS"
}
