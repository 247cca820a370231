package authn

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// pileModel is a pile, and the texts that it must have.
type pileModel struct {
	pile

	texts []string
}

// replace removes an entry and adds one: with another text, or with the same one, as when the status of an APIToken changes.
func (m *pileModel) replace(i int, text string) {
	e := *m.at(position(i))
	if text != e.text {
		e = entry{text: text}
	}
	m.remove(position(i))
	last := len(m.texts) - 1
	m.texts[i] = m.texts[last]
	m.texts = append(m.texts[:last], text)
	m.add(&e)
}

func (m *pileModel) check(t *testing.T) {
	t.Helper()
	used := 0
	for i, want := range m.texts {
		if got := m.at(position(i)).text; got != want {
			t.Fatalf("entry %d has the text %q, want %q", i, got, want)
		}
		used += len(want)
	}
	if used != m.used || len(m.texts) != int(m.size) {
		t.Fatalf("%d entries with %d bytes, want %d with %d", m.size, m.used, len(m.texts), used)
	}
}

// Texts that are no longer in use take no memory for long, though each piece has one that stays. Nothing overwrites what somebody still
// has.
func TestPileFreesOldTexts(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var m pileModel
	add := func(text string) {
		m.texts = append(m.texts, text)
		m.add(&entry{text: text})
	}
	long := strings.Repeat("x", 100)
	for i := range 1000 {
		add(fmt.Sprint(i, long))
	}
	had, copied := m.at(0).text, strings.Clone(m.at(0).text)
	before := liveHeap()
	for i := range 500_000 {
		at := random.IntN(len(m.texts))
		text := m.texts[at]
		if !strings.HasPrefix(text, "lasting") {
			text = fmt.Sprint(i, long)
		}
		m.replace(at, text)
		if i%500 == 0 {
			add(fmt.Sprint("lasting", i, long))
		}
		if i%100_000 == 0 {
			m.check(t)
		}
	}
	m.check(t)
	if grown := liveHeap() - before; grown > 5*m.used {
		t.Errorf("%d bytes of texts take %d bytes more after many changes", m.used, grown)
	}
	if had != copied {
		t.Errorf("a text became %q, and was %q", had, copied)
	}
}

func liveHeap() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// An entry that goes leaves no piece behind.
func TestPileShrinks(t *testing.T) {
	var m pileModel
	for range 3 * pieceEntries {
		m.add(&entry{text: "x"})
	}
	for m.size > 0 {
		m.remove(0)
		if want := (int(m.size) + pieceEntries - 1) / pieceEntries; len(m.pieces) != want {
			t.Fatalf("%d pieces for %d entries, want %d", len(m.pieces), m.size, want)
		}
		if slices.ContainsFunc(m.pieces[len(m.pieces):cap(m.pieces)], func(p *[pieceEntries]entry) bool { return p != nil }) {
			t.Fatalf("a piece that is not in use is not freed at %d entries", m.size)
		}
	}
}
