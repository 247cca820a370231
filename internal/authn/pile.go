package authn

import (
	"slices"
	"strings"
)

const (
	// pieceEntries is the number of entries in a piece, and pieceText that of the bytes of their texts.
	pieceEntries = 256
	pieceText    = 64 << 10
	// moved is how many texts are moved with each entry that is added or removed, while texts are moved.
	moved = 4
)

// pile is a list of entries. They and their texts lie side by side in large pieces of memory without pointers: otherwise the garbage
// collector would take longer to look at all of them than many requests take.
//
// A text is never overwritten, because decisions have parts of it. So that old pieces do not stay for the sake of few entries, all texts
// move to new ones when more than half of what was written is no longer in use. Then the pile forgets the old pieces, and each is freed
// when no decision has a part of it.
type pile struct {
	pieces []*[pieceEntries]packed
	size   position
	// texts are the pieces of text. One that is forgotten is empty, and its number is in vacant. old are those that texts move out of.
	texts       []string
	vacant, old []uint32
	// open is the piece that texts are written to, and openAt its number.
	open   strings.Builder
	openAt uint32
	// written is how many bytes were written since all texts last began to move, and used is how many are in use.
	written, used int
	// left is how many entries have texts that still move.
	left position
	// places and rares are the rest of the entries.
	places places
	rares  rares
}

// span is where a text begins: in a piece.
type span struct{ piece, start uint32 }

// at returns an entry. It is right until an entry is added or removed.
func (p *pile) at(i position) entry { return p.entry(p.packed(i)) }

// packed returns what the pile has of an entry. It stays where it is until an entry is removed.
func (p *pile) packed(i position) *packed { return &p.pieces[i/pieceEntries][i%pieceEntries] }

// entry returns the entry of what the pile has.
func (p *pile) entry(e *packed) entry {
	return entry{e, p.text(e.textAt, e.ends[texts-1]), p.places.list[e.placeAt], p.rares.at(e.rareAt)}
}

func (p *pile) tokenID(i position) string {
	e := p.packed(i)
	return p.text(e.textAt, e.ends[textTokenID])[e.ends[textTokenID-1]:]
}

func (p *pile) text(at span, length uint32) string { return p.texts[at.piece][at.start:][:length] }

// add adds a copy of an entry at the end.
func (p *pile) add(e *entry) {
	if int(p.size) == len(p.pieces)*pieceEntries {
		p.pieces = append(p.pieces, new([pieceEntries]packed))
	}
	p.size++
	added := p.packed(p.size - 1)
	*added = *e.packed
	added.placeAt, added.rareAt = p.places.add(*e.place), p.rares.add(e.rare)
	p.used += len(e.text)
	if p.left > 0 || !p.has(e) { // nothing new may begin in an old piece while texts move
		p.keep(added, e.text)
	}
	p.tidy()
}

// has reports whether the pile still has the text of an entry, where it had it when the entry was removed.
func (p *pile) has(e *entry) bool {
	at := e.textAt
	if int(at.piece) >= len(p.texts) {
		return false
	}
	piece := p.texts[at.piece]
	return len(piece) > int(at.start) && strings.HasPrefix(piece[at.start:], e.text)
}

// remove removes an entry. The last one takes its place.
func (p *pile) remove(i position) {
	e, last := p.packed(i), p.packed(p.size-1)
	p.used -= int(e.ends[texts-1])
	p.places.remove(e.placeAt)
	p.rares.remove(e.rareAt)
	*e = *last
	*last = packed{}
	p.size--
	if p.left = min(p.left, p.size); p.size%pieceEntries == 0 {
		p.pieces = slices.Delete(p.pieces, int(p.size/pieceEntries), len(p.pieces)) // not only cut off: then it would not be freed
	}
	p.tidy()
}

// keep writes the text of an entry to the open piece.
func (p *pile) keep(e *packed, text string) {
	if p.open.Cap()-p.open.Len() <= len(text) {
		p.open.Reset()
		p.open.Grow(max(pieceText, len(text)))
		p.openAt = vacancy(&p.texts, &p.vacant)
	}
	e.textAt = span{p.openAt, uint32(p.open.Len())}
	p.open.WriteString(text)
	p.texts[p.openAt] = p.open.String()
	p.written += len(text)
}

// tidy moves some texts to new pieces, if they have to move. When none is left in the old ones, it forgets those.
func (p *pile) tidy() {
	if p.left == 0 && p.written > 2*p.used+pieceText {
		p.left, p.written = p.size, 0
		p.open.Reset()
		for i, piece := range p.texts {
			if piece != "" {
				p.old = append(p.old, uint32(i))
			}
		}
	}
	for range min(p.left, moved) {
		p.left--
		e := p.at(p.left)
		p.keep(e.packed, e.text)
	}
	if p.left > 0 {
		return
	}
	for _, i := range p.old {
		p.texts[i] = ""
	}
	p.vacant, p.old = append(p.vacant, p.old...), nil
}

// vacancy returns the number of a vacant item of a list, or of a new one.
func vacancy[T any](list *[]T, vacant *[]uint32) uint32 {
	if end := len(*vacant) - 1; end >= 0 {
		last := (*vacant)[end]
		*vacant = (*vacant)[:end]
		return last
	}
	*list = append(*list, *new(T))
	return uint32(len(*list) - 1)
}

// places are the places of entries. Each is there once, and none changes.
type places struct {
	list   []*place
	vacant []uint32
	known  map[place]placeCount
}

// placeCount is the number of a place, and how many entries have it.
type placeCount struct{ at, entries uint32 }

func (p *places) add(of place) uint32 {
	if p.known == nil {
		p.known = map[place]placeCount{}
	}
	n, ok := p.known[of]
	if !ok {
		n.at = vacancy(&p.list, &p.vacant)
		p.list[n.at] = new(of)
	}
	n.entries++
	p.known[of] = n
	return n.at
}

func (p *places) remove(at uint32) {
	of := *p.list[at]
	n := p.known[of]
	if n.entries--; n.entries > 0 {
		p.known[of] = n
		return
	}
	delete(p.known, of)
	p.list[at] = nil
	p.vacant = append(p.vacant, at)
}

// rares are the rare parts of entries. The number of none is 0, and that of another one is one more than where it is in the list.
type rares struct {
	list   []*rare
	vacant []uint32
}

func (r *rares) at(i uint32) *rare {
	if i == 0 {
		return nil
	}
	return r.list[i-1]
}

func (r *rares) add(of *rare) uint32 {
	if of == nil {
		return 0
	}
	i := vacancy(&r.list, &r.vacant)
	r.list[i] = of
	return i + 1
}

func (r *rares) remove(i uint32) {
	if i > 0 {
		r.list[i-1] = nil
		r.vacant = append(r.vacant, i-1)
	}
}
