package credential

import (
	"maps"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"apitokens.dev/operator/controllers/internal/watch"
	"apitokens.dev/operator/internal/enrolment"
)

// Memory remembers, from one pass to the next, when the product was last asked about each working copy, and which answers others
// wait for. A restart loses it without harm: who waits asks again.
type Memory struct {
	mu    sync.Mutex
	notes map[types.NamespacedName]map[string]*note
	// oldest is when the product last answered about the copy that has waited longest.
	oldest map[types.NamespacedName]time.Time
	// asked is the time since which somebody wants to know the owner of a working copy.
	asked map[types.NamespacedName]map[string]time.Time
	// shares are what sites may ask of the API server in the present minute, for what nobody waits for.
	shares map[types.NamespacedName]share
	// calls are for passes over sites.
	calls watch.Calls
}

// NewMemory returns an empty memory.
func NewMemory() *Memory {
	return &Memory{
		notes: map[types.NamespacedName]map[string]*note{}, oldest: map[types.NamespacedName]time.Time{},
		asked: map[types.NamespacedName]map[string]time.Time{}, shares: map[types.NamespacedName]share{},
	}
}

// Source has a controller make a pass over each site for which Ask is called.
func (m *Memory) Source() source.Source { return m.calls.Source() }

// Ask has the product name the owner of a working copy at this time or later. The answer is published in the enrolment. To ask again
// for the same costs nothing.
func (m *Memory) Ask(site types.NamespacedName, copyName string, since time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !since.After(m.asked[site][copyName]) {
		return
	}
	if m.asked[site] == nil {
		m.asked[site] = map[string]time.Time{}
	}
	m.asked[site][copyName] = since
	m.calls.For(site)
}

// again has the next pass over a site made at once.
func (m *Memory) again(site types.NamespacedName) { m.calls.For(site) }

// wanted returns the time since which somebody wants to know the owner of a working copy. It is zero if nobody does, or if the
// enrolment says it. A time to come is no answer, and is not waited for: then the clock was ahead.
func (m *Memory) wanted(site types.NamespacedName, copyName string, e enrolment.Enrolment, now time.Time) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	since := m.asked[site][copyName]
	if since.After(now) {
		since = now.Truncate(time.Second) // as answers are
		m.asked[site][copyName] = since
	}
	if e.Name != "" && !e.Checked.Before(since) && !e.Checked.After(now) {
		delete(m.asked[site], copyName)
		return time.Time{}
	}
	return since
}

// Oldest returns when the product last answered about the copy of each site that has waited longest.
func (m *Memory) Oldest() map[types.NamespacedName]time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.oldest)
}

// noteOldest notes the oldest answer about the copies of a site. Those that are for another upstream are not checked.
func (m *Memory) noteOldest(site types.NamespacedName, all []state) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.oldest, site)
	for _, s := range all {
		if !s.readable || s.moved() {
			continue
		}
		answered := s.answered
		if answered.Before(s.seen) {
			answered = s.seen // nobody knows when it was asked before
		}
		if oldest, known := m.oldest[site]; !known || answered.Before(oldest) {
			m.oldest[site] = answered
		}
	}
}

// of returns the note of a working copy that was stored at this time, and about which the product last answered at another. Another
// copy under the same name gets a new note, and so does a copy whose note was made while the clock was ahead. The note belongs to the
// caller until the pass over its site ends: there is one pass over a site at a time.
func (m *Memory) of(site types.NamespacedName, name string, stored, answered, now time.Time) *note {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.notes[site] == nil {
		m.notes[site] = map[string]*note{}
	}
	n := m.notes[site][name]
	if n != nil && n.stored.Equal(stored) && !n.isAhead(now) {
		return n
	}
	n = &note{stored: stored, checkAt: nextCheck(name, now)}
	if answered.Before(stored) { // what is stored was confirmed before
		answered = stored
	}
	if answered.IsZero() || answered.After(now) {
		answered = time.Time{}
	}
	n.answered, n.tried, n.seen = answered, answered, now
	if late := answered.Add(heardPeriod); !answered.IsZero() && late.Before(now) {
		n.seen = late
	}
	if answered.Add(checkPeriod / 2).After(now) {
		n.checked(name, answered)
	}
	m.notes[site][name] = n
	return n
}

// keep forgets the working copies of a site except these.
func (m *Memory) keep(site types.NamespacedName, names map[string]bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.notes[site], func(name string, _ *note) bool { return !names[name] })
	maps.DeleteFunc(m.asked[site], func(name string, _ time.Time) bool { return !names[name] })
	if len(m.notes[site]) == 0 {
		delete(m.notes, site)
		delete(m.oldest, site)
		delete(m.asked, site)
		delete(m.shares, site)
	}
}
