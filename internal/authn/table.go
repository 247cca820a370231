package authn

import "crypto/sha256"

// table has entries by UID and, if they are generated, by token id. There are as many as tokens, and the garbage collector looks at
// every pointer in it, so its keys have none.
type table struct {
	byUID map[uidKey]position
	// byID has generated tokens, as lists linked by duplicate. The living and the dead ones are in one map, so that it takes the same
	// time to find either.
	byID map[idKey]*entry
	// generated and imported have the entries of either kind, in any order.
	generated, imported []*entry
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

func newTable() table { return table{byUID: map[uidKey]position{}, byID: map[idKey]*entry{}} }

// find returns the entry with a UID, or nil.
func (t *table) find(uid string) *entry {
	at, ok := t.byUID[keyOfUID(uid)]
	switch {
	case !ok:
		return nil
	case at < 0:
		return t.imported[^at]
	}
	return t.generated[at]
}

// add adds an entry under a UID.
func (t *table) add(uid string, e *entry) {
	if e.imported {
		e.position = ^position(len(t.imported))
		t.imported = append(t.imported, e)
	} else {
		e.position = position(len(t.generated))
		t.generated = append(t.generated, e)
		t.link(e)
	}
	t.byUID[keyOfUID(uid)] = e.position
}

// remove removes the entry with a UID, and moves the last one to its place.
func (t *table) remove(uid string, e *entry) {
	delete(t.byUID, keyOfUID(uid))
	if e.imported {
		t.imported = t.fill(t.imported, int(^e.position), e.position)
		return
	}
	t.unlink(e)
	t.generated = t.fill(t.generated, int(e.position), e.position)
}

// fill moves the last entry of a list to index i, which is its position at, and shortens the list.
func (t *table) fill(list []*entry, i int, at position) []*entry {
	end := len(list) - 1
	if last := list[end]; i < end {
		list[i], last.position = last, at
		t.byUID[keyOfUID(last.at(textUID))] = at
	}
	list[end] = nil
	return list[:end]
}

// first returns the first entry with a token id, or nil.
func (t *table) first(id []byte) *entry { return t.byID[keyOfID(id)] }

// link adds an entry to those with its token id, before those that are dead.
func (t *table) link(e *entry) {
	id := keyOfID(e.tokenID())
	first := t.byID[id]
	if !e.dead || first == nil || first.dead {
		t.byID[id], e.duplicate = e, first
		return
	}
	last := first
	for last.duplicate != nil && !last.duplicate.dead {
		last = last.duplicate
	}
	e.duplicate, last.duplicate = last.duplicate, e
}

// unlink removes an entry from those with its token id.
func (t *table) unlink(e *entry) {
	id := keyOfID(e.tokenID())
	first := t.byID[id]
	if first != e {
		for first.duplicate != e {
			first = first.duplicate
		}
		first.duplicate = e.duplicate
		return
	}
	if t.byID[id] = e.duplicate; e.duplicate == nil {
		delete(t.byID, id)
	}
}
