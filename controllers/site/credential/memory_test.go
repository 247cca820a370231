package credential

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
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
	m.keep(site, map[string]bool{"b": true})
	if of("b", time.Time{}) != b || len(m.notes[site]) != 1 {
		t.Errorf("kept is %v", m.notes)
	}
	if m.keep(site, nil); len(m.notes) != 0 {
		t.Errorf("of a site that is gone %v is kept", m.notes)
	}
}
