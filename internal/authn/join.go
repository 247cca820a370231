package authn

import (
	"crypto/sha256"
	"hash/maphash"
	"sync/atomic"

	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/username"
)

// entry is an APIToken with a record that agrees with it.
type entry struct {
	site   SiteName
	token  *Token
	record *record.Record
	// rival is set when another complete APIToken has the same token id: neither is to be believed.
	rival *entry
	// position is its place among the decoys.
	position int
	// verified is a keyed hash of the text that verified last against a slow one, or nil.
	verified atomic.Pointer[[sha256.Size]byte]
}

// join makes an APIToken authenticate if its record is there and agrees with it. What the old one remembers of the same
// hash is remembered: an APIToken changes with each status, every minute while it is used.
func (ix *Index) join(uid string, old *entry) {
	t, r := ix.tokens[uid], ix.records[uid]
	if t == nil || r == nil || !agrees(t, r) {
		return
	}
	e := &entry{site: t.Site, token: t, record: r}
	ix.joined[uid] = e
	if r.Imported {
		if old != nil && old.record.Entries[0].Hash == r.Entries[0].Hash {
			e.verified.Store(old.verified.Load())
		}
		ix.imported.add(e)
		return
	}
	e.rival, e.position = ix.byID[r.TokenID], len(ix.decoys)
	ix.byID[r.TokenID], ix.decoys = e, append(ix.decoys, e)
}

// leave undoes join, and returns what is no entry any more.
func (ix *Index) leave(uid string) *entry {
	e := ix.joined[uid]
	switch {
	case e == nil:
		return nil
	case e.record.Imported:
		ix.imported.remove(e)
	default:
		ix.leaveID(e)
	}
	delete(ix.joined, uid)
	return e
}

func (ix *Index) leaveID(e *entry) {
	last := len(ix.decoys) - 1
	ix.decoys[e.position], ix.decoys[last].position = ix.decoys[last], e.position
	ix.decoys[last] = nil
	ix.decoys = ix.decoys[:last]
	if first := ix.byID[e.record.TokenID]; first != e {
		for first.rival != e {
			first = first.rival
		}
		first.rival = e.rival
		return
	}
	if ix.byID[e.record.TokenID] = e.rival; e.rival == nil {
		delete(ix.byID, e.record.TokenID)
	}
}

// agrees reports whether a record was written for this very APIToken as it is now.
func agrees(t *Token, r *record.Record) bool {
	return r.User == username.Fold(t.User) && r.Imported == t.Imported && r.Portal == t.Portal &&
		r.Site == record.Ref{Namespace: t.Site.Namespace, Name: t.Site.Name} &&
		r.APIToken == record.Ref{Namespace: t.Namespace, Name: t.Name}
}

// find returns the entry to verify a token with, and whether it is the token's own: the only complete APIToken with this
// id at the site. For an unknown id another entry stands in, and all is found out of it that would be of its own: being
// unknown must cost what being known does, and so the other is looked up for known ids too. The lock is held.
func (ix *Index) find(id []byte, at SiteName) (e *entry, known bool) {
	other := ix.standIn(id)
	if e = ix.byID[string(id)]; e == nil {
		e = other
	}
	same, here, alone := e.record.TokenID == string(id), e.site == at, e.rival == nil
	return e, same && here && alone
}

// standIn returns the same entry each time for an id, and another for another: it has to be fetched from as deep in
// memory as an entry of its own would. That is one look-up in a large table, as in byID.
func (ix *Index) standIn(id []byte) *entry {
	n := uint64(len(ix.decoys))
	if n == 0 {
		return nobody
	}
	return ix.decoys[maphash.Bytes(ix.seed, id)%n]
}
