package authn

import (
	"cmp"

	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/username"
)

// entry is a record in the index, together with its APIToken. The two agree.
type entry struct {
	site SiteName
	// token is the APIToken. An entry that is dead has one of its own too, so that it takes the same time to look at. Only a
	// former entry has none.
	token  *Token
	record *record.Record
	// dead is the reason why none of the record's secrets authenticates any more. It is empty while the APIToken exists.
	dead Reason
	// duplicate is another entry with the same token id, and as dead as this one. While there is one, neither counts.
	duplicate *entry
	// position is the index of the entry in Index.decoys.
	position int
	// slow is the memory of an imported hash, in case it is a slow one. It is nil for generated tokens.
	slow *slowMemory
	// former are the replaced secrets of an imported token, each as an entry of its own.
	former []*entry
}

func (t *Token) name() APITokenName {
	return APITokenName{Namespace: t.Namespace, Name: t.Name, UID: t.UID}
}

// link adds the entry of a record. It is dead if there is no APIToken, and there is none if the APIToken does not agree. It
// takes over what the old entry remembers of the same hash: an APIToken in use changes every minute, because its status does.
func (ix *Index) link(uid string, old *entry) {
	t, r := ix.tokens[uid], ix.records[uid]
	var e *entry
	switch {
	case r == nil:
		return
	case t == nil, !r.Dead.IsZero():
		e = &entry{site: SiteName(r.Site), token: &Token{Namespace: r.APIToken.Namespace}, record: r, dead: ReasonDeleted}
	case agrees(t, r):
		e = &entry{site: t.Site, token: t, record: r}
	default:
		return
	}
	ix.linked[uid] = e
	if e.dead == "" {
		ix.living++
	}
	if r.Imported {
		ix.linkImported(e, old)
		return
	}
	e.position = len(ix.decoys)
	ix.decoys = append(ix.decoys, e)
	ix.byID.add(e)
}

// linkImported adds the entry of an imported token, and those of its replaced secrets.
func (ix *Index) linkImported(e, old *entry) {
	e.slow = old.memoryOf(&e.record.Entries[0].Hash)
	ix.importedOf(e).add(e)
	for _, replaced := range e.record.DeadEntries {
		r := *e.record
		r.Entries = []record.Entry{replaced}
		former := &entry{site: e.site, record: &r, dead: ReasonReplaced, slow: old.memoryOf(&replaced.Hash)}
		e.former = append(e.former, former)
		ix.importedOf(former).add(former)
	}
}

// memoryOf returns the memory that an entry or one of its former ones has of a hash, or a new one. The entry may be nil.
func (e *entry) memoryOf(hash *record.Hash) *slowMemory {
	var memory *slowMemory
	if e != nil {
		for _, known := range append(e.former, e) {
			if known.record.Entries[0].Hash == *hash {
				memory = known.slow
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
	if e.dead == "" {
		ix.living--
	}
	if e.record.Imported {
		for _, linked := range append(e.former, e) {
			ix.importedOf(linked).remove(linked)
		}
	} else {
		ix.unlinkDecoy(e)
		ix.byID.remove(e)
	}
	return e
}

func (ix *Index) importedOf(e *entry) importedTokens {
	if e.dead != "" {
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

// entriesByID are the entries of generated tokens by token id. The living and the dead ones are in one map, so that it takes
// the same time to find either.
type entriesByID map[string]sameID

// sameID are the entries with one token id: two lists, linked by duplicate.
type sameID struct{ living, dead *entry }

func (s *sameID) listOf(e *entry) **entry {
	if e.dead != "" {
		return &s.dead
	}
	return &s.living
}

func (ids entriesByID) add(e *entry) {
	same := ids[e.record.TokenID]
	list := same.listOf(e)
	e.duplicate, *list = *list, e
	ids[e.record.TokenID] = same
}

func (ids entriesByID) remove(e *entry) {
	same := ids[e.record.TokenID]
	list := same.listOf(e)
	for *list != e {
		list = &(*list).duplicate
	}
	*list = e.duplicate
	ids[e.record.TokenID] = same
	if same == (sameID{}) {
		delete(ids, e.record.TokenID)
	}
}

// agrees reports whether the record was written for this very APIToken as it is now.
func agrees(t *Token, r *record.Record) bool {
	return r.User == username.Fold(t.User) && r.Imported == t.Imported && r.Portal == t.Portal &&
		r.Site == record.Ref{Namespace: t.Site.Namespace, Name: t.Site.Name} &&
		r.APIToken == record.Ref{Namespace: t.Namespace, Name: t.Name}
}
