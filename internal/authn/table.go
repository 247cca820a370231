package authn

import (
	"crypto/sha256"
	"iter"
	"slices"
)

// table has entries by UID and, if they are generated, by token id. There are as many as tokens, and the garbage collector looks at
// every pointer in it, so it refers to generated entries by their positions.
type table struct {
	byUID map[uidKey]position
	// byID has generated tokens. Of those with the same token id it has the first one, and duplicates has the others: first come those
	// that are not dead. The living and the dead ones are in one map, so that it takes the same time to find either.
	byID       map[idKey]position
	duplicates map[idKey][]position
	// generated and imported have the entries of either kind, in any order.
	generated pile
	imported  []*entry
	// decoys are all positions in generated. Without them, a decoy would be found sooner than a token: by one look less into memory that
	// no cache has.
	decoys []position
}

// uidKey stands for a UID, which may have any length.
type uidKey [16]byte

func keyOfUID(uid string) uidKey {
	sum := sha256.Sum256([]byte(uid))
	return uidKey(sum[:len(uidKey{})])
}

// idKey has the last bytes of a token id: its digits. Another text could end with the same ones, so the id of an entry has to be
// compared.
type idKey [16]byte

func keyOfID[T string | []byte](id T) (k idKey) {
	copy(k[:], id[max(0, len(id)-len(k)):])
	return k
}

// position is the index of an entry in generated, or the complement of its index in imported.
type position int32

func newTable() table {
	return table{byUID: map[uidKey]position{}, byID: map[idKey]position{}, duplicates: map[idKey][]position{}}
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
		t.decoys = append(t.decoys, e.position)
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
	t.decoys = t.decoys[:t.generated.size]
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
	id, from := keyOfID(e.tokenID()), e.position
	if t.byID[id] == from {
		t.byID[id] = to
	} else {
		others := t.duplicates[id]
		others[slices.Index(others, from)] = to
	}
	t.byUID[keyOfUID(e.at(textUID))] = to
	e.position = to
}

// first returns the first entry with a token id, or nil.
func (t *table) first(id []byte) *packed {
	at, ok := t.byID[keyOfID(id)]
	if !ok {
		return nil
	}
	return t.generated.packed(at)
}

// link adds an entry to those with its token id.
func (t *table) link(e *entry) {
	id := keyOfID(e.tokenID())
	first, ok := t.byID[id]
	if !ok {
		t.byID[id], t.generated.packed(e.position).contested = e.position, false
		return
	}
	t.arrange(id, append([]position{first, e.position}, t.duplicates[id]...))
}

// unlink removes an entry from those with its token id.
func (t *table) unlink(e *entry) {
	id := keyOfID(e.tokenID())
	others := t.duplicates[id]
	if len(others) == 0 {
		delete(t.byID, id)
		return
	}
	all := append([]position{t.byID[id]}, others...)
	t.arrange(id, slices.DeleteFunc(all, func(at position) bool { return at == e.position }))
}

// arrange makes these the entries with a token id.
func (t *table) arrange(id idKey, all []position) {
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
	if t.byID[id], t.duplicates[id] = all[0], all[1:]; len(all) == 1 {
		delete(t.duplicates, id)
	}
}
