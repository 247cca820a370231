package authn

import (
	"slices"
	"strings"
)

const (
	// pieceEntries is the number of entries in a piece, and pieceText that of the bytes of their texts.
	pieceEntries = 256
	pieceText    = 64 << 10
	// moved is how many texts are moved with each entry that is added, while texts are moved.
	moved = 4
)

// pile is a list of entries. They and their texts lie side by side in large pieces of memory: if each had memory of its own, the garbage
// collector would take longer to look at all of them than many requests take.
//
// A text is never overwritten, because decisions have parts of it. Its piece is freed when no entry and no decision has a part of it.
// So that old pieces do not stay for the sake of few entries, all texts move to new ones when more than half of what was written is no
// longer in use.
type pile struct {
	pieces []*[pieceEntries]entry
	size   position
	// open is the piece that texts are written to.
	open strings.Builder
	// written is how many bytes were written since all texts last began to move, and used is how many are in use.
	written, used int
	// left is how many entries have texts that still move.
	left position
}

// at returns an entry. It stays where it is until an entry is removed.
func (p *pile) at(i position) *entry { return &p.pieces[i/pieceEntries][i%pieceEntries] }

// add adds a copy of an entry at the end, and returns the copy.
func (p *pile) add(e *entry) *entry {
	if int(p.size) == len(p.pieces)*pieceEntries {
		p.pieces = append(p.pieces, new([pieceEntries]entry))
	}
	p.size++
	added := p.at(p.size - 1)
	*added = *e
	p.used += len(e.text)
	if !e.kept || p.left > 0 { // nothing new may begin in an old piece while texts move
		p.keep(added)
	}
	p.tidy()
	return added
}

// remove removes an entry. The last one takes its place.
func (p *pile) remove(i position) {
	e, last := p.at(i), p.at(p.size-1)
	p.used -= len(e.text)
	*e = *last
	*last = entry{}
	p.size--
	if p.left = min(p.left, p.size); p.size%pieceEntries == 0 {
		p.pieces = slices.Delete(p.pieces, int(p.size/pieceEntries), len(p.pieces)) // not only cut off: then it would not be freed
	}
}

// keep writes the text of an entry to the open piece.
func (p *pile) keep(e *entry) {
	if p.open.Cap()-p.open.Len() < len(e.text) {
		p.open.Reset()
		p.open.Grow(max(pieceText, len(e.text)))
	}
	start := p.open.Len()
	p.open.WriteString(e.text)
	e.text, e.kept = p.open.String()[start:], true
	p.written += len(e.text)
}

// tidy moves some texts to new pieces, if they have to move.
func (p *pile) tidy() {
	if p.left == 0 && p.written > 2*p.used+pieceText {
		p.left, p.written = p.size, 0
		p.open.Reset()
	}
	for range min(p.left, moved) {
		p.left--
		p.keep(p.at(p.left))
	}
}
