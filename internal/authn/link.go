package authn

import (
	"cmp"

	"apitokens.dev/operator/internal/record"
)

// change changes the parts of an entry.
func (ix *Index) change(uid string, apply func(*parts)) {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	old := ix.unlink(uid)
	p := ix.loose[uid]
	if old != nil {
		p = old.parts()
	}
	apply(&p)
	ix.link(uid, p, old)
}

// link adds the entry of a record. It is dead if there is no APIToken, and there is none if the APIToken does not agree. It
// takes over what the old entry remembers of the same hash: an APIToken in use changes every minute, because its status does.
func (ix *Index) link(uid string, p parts, old *entry) {
	delete(ix.loose, uid)
	switch {
	case p == parts{}:
		return
	case p.record == nil, p.token != nil && p.record.Dead.IsZero() && !p.agree():
		ix.loose[uid] = p
		return
	}
	e := newEntry(uid, p)
	ix.linked[e.at(textUID)] = e
	if !e.dead {
		ix.living++
	}
	if e.imported {
		ix.linkImported(e, old)
		return
	}
	e.position = int32(len(ix.decoys))
	ix.decoys = append(ix.decoys, e)
	ix.byID.add(e)
}

// linkImported adds the entry of an imported token, and those of its replaced secrets.
func (ix *Index) linkImported(e, old *entry) {
	e.rare.slow = old.memoryOf(e.firstHash())
	ix.importedOf(e).add(e)
	for _, replaced := range e.rare.deadSecrets {
		former := e.formerOf(replaced, old.memoryOf(&replaced.Hash))
		e.rare.replaced = append(e.rare.replaced, former)
		ix.importedOf(former).add(former)
	}
}

// memoryOf returns the memory that an entry or one of its replaced ones has of a hash, or a new one. The entry may be nil.
func (e *entry) memoryOf(hash *record.Hash) *slowMemory {
	var memory *slowMemory
	if e != nil {
		for _, known := range append(e.more().replaced, e) {
			if *known.firstHash() == *hash {
				memory = known.more().slow
			}
		}
	}
	return cmp.Or(memory, &slowMemory{})
}

// unlink removes the entry of a record and returns it. It returns nil if there was none.
func (ix *Index) unlink(uid string) *entry {
	e := ix.linked[uid]
	if e == nil {
		return nil
	}
	delete(ix.linked, uid)
	if !e.dead {
		ix.living--
	}
	if e.imported {
		for _, linked := range append(e.rare.replaced, e) {
			ix.importedOf(linked).remove(linked)
		}
	} else {
		ix.unlinkDecoy(e)
		ix.byID.remove(e)
	}
	return e
}

func (ix *Index) importedOf(e *entry) importedTokens {
	if e.dead {
		return ix.deadImported
	}
	return ix.imported
}

// unlinkDecoy moves the last decoy to the place of this one.
func (ix *Index) unlinkDecoy(e *entry) {
	last := len(ix.decoys) - 1
	ix.decoys[e.position], ix.decoys[last].position = ix.decoys[last], e.position
	ix.decoys[last] = nil
	ix.decoys = ix.decoys[:last]
}

// entriesByID are the entries of generated tokens by token id, as lists linked by duplicate. The living and the dead ones are in one
// map, so that it takes the same time to find either.
type entriesByID map[string]*entry

// add adds an entry before those that are dead.
func (ids entriesByID) add(e *entry) {
	first := ids[e.tokenID()]
	if !e.dead || first == nil || first.dead {
		e.duplicate = first
		ids[e.tokenID()] = e
		return
	}
	last := first
	for last.duplicate != nil && !last.duplicate.dead {
		last = last.duplicate
	}
	e.duplicate, last.duplicate = last.duplicate, e
}

func (ids entriesByID) remove(e *entry) {
	id := e.tokenID()
	first := ids[id]
	delete(ids, id) // the key would keep the memory of this entry
	if first == e {
		first = e.duplicate
	} else {
		before := first
		for before.duplicate != e {
			before = before.duplicate
		}
		before.duplicate = e.duplicate
	}
	if first != nil {
		ids[first.tokenID()] = first
	}
}

// alone reports whether no other entry has the same token id and is as dead.
func (e *entry) alone() bool { return e.duplicate == nil || e.duplicate.dead != e.dead }
