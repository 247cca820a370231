package credential

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
)

const (
	// sharePeriod is the time in which a site may ask the API server once for each of its copies, for what nobody waits for. It is shorter
	// than heardPeriod: what a site has to write then is a part of that, and what came due at the same time is spread over hours.
	sharePeriod = 4 * time.Hour
	// leastShare is how often a site may ask in a minute, if it has few copies.
	leastShare = 60
	// A note of what the product said again costs one request, and to replace a personal access token about this many, in two steps.
	noteCost, replaceCost = 1, 7
)

// share is how many requests a site has left of those since begun.
type share struct {
	begun time.Time
	left  int64
}

// share returns how many requests to the API server a pass over a site with so many copies has, for what nobody waits for. All passes
// within a minute have the same ones.
func (m *Memory) share(site types.NamespacedName, copies int, now time.Time) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	known := m.shares[site]
	passed := now.Sub(known.begun)
	if passed >= 0 && passed < recheckPeriod {
		return known.left
	}
	if passed < 0 || passed > 2*recheckPeriod { // the clock was ahead, or there was no pass
		passed = recheckPeriod
	}
	m.shares[site] = share{begun: now, left: max(leastShare, int64(float64(copies)*passed.Seconds()/sharePeriod.Seconds()))}
	return m.shares[site].left
}

// keepShare keeps what a pass left of its share for the next one.
func (m *Memory) keepShare(site types.NamespacedName, left int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.shares[site] = share{begun: m.shares[site].begun, left: max(left, 0)}
}

// isQuiet reports whether nobody waits for a step, which can be taken in any of the next days.
func (s step) isQuiet() bool { return s == renew || s == retire }

// takes reports whether the pass takes a step, as far as its share is concerned.
func (p *pass) takes(next step) bool {
	return next != leave && (!next.isQuiet() || p.share.Load() >= replaceCost)
}

// spend takes requests from the share of the pass, and reports whether it had them.
func (p *pass) spend(requests int64) bool {
	if p.share.Add(-requests) >= 0 {
		return true
	}
	p.share.Add(requests)
	return false
}
