package credential

import (
	"maps"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Memory remembers, from one pass to the next, when the product was last asked about each working copy. A restart loses it
// without harm.
type Memory struct {
	mu    sync.Mutex
	notes map[types.NamespacedName]map[string]*note
	// oldest is when the product last answered about the copy that has waited longest.
	oldest map[types.NamespacedName]time.Time
}

// NewMemory returns an empty memory.
func NewMemory() *Memory {
	return &Memory{notes: map[types.NamespacedName]map[string]*note{}, oldest: map[types.NamespacedName]time.Time{}}
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
	if len(m.notes[site]) == 0 {
		delete(m.notes, site)
		delete(m.oldest, site)
	}
}
