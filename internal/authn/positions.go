package authn

// positions are positions of entries, found by a hash: a table with open addressing. A look-up reads one place in memory, where that in a
// map reads two or three. The garbage collector has nothing to look at in it.
type positions struct {
	// cells are a power of two in number, and at most half of them are in use. An entry is in the first cell that was vacant, from that
	// of its hash on.
	cells []cell
	used  int
}

// cell has the hash of an entry, and its position. A hash is never 0: then the cell is vacant.
type cell struct {
	hash uint32
	at   position
}

func (c cell) vacant() bool { return c.hash == 0 }

func newPositions() positions { return positions{cells: make([]cell, 8)} }

// home returns the index of the first cell for a hash. Greater hashes have greater ones, so that the table grows in order.
func (p *positions) home(hash uint32) int { return int(scaled(hash, len(p.cells))) }

// scaled spreads hashes over so many positions. There must be one.
func scaled(hash uint32, size int) position { return position(uint64(hash) * uint64(size) >> 32) }

// next returns the index of the cell behind one.
func (p *positions) next(i int) int { return (i + 1) & (len(p.cells) - 1) }

// seek returns the index of the first cell with a hash, from one on. If there is none, it returns that of a vacant cell. Different entries
// may have the same hash.
func (p *positions) seek(i int, hash uint32) int {
	for !p.cells[i].vacant() && p.cells[i].hash != hash {
		i = p.next(i)
	}
	return i
}

// add adds a position.
func (p *positions) add(hash uint32, at position) {
	if p.used++; 2*p.used > len(p.cells) {
		p.grow()
	}
	p.put(cell{hash, at})
}

func (p *positions) grow() {
	old := p.cells
	p.cells = make([]cell, 2*len(old))
	for _, c := range old {
		if !c.vacant() {
			p.put(c)
		}
	}
}

func (p *positions) put(c cell) {
	i := p.home(c.hash)
	for !p.cells[i].vacant() {
		i = p.next(i)
	}
	p.cells[i] = c
}

// replace replaces a position by another one.
func (p *positions) replace(hash uint32, at, by position) {
	p.cells[p.indexOf(hash, at)].at = by
}

// remove removes a position. Those behind it move up, so that each is found.
func (p *positions) remove(hash uint32, at position) {
	p.used--
	i := p.indexOf(hash, at)
	for p.cells[i] = (cell{}); ; {
		i = p.next(i)
		c := p.cells[i]
		if c.vacant() {
			return
		}
		p.cells[i] = cell{}
		p.put(c)
	}
}

// indexOf returns the index of the cell of a position that is there.
func (p *positions) indexOf(hash uint32, at position) int {
	i := p.home(hash)
	for p.cells[i] != (cell{hash, at}) {
		i = p.next(i)
	}
	return i
}
