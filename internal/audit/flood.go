package audit

import (
	"sync"

	"golang.org/x/time/rate"

	"apitokens.dev/operator/internal/authn"
)

// class is the key by which requests are counted. There are few classes: reasons are a closed set, and a class names a site only if
// the caller proved to be the site's ingress. Others could name any number of sites.
type class struct {
	site    authn.SiteName
	verdict authn.Verdict
	reason  authn.Reason
}

func classOf(x Exchange) class {
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

// Each class gets linesPerSecond lines a second, and linesBurst at once. Of a class with user names, the first usersPerSum users
// between two sums get a line each, so that a busy user does not hide a rare one. Further refusals are counted and summed up.
const (
	linesPerSecond = 10
	linesBurst     = 20
	usersPerSum    = 100
)

// tally is the number of refusals of a class that got no line.
type tally struct {
	class
	count uint64
}

// floods decides which refusals get a line, and counts the others exactly.
type floods struct {
	mu      sync.Mutex
	classes map[class]*flood
}

type flood struct {
	limiter *rate.Limiter
	// unwritten is the number of refusals that got no line since the last sum.
	unwritten uint64
	// users are those that were claimed since the last sum.
	users map[string]bool
}

func newFloods() *floods { return &floods{classes: map[class]*flood{}} }

// admit reports whether a refusal gets a line. If not, it counts it. claimed is the user that it names, or empty.
func (f *floods) admit(c class, claimed string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	of := f.of(c)
	if first := of.isFirst(claimed); of.limiter.Allow() || first {
		return true
	}
	of.unwritten++
	return false
}

// count counts a refusal that was admitted and got no line after all.
func (f *floods) count(c class) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.of(c).unwritten++
}

// isFirst reports whether a user is claimed for the first time since the last sum.
func (f *flood) isFirst(claimed string) bool {
	if claimed == "" || f.users[claimed] || len(f.users) == usersPerSum {
		return false
	}
	f.users[claimed] = true
	return true
}

func (f *floods) of(c class) *flood {
	of := f.classes[c]
	if of == nil {
		of = &flood{limiter: rate.NewLimiter(linesPerSecond, linesBurst), users: map[string]bool{}}
		f.classes[c] = of
	}
	return of
}

// take returns the counts since the last call.
func (f *floods) take() []tally {
	f.mu.Lock()
	defer f.mu.Unlock()
	var tallies []tally
	for c, of := range f.classes {
		if of.unwritten > 0 {
			tallies = append(tallies, tally{c, of.unwritten})
			of.unwritten = 0
		}
		clear(of.users)
	}
	return tallies
}
