package audit

import (
	"maps"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"apitokens.dev/operator/internal/authn"
)

// class is the key by which requests are counted. There are few classes: reasons are a closed set, and a class names a site only if
// the caller proved to be the site's ingress. Others could name any number of sites.
type class struct {
	site    authn.SiteName
	verdict authn.Verdict
	reason  authn.Reason
}

func classOf(x *Exchange) class {
	c := class{x.Site, x.Decision.Verdict, x.Decision.Reason}
	if c.verdict == authn.CannotDecide {
		c.site = authn.SiteName{}
	}
	return c
}

// label is the site, or "" if the class names none.
func (c class) label() string {
	if c.site == (authn.SiteName{}) {
		return ""
	}
	return c.site.String()
}

// Each class gets linesPerSum lines between two sums, and linesBurst at once after a quiet time. Of a class with user names, the first
// usersPerSum users between two sums get a line each, so that a busy user does not hide a rare one. Further refusals are counted and
// summed up.
const (
	linesPerSum = 10
	linesBurst  = 20
	usersPerSum = 100
)

// tally is the number of refusals of a class that got no line.
type tally struct {
	class
	count uint64
}

// counted is the requests of a class.
type counted struct {
	words

	requests prometheus.Counter

	mu sync.Mutex
	// lines is how many refusals may get a line now. unwritten is how many got none since the last sum.
	lines, unwritten uint64
	// users are those that were claimed since the last sum.
	users map[string]bool
}

// admit reports whether a refusal gets a line. If not, it counts it. claimed is the user that it names, or empty.
func (c *counted) admit(claimed string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := c.isFirst(claimed)
	switch {
	case c.lines > 0:
		c.lines--
		return true
	case !first:
		c.unwritten++
	}
	return first
}

// count counts a refusal that was admitted and got no line after all.
func (c *counted) count() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unwritten++
}

// isFirst reports whether a user is claimed for the first time since the last sum.
func (c *counted) isFirst(claimed string) bool {
	if claimed == "" || c.users[claimed] || len(c.users) == usersPerSum {
		return false
	}
	c.users[claimed] = true
	return true
}

// take returns how many refusals got no line since the last call.
func (c *counted) take() (unwritten uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	unwritten, c.unwritten = c.unwritten, 0
	c.lines = min(c.lines+linesPerSum, linesBurst)
	clear(c.users)
	return unwritten
}

// classes are the requests by class. To find those of a class takes no lock, and allocates nothing.
type classes struct {
	vector *prometheus.CounterVec
	// mu guards the replacement of known. The map itself never changes.
	mu    sync.Mutex
	known atomic.Pointer[map[class]*counted]
}

func newClasses(vector *prometheus.CounterVec) *classes {
	c := &classes{vector: vector}
	c.known.Store(&map[class]*counted{})
	return c
}

func (c *classes) of(k class) *counted {
	if known := (*c.known.Load())[k]; known != nil {
		return known
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	all := maps.Clone(*c.known.Load())
	if all[k] == nil { // another request may have been faster
		all[k] = &counted{
			words: newWords(k), requests: c.vector.WithLabelValues(k.label(), k.verdict.String(), string(k.reason)),
			lines: linesBurst, users: map[string]bool{},
		}
	}
	c.known.Store(&all)
	return all[k]
}

// take returns the refusals that got no line since the last call.
func (c *classes) take() (tallies []tally) {
	for k, of := range *c.known.Load() {
		if n := of.take(); n > 0 {
			tallies = append(tallies, tally{k, n})
		}
	}
	return tallies
}
