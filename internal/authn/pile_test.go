package authn

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// pileModel is a pile, and the texts that it must have. The place and the limits of each entry have its text too, so that a mixture shows.
type pileModel struct {
	pile

	texts []string
}

// entryWith returns an entry with a text. One of three has rare parts.
func entryWith(text string) *entry {
	e := &entry{packed: &packed{}, text: text, place: &place{namespace: text[:min(2, len(text))]}}
	e.ends[texts-1] = uint32(len(text))
	if len(text)%3 == 0 {
		e.rare = &rare{ancestors: []string{text}}
	}
	return e
}

// replace removes an entry and adds one: with another text, or with the same one, as when the status of an APIToken changes.
func (m *pileModel) replace(i int, text string) {
	e := new(m.at(position(i))).clone()
	if text != e.text {
		at := e.textAt
		e = entryWith(text)
		e.textAt = at // however wrong it is
	}
	m.remove(position(i))
	last := len(m.texts) - 1
	m.texts[i] = m.texts[last]
	m.texts = append(m.texts[:last], text)
	m.add(e)
}

func (m *pileModel) check(t *testing.T) {
	t.Helper()
	used := 0
	for i, want := range m.texts {
		wanted := entryWith(want)
		if got := m.at(position(i)); got.text != want || *got.place != *wanted.place || !reflect.DeepEqual(got.rare, wanted.rare) {
			t.Fatalf("entry %d has the text %q, place %v, and rare parts %v, want %q", i, got.text, got.place, got.rare, want)
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
		m.add(entryWith(text))
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
		m.add(entryWith("x"))
	}
	for m.size > 0 {
		m.remove(0)
		if want := (int(m.size) + pieceEntries - 1) / pieceEntries; len(m.pieces) != want {
			t.Fatalf("%d pieces for %d entries, want %d", len(m.pieces), m.size, want)
		}
		if slices.ContainsFunc(m.pieces[len(m.pieces):cap(m.pieces)], func(p *[pieceEntries]packed) bool { return p != nil }) {
			t.Fatalf("a piece that is not in use is not freed at %d entries", m.size)
		}
	}
}

// The garbage collector has nothing to look at in what a pile has of each entry, and a piece is as large as a block of the allocator.
func TestPackedEntriesHaveNoPointers(t *testing.T) {
	var look func(reflect.Type, string)
	look = func(of reflect.Type, at string) {
		switch of.Kind() {
		case reflect.Struct:
			for field := range of.Fields() {
				look(field.Type, at+"."+field.Name)
			}
		case reflect.Array:
			look(of.Elem(), at)
		case reflect.Pointer, reflect.String, reflect.Slice, reflect.Map, reflect.Interface, reflect.Func, reflect.Chan, reflect.UnsafePointer:
			t.Errorf("%s is a %s", at, of)
		}
	}
	look(reflect.TypeFor[packed](), "packed")
	if size := reflect.TypeFor[packed]().Size(); size != 128 {
		t.Errorf("an entry has %d bytes", size)
	}
}

// Places and rare parts that no entry has any more take no memory: their numbers are used again.
func TestPileForgetsWhatNoEntryHas(t *testing.T) {
	var m pileModel
	for i := range 10_000 {
		text := fmt.Sprint(i%1000, strings.Repeat("y", 1+i%3))
		m.texts = append(m.texts, text)
		m.add(entryWith(text))
		if i >= 100 {
			m.remove(0)
			last := len(m.texts) - 1
			m.texts[0] = m.texts[last]
			m.texts = m.texts[:last]
		}
	}
	m.check(t)
	if len(m.places.list) > 101 || len(m.rares.list) > 101 || len(m.pile.texts) > 8 {
		t.Errorf("100 entries take %d places, %d rare parts, %d pieces of text", len(m.places.list), len(m.rares.list), len(m.pile.texts))
	}
	for m.size > 0 {
		m.remove(0)
	}
	if n := len(m.places.known); n != 0 {
		t.Errorf("%d places of no entry", n)
	}
	for _, of := range m.places.list {
		if of != nil {
			t.Errorf("the place %v of no entry", of)
		}
	}
	if i := slices.IndexFunc(m.rares.list, func(r *rare) bool { return r != nil }); i >= 0 {
		t.Errorf("rare parts of no entry: %v", m.rares.list[i])
	}
}
