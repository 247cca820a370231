package site

import (
	"maps"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Memory is what the process remembers of working copies from one pass to the next: when the product was last asked about
// each. Nothing is lost with it.
type Memory struct {
	mu    sync.Mutex
	notes map[types.NamespacedName]map[string]*note
}

// NewMemory returns one that remembers nothing.
func NewMemory() *Memory { return &Memory{notes: map[types.NamespacedName]map[string]*note{}} }

// of is what is remembered of a working copy, which was stored at this time: another one in its place is another matter.
func (m *Memory) of(site types.NamespacedName, name string, stored, now time.Time) *note {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.notes[site] == nil {
		m.notes[site] = map[string]*note{}
	}
	n := m.notes[site][name]
	if n == nil || !n.stored.Equal(stored) {
		n = &note{stored: stored, tried: now, checkAt: nextCheck(name, now)}
		if stored.Add(checkPeriod / 2).After(now) {
			n.checked(name, stored) // by whoever stored it
		}
		m.notes[site][name] = n
	}
	return n
}

// keep forgets all working copies of a site but these.
func (m *Memory) keep(site types.NamespacedName, names map[string]bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.notes[site], func(name string, _ *note) bool { return !names[name] })
	if len(m.notes[site]) == 0 {
		delete(m.notes, site)
	}
}
