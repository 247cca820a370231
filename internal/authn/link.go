package authn

import (
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/username"
)

// entry is an APIToken together with its record. The two agree.
type entry struct {
	site   SiteName
	token  *Token
	record *record.Record
	// duplicate is another complete APIToken with the same token id. While there is one, neither authenticates.
	duplicate *entry
	// position is the index of the entry in Index.decoys.
	position int
	// slow is the memory of a slow hash. It is nil for other hashes.
	slow *slowMemory
}

func (t *Token) name() APITokenName {
	return APITokenName{Namespace: t.Namespace, Name: t.Name, UID: t.UID}
}

// link adds the entry of an APIToken if its record is there and agrees with it. It takes over what the old entry
// remembers of the same hash: an APIToken in use changes every minute, because its status does.
func (ix *Index) link(uid string, old *entry) {
	t, r := ix.tokens[uid], ix.records[uid]
	if t == nil || r == nil || !agrees(t, r) {
		return
	}
	e := &entry{site: t.Site, token: t, record: r}
	ix.linked[uid] = e
	if r.Imported {
		switch hash := r.Entries[0].Hash; {
		case old != nil && old.slow != nil && old.record.Entries[0].Hash == hash:
			e.slow = old.slow
		case hash.Slow():
			e.slow = &slowMemory{}
		}
		ix.imported.add(e)
		return
	}
	e.duplicate, e.position = ix.byID[r.TokenID], len(ix.decoys)
	ix.byID[r.TokenID], ix.decoys = e, append(ix.decoys, e)
}

// unlink removes the entry of an APIToken and returns it. It returns nil if there was none.
func (ix *Index) unlink(uid string) *entry {
	e := ix.linked[uid]
	switch {
	case e == nil:
		return nil
	case e.record.Imported:
		ix.imported.remove(e)
	default:
		ix.unlinkDecoy(e)
		ix.unlinkID(e)
	}
	delete(ix.linked, uid)
	return e
}

// unlinkDecoy moves the last decoy to the place of this one.
func (ix *Index) unlinkDecoy(e *entry) {
	last := len(ix.decoys) - 1
	ix.decoys[e.position], ix.decoys[last].position = ix.decoys[last], e.position
	ix.decoys[last] = nil
	ix.decoys = ix.decoys[:last]
}

// unlinkID removes an entry from the list of those with the same token id.
func (ix *Index) unlinkID(e *entry) {
	if first := ix.byID[e.record.TokenID]; first != e {
		for first.duplicate != e {
			first = first.duplicate
		}
		first.duplicate = e.duplicate
		return
	}
	if ix.byID[e.record.TokenID] = e.duplicate; e.duplicate == nil {
		delete(ix.byID, e.record.TokenID)
	}
}

// agrees reports whether the record was written for this very APIToken as it is now.
func agrees(t *Token, r *record.Record) bool {
	return r.User == username.Fold(t.User) && r.Imported == t.Imported && r.Portal == t.Portal &&
		r.Site == record.Ref{Namespace: t.Site.Namespace, Name: t.Site.Name} &&
		r.APIToken == record.Ref{Namespace: t.Namespace, Name: t.Name}
}
