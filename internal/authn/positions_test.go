package authn

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
)

// positionsModel is a table of positions, and what it must have: a hash for each position. Several may have the same one.
type positionsModel struct {
	positions

	hashes map[position]uint32
}

func (m *positionsModel) check(t *testing.T, hashes []uint32) {
	t.Helper()
	inUse := 0
	for i, c := range m.cells {
		if c.vacant() {
			continue
		}
		inUse++
		if hash, there := m.hashes[c.at]; !there || hash != c.hash {
			t.Fatalf("cell %d has position %d and hash %x, want %x", i, c.at, c.hash, hash)
		}
	}
	if inUse != len(m.hashes) || m.used != inUse || 2*inUse > len(m.cells) {
		t.Fatalf("%d of %d cells are in use, %d are counted, want %d", inUse, len(m.cells), m.used, len(m.hashes))
	}
	for _, hash := range hashes {
		found := map[position]bool{}
		i := m.seek(m.home(hash), hash)
		for ; !m.cells[i].vacant(); i = m.seek(m.next(i), hash) {
			found[m.cells[i].at] = true
		}
		for at, other := range m.hashes {
			if found[at] != (other == hash) {
				t.Fatalf("looked for %x: found %d, which has %x: %t", hash, at, other, found[at])
			}
		}
	}
}

// Whatever is added, replaced and removed, exactly what is there is found. Hashes collide, and lie at both ends of the table.
func TestPositionsAgainstModel(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	hashes := []uint32{1, 1, 2, 1 << 28, 1<<31 - 1, 1 << 31, 1<<32 - 1<<27, 1<<32 - 2, 1<<32 - 1, 1<<32 - 1}
	for range 30 {
		hashes = append(hashes, random.Uint32())
	}
	m := positionsModel{positions: newPositions(), hashes: map[position]uint32{}}
	m.check(t, hashes)
	for step, most := range []int{60, 8, 300, 1, 0} {
		for range 400 {
			at, by := position(random.IntN(most+1)), position(random.IntN(most+1))
			hash, there := m.hashes[at]
			_, taken := m.hashes[by]
			switch {
			case !there && len(m.hashes) < most:
				m.hashes[at] = hashes[random.IntN(len(hashes))]
				m.add(m.hashes[at], at)
			case there && !taken && random.IntN(2) == 0:
				m.replace(hash, at, by)
				delete(m.hashes, at)
				m.hashes[by] = hash
			case there:
				m.remove(hash, at)
				delete(m.hashes, at)
			}
			m.check(t, hashes)
		}
		for at, hash := range m.hashes {
			m.remove(hash, at)
			delete(m.hashes, at)
		}
		if m.check(t, hashes); m.used != 0 {
			t.Fatalf("step %d: %d are left", step, m.used)
		}
	}
}

// A look-up reads few cells, whether there is what it looks for or not.
func TestLookUpsAreShort(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	p, hashes := newPositions(), make([]uint32, 1<<13)
	for i := range hashes {
		hashes[i] = random.Uint32() | 1
		p.add(hashes[i], position(i))
	}
	read := 0
	for _, hash := range hashes {
		for _, of := range []uint32{hash, random.Uint32() | 1} {
			read += 1 + (p.seek(p.home(of), of)-p.home(of)+len(p.cells))%len(p.cells)
		}
	}
	if average := float64(read) / float64(2*len(hashes)); average > 2.5 {
		t.Errorf("a look-up reads %.1f cells", average)
	}
}

// Different unknown ids have different decoys: with one for all, it would always be in the processor's cache.
func TestDecoysDiffer(t *testing.T) {
	const tokens = 1000
	x := newTable()
	for i := range tokens {
		e := entryWith(fmt.Sprint("asp_", i))
		for text := textTokenID; text < texts; text++ {
			e.ends[text] = uint32(len(e.text))
		}
		x.add(strconv.Itoa(i), e)
	}
	decoys := map[position]int{}
	for i := range 10 * tokens {
		id := []byte(fmt.Sprint("asp_unknown", i))
		decoy, known := x.near(id)
		decoys[decoy]++
		if again, _ := x.near(id); known || again != decoy {
			t.Fatalf("%s is known (%t), or has two decoys: %d and %d", id, known, decoy, again)
		}
	}
	most := 0
	for _, n := range decoys {
		most = max(most, n)
	}
	if len(decoys) < tokens*9/10 || most > 100 {
		t.Errorf("%d of %d tokens are decoys, one of them for %d of %d ids", len(decoys), tokens, most, 10*tokens)
	}
}

// Two ids may have the same hash. Each is found as itself, and neither stands for the other.
func TestTokenIDsWithTheSameHash(t *testing.T) {
	x := newTable()
	one, other := "", ""
	for seen, i := map[uint32]string{}, 0; other == ""; i++ {
		id := fmt.Sprint("asp_", i)
		hash := x.hash([]byte(id))
		one, other, seen[hash] = id, seen[hash], id
	}
	known := func(id string) bool {
		at, known := x.near([]byte(id))
		return known && x.generated.tokenID(at) == id
	}
	add := func(id string) *entry {
		e := entryWith(id)
		for text := textTokenID; text < texts; text++ {
			e.ends[text] = uint32(len(id))
		}
		x.add(id, e)
		return e
	}
	first := add(one).clone()
	if !known(one) || known(other) {
		t.Errorf("%s is known (%t), and %s too (%t)", one, known(one), other, known(other))
	}
	add(other)
	if !known(one) || !known(other) {
		t.Errorf("%s is known (%t), and %s (%t)", one, known(one), other, known(other))
	}
	x.remove(one, first)
	if known(one) || !known(other) {
		t.Errorf("%s is known (%t), and %s not (%t)", one, known(one), other, known(other))
	}
}
