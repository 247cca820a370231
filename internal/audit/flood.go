package audit

import (
	"sync"

	"golang.org/x/time/rate"

	"apitokens.dev/operator/internal/authn"
)

// class is what refusals are counted by when there are too many to tell one by one. There are few classes: a site stands
// in it only if the caller proved that it is the site's ingress, and reasons are a closed set.
type class struct {
	site    string
	verdict authn.Verdict
	reason  authn.Reason
}

func classOf(x Exchange) class {
	return class{siteLabel(x), x.Decision.Verdict, x.Decision.Reason}
}

// Of each class, so many refusals a second get lines of their own. The others are counted, and told once a second.
const (
	linesPerSecond = 10
	linesBurst     = 20
)

// tally is what a flood left untold.
type tally struct {
	class
	count uint64
}

// floods decides which refusals are told one by one, and counts the others exactly.
type floods struct {
	mu      sync.Mutex
	classes map[class]*flood
}

type flood struct {
	limiter *rate.Limiter
	untold  uint64
}

func newFloods() *floods { return &floods{classes: map[class]*flood{}} }

// admit reports whether a refusal gets a line of its own. If not, it is counted.
func (f *floods) admit(c class) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	of := f.of(c)
	if of.limiter.Allow() {
		return true
	}
	of.untold++
	return false
}

// count counts a refusal that got no line of its own after all.
func (f *floods) count(c class) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.of(c).untold++
}

func (f *floods) of(c class) *flood {
	of := f.classes[c]
	if of == nil {
		of = &flood{limiter: rate.NewLimiter(linesPerSecond, linesBurst)}
		f.classes[c] = of
	}
	return of
}

// take returns what was counted since the last time.
func (f *floods) take() []tally {
	f.mu.Lock()
	defer f.mu.Unlock()
	var tallies []tally
	for c, of := range f.classes {
		if of.untold > 0 {
			tallies = append(tallies, tally{c, of.untold})
			of.untold = 0
		}
	}
	return tallies
}
