package credential

import (
	"iter"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/source"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/internal/watch"
	"apitokens.dev/operator/internal/enrolment"
	"apitokens.dev/operator/internal/upstream"
)

// Memory remembers, from one pass to the next, when the product was last asked about each working copy, which answers others wait for,
// and when to look at each copy again. A restart loses it without harm: the first pass looks at all, and who waits asks again.
type Memory struct {
	mu    sync.Mutex
	notes map[types.NamespacedName]map[string]*note
	// asked is the time since which somebody wants to know the owner of a working copy.
	asked map[types.NamespacedName]map[string]time.Time
	// shares are what sites may ask of the API server in the present minute, for what nobody waits for.
	shares  map[types.NamespacedName]share
	agendas map[types.NamespacedName]*agenda
	// told means that SecretChanged and Changed are called for each change. Until then each pass looks at all.
	told bool
	// calls are for passes over sites.
	calls watch.Calls
}

// NewMemory returns an empty memory.
func NewMemory() *Memory {
	return &Memory{
		notes: map[types.NamespacedName]map[string]*note{}, asked: map[types.NamespacedName]map[string]time.Time{},
		shares: map[types.NamespacedName]share{}, agendas: map[types.NamespacedName]*agenda{},
	}
}

// Source has a controller make a pass over each site for which Ask is called. The controller in turn tells what changed.
func (m *Memory) Source() source.Source {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.told = true
	return m.calls.Source()
}

// SecretChanged has the next pass over a site look at the working copy that a Secret of a type and a name holds or is about. Other types
// are nothing to it.
func (m *Memory) SecretChanged(site types.NamespacedName, secretType corev1.SecretType, name string) {
	switch secretType {
	case upstream.SecretType:
		m.Changed(site, name)
	case enrolment.SecretType:
		m.Changed(site, enrolment.CopyOf(name))
	}
}

// Changed has the next pass over a site look at a working copy, or at all if the name is empty. The first pass looks at all anyway.
func (m *Memory) Changed(site types.NamespacedName, copyName string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.change(site, copyName)
}

// change is Changed under the lock.
func (m *Memory) change(site types.NamespacedName, copyName string) {
	if a := m.agendas[site]; a != nil {
		a.change(copyName)
	}
}

func (m *Memory) agenda(site types.NamespacedName) *agenda {
	a := m.agendas[site]
	if a == nil {
		a = newAgenda()
		m.agendas[site] = a
	}
	return a
}

// begin returns the names of the working copies that a pass has to look at, or true for all.
func (m *Memory) begin(s *tokensv1alpha1.AtlassianSite, now time.Time) (names []string, all bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	names, all = m.agenda(client.ObjectKeyFromObject(s)).begin(s, now)
	return names, all || !m.told
}

// looked notes when to look again at what a pass has looked at, and whether that was all. It returns the number of copies.
func (m *Memory) looked(site types.NamespacedName, again iter.Seq[look], all bool) (copies int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.agenda(site)
	for l := range again {
		a.put(l)
	}
	if all {
		a.whole = a.begun
	}
	return a.copies
}

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
	m.change(site, copyName)
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

// Oldest returns when the product last answered about the copy of each site that has waited longest. Those that are for another
// upstream do not wait.
func (m *Memory) Oldest() map[types.NamespacedName]time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	oldest := map[types.NamespacedName]time.Time{}
	for site, a := range m.agendas {
		if l, found := a.byAnswered.Min(); found {
			oldest[site] = l.answered
		}
	}
	return oldest
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

// keep forgets the names of a site that are not to be kept.
func (m *Memory) keep(site types.NamespacedName, kept func(name string) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.notes[site], func(name string, _ *note) bool { return !kept(name) })
	maps.DeleteFunc(m.asked[site], func(name string, _ time.Time) bool { return !kept(name) })
	a := m.agenda(site)
	for name := range a.byName {
		if !kept(name) {
			a.remove(name)
		}
	}
}

// forgetSite forgets everything about a site.
func (m *Memory) forgetSite(site types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.notes, site)
	delete(m.asked, site)
	delete(m.shares, site)
	delete(m.agendas, site)
}

// forget forgets a name of a site.
func (m *Memory) forget(site types.NamespacedName, name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.notes[site], name)
	delete(m.asked[site], name)
	m.agenda(site).remove(name)
}
