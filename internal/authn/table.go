package authn

import (
	"crypto/sha256"
	"hash/maphash"
	"iter"
	"slices"
	"strings"
)

// table has entries by UID and, if they are generated, by token id. There are as many as tokens, and the garbage collector looks at
// every pointer in it, so it refers to generated entries by their positions.
type table struct {
	byUID map[uidKey]position
	// byID has generated tokens. Of those with the same token id it has the first one, and duplicates has the others: first come those
	// that are not dead. The living and the dead ones are in one table, so that it takes the same time to find either.
	byID       positions
	duplicates map[string][]position
	seed       maphash.Seed
	// generated and imported have the entries of either kind, in any order.
	generated pile
	imported  []*entry
}

// uidKey stands for a UID, which may have any length.
type uidKey [16]byte

func keyOfUID(uid string) uidKey {
	sum := sha256.Sum256([]byte(uid))
	return uidKey(sum[:len(uidKey{})])
}

// position is the index of an entry in generated, or the complement of its index in imported.
type position int32

func newTable() table {
	return table{byUID: map[uidKey]position{}, byID: newPositions(), duplicates: map[string][]position{}, seed: maphash.MakeSeed()}
}

// find returns the entry with a UID, or nil. It is right until the table changes.
func (t *table) find(uid string) *entry {
	at, ok := t.byUID[keyOfUID(uid)]
	switch {
	case !ok:
		return nil
	case at < 0:
		return t.imported[^at]
	}
	return new(t.generated.at(at))
}

// all returns all entries.
func (t *table) all() iter.Seq[entry] {
	return func(yield func(entry) bool) {
		for i := range t.generated.size {
			if !yield(t.generated.at(i)) {
				return
			}
		}
		for _, e := range t.imported {
			if !yield(*e) {
				return
			}
		}
	}
}

// add adds an entry under a UID. It copies a generated one.
func (t *table) add(uid string, e *entry) {
	if e.imported {
		e.position = ^position(len(t.imported))
		t.imported = append(t.imported, e)
	} else {
		e.position = t.generated.size
		t.generated.add(e)
		t.link(e)
	}
	t.byUID[keyOfUID(uid)] = e.position
}

// remove removes the entry with a UID, and moves the last one to its place.
func (t *table) remove(uid string, e *entry) {
	delete(t.byUID, keyOfUID(uid))
	if e.imported {
		t.removeImported(int(^e.position))
		return
	}
	t.unlink(e)
	at, last := e.position, t.generated.at(t.generated.size-1)
	if at != last.position {
		t.move(&last, at)
	}
	t.generated.remove(at)
}

func (t *table) removeImported(i int) {
	end := len(t.imported) - 1
	if last := t.imported[end]; i < end {
		t.imported[i], last.position = last, ^position(i)
		t.byUID[keyOfUID(last.at(textUID))] = last.position
	}
	t.imported[end] = nil
	t.imported = t.imported[:end]
}

// move gives a generated entry another position.
func (t *table) move(e *entry, to position) {
	id, from := e.tokenID(), e.position
	if first, _ := t.near([]byte(id)); first == from {
		t.byID.replace(t.hash([]byte(id)), from, to)
	} else {
		others := t.duplicates[id]
		others[slices.Index(others, from)] = to
	}
	t.byUID[keyOfUID(e.at(textUID))] = to
	e.position = to
}

// near returns the position of the first generated entry with a token id. If there is none, it returns that of another one, a decoy: the
// same each time for one id, and different ones for different ids, so that it lies as deep in memory as an entry of its own would. The
// decoy's id is compared too, because all else would take another time. There must be a generated entry.
func (t *table) near(id []byte) (at position, known bool) {
	hash := t.hash(id)
	for i := t.byID.home(hash); ; i = t.byID.next(i) {
		i = t.byID.seek(i, hash)
		of := t.byID.cells[i]
		if of.vacant() {
			of.at = scaled(hash, int(t.generated.size))
		}
		if same := t.generated.tokenID(of.at) == string(id); same || of.vacant() {
			return of.at, same && !of.vacant()
		}
	}
}

// hash returns the hash of a token id, which is not 0. Nobody else can know which ids have the same one.
func (t *table) hash(id []byte) uint32 { return uint32(maphash.Bytes(t.seed, id)) | 1 }

// link adds an entry to those with its token id.
func (t *table) link(e *entry) {
	id := e.tokenID()
	first, ok := t.near([]byte(id))
	if !ok {
		t.byID.add(t.hash([]byte(id)), e.position)
		t.generated.packed(e.position).contested = false
		return
	}
	t.arrange(id, first, append([]position{first, e.position}, t.duplicates[id]...))
}

// unlink removes an entry from those with its token id.
func (t *table) unlink(e *entry) {
	id := e.tokenID()
	first, _ := t.near([]byte(id))
	others := t.duplicates[id]
	if len(others) == 0 {
		t.byID.remove(t.hash([]byte(id)), first)
		return
	}
	all := append([]position{first}, others...)
	t.arrange(id, first, slices.DeleteFunc(all, func(at position) bool { return at == e.position }))
}

// arrange makes these the entries with a token id. first was the first one so far.
func (t *table) arrange(id string, first position, all []position) {
	var living, dead []position
	for _, at := range all {
		if t.generated.packed(at).dead {
			dead = append(dead, at)
		} else {
			living = append(living, at)
		}
	}
	for _, same := range [][]position{living, dead} {
		for _, at := range same {
			t.generated.packed(at).contested = len(same) > 1
		}
	}
	all = slices.Concat(living, dead)
	t.byID.replace(t.hash([]byte(id)), first, all[0])
	if len(all) == 1 {
		delete(t.duplicates, id)
		return
	}
	t.duplicates[strings.Clone(id)] = all[1:]
}
