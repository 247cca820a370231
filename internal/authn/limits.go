package authn

import (
	"net/netip"
	"strings"
	"time"

	"apitokens.dev/operator/internal/lifetime"
)

// Limits narrow what a token may do. The zero value narrows nothing.
type Limits struct {
	// ReadOnly lets pass what changes nothing.
	ReadOnly bool
	// Sources are the only networks that requests may come from, Paths the only paths below the context path, each with
	// all that is below it. Nil means any.
	Sources []netip.Prefix
	Paths   []string
}

// allows returns why a request is refused, or nothing.
func (l *Limits) allows(method string, client netip.Addr, below []byte) Reason {
	switch {
	case !l.allowsSource(client):
		return ReasonSourceNotAllowed
	case l.ReadOnly && !changesNothing(method):
		return ReasonReadOnly
	case !l.allowsPath(below):
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

func (l *Limits) allowsPath(below []byte) bool {
	for _, p := range l.Paths {
		p = strings.TrimSuffix(p, "/")
		if len(below) >= len(p) && string(below[:len(p)]) == p && (len(below) == len(p) || below[len(p)] == '/') {
			return true
		}
	}
	return l.Paths == nil
}

// changesNothing: methods are case-sensitive, and one that is not known could do anything.
func changesNothing(method string) bool {
	return method == "GET" || method == "HEAD" || method == "OPTIONS"
}

// standing returns why even the right secret of a token does not authenticate, or nothing. All of it is read live: a change of
// APIToken or site takes effect when it is seen, and time when it comes.
func (ix *Index) standing(s *site, e *entry, secret int, at SiteName, now time.Time) Reason {
	t := e.token
	switch {
	case t.Namespace != at.Namespace && !ix.allowsNamespace(s, t.Namespace):
		return ReasonNamespaceNotAllowed
	case t.Suspended:
		return ReasonSuspended
	}
	return standings[lifetime.ValidityOf(&e.record.Entries[secret], t.Lifetime, s.lifetime, now)]
}

var standings = [...]Reason{
	lifetime.Valid: "", lifetime.Expired: ReasonExpired, lifetime.Replaced: ReasonReplaced, lifetime.Revoked: ReasonRevokedByEpoch,
}

// allowsNamespace: of a namespace that is not known nothing is known either.
func (ix *Index) allowsNamespace(s *site, namespace string) bool {
	labels, known := ix.namespaces[namespace]
	return known && s.allowsNamespace != nil && s.allowsNamespace(labels)
}
