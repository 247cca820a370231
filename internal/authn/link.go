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
	if old != nil && old.text == e.text { // its texts rarely change
		e.text, e.textAt = old.text, old.textAt
	}
	ix.entries.add(uid, e)
	if !e.dead {
		ix.living++
	}
	if e.imported {
		ix.linkImported(e, old)
	}
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
	e := ix.entries.find(uid)
	if e == nil {
		return nil
	}
	if !e.imported {
		e = e.clone() // the table overwrites its own
	}
	ix.entries.remove(uid, e)
	if !e.dead {
		ix.living--
	}
	if e.imported {
		for _, linked := range append(e.rare.replaced, e) {
			ix.importedOf(linked).remove(linked)
		}
	}
	return e
}

func (ix *Index) importedOf(e *entry) importedTokens {
	if e.dead {
		return ix.deadImported
	}
	return ix.imported
}
