package credential

import (
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"apitokens.dev/operator/internal/upstream"
)

func TestMemory(t *testing.T) {
	m, site := NewMemory(), types.NamespacedName{Namespace: "dev", Name: "main"}
	of := func(name string, stored time.Time) *note { return m.of(site, name, stored, time.Time{}, noon) }
	a := of("a", noon)
	a.stuck = true
	if of("a", noon) != a {
		t.Error("it is not remembered")
	}
	if other := of("a", noon.Add(1)); other.stuck || other.checkAt.Sub(noon) < checkPeriod/2 {
		t.Error("another one in its place is taken for it, or checked just after it was stored")
	}
	if old := of("a", noon.Add(-day)); !old.checkAt.Equal(nextCheck("a", noon)) {
		t.Errorf("one that was stored long ago is checked at %s", old.checkAt)
	}
	b := of("b", time.Time{})
	m.keep(site, func(name string) bool { return name == "b" })
	if of("b", time.Time{}) != b || len(m.notes[site]) != 1 {
		t.Errorf("kept is %v", m.notes)
	}
	if m.forgetSite(site); len(m.notes) != 0 {
		t.Errorf("of a site that is gone %v is kept", m.notes)
	}
}

// The oldest answer is that about the copy that waited longest. One for another upstream does not wait, and of one that was never
// asked about, the process knows only since when it has seen it.
func TestOldestCheck(t *testing.T) {
	m, site := NewMemory(), types.NamespacedName{Namespace: "dev", Name: "main"}
	of := func(name string, answered time.Time, changes ...change) state {
		s := held(upstream.Given)
		s.name = name
		s.note = m.of(site, name, time.Time{}, answered, noon)
		for _, change := range changes {
			change(&s)
		}
		return s
	}
	all := []state{
		of("a", noon.Add(-time.Hour)), of("b", noon.Add(-heardPeriod-2*time.Hour)), of("c", noon.Add(-day), moved), of("d", time.Time{}), of("e", noon.Add(-day), garbled),
	}
	note := func() {
		for _, s := range all {
			m.looked(site, slices.Values([]look{{name: s.name, answered: s.lastAnswered()}}), false)
		}
	}
	note()
	if got := m.Oldest(); len(got) != 1 || !got[site].Equal(noon.Add(-2*time.Hour)) {
		t.Errorf("the oldest are %v", got)
	}
	all[1].checked("b", noon)
	all[0].checked("a", noon)
	note()
	if got := m.Oldest(); !got[site].Equal(noon) {
		t.Errorf("after both were checked, the oldest are %v", got)
	}
	for _, s := range all {
		m.forget(site, s.name)
	}
	if got := m.Oldest(); len(got) != 0 {
		t.Errorf("without copies, the oldest are %v", got)
	}
}
