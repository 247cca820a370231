package authn

import (
	"cmp"
	"slices"
	"strings"

	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/username"
)

// importedTokens are the complete imported tokens, the oldest secret first. An imported secret has no id in it: it is found by its
// user, and each secret of the user is compared.
type importedTokens map[siteUser][]*entry

func (i importedTokens) add(e *entry) {
	k := siteUser{e.place.site, e.user()}
	at, _ := slices.BinarySearchFunc(i[k], e, (*entry).compareAge)
	i[k] = slices.Insert(i[k], at, e)
}

// compareAge orders imported tokens by their secret's time of issue. The order does not depend on changes of their APITokens.
func (e *entry) compareAge(other *entry) int {
	return cmp.Or(e.secretAt(0).Issued.Compare(other.secretAt(0).Issued), strings.Compare(e.at(textUID), other.at(textUID)))
}

func (i importedTokens) remove(e *entry) {
	k := siteUser{e.place.site, e.user()}
	left := slices.DeleteFunc(i[k], func(other *entry) bool { return other == e })
	if i[k] = left; len(left) == 0 {
		delete(i, k)
	}
}

// findImported returns the one imported token that a credential is, or nil. It returns a reason if there is more than one.
// The attempt lists the slow hashes that have to be computed first.
func (ix *Index) findImported(q *question, c *credential) (found *entry, reason Reason) {
	username.FoldInPlace(c.user)
	entries := ix.imported[siteUser{q.Site, string(c.user)}]
	for _, e := range entries[:min(len(entries), record.MaxImported)] {
		switch {
		case !ix.verifyImported(q, e, c.password):
		case found != nil:
			return nil, ReasonAmbiguousToken
		default:
			found = e
		}
	}
	if found != nil {
		q.slow.pending = nil
	}
	return found, ""
}

// findDead returns the dead secret of an imported token that a credential is, or nil. It looks at the newest ones. Slow
// hashes are pending only when those of living tokens have been computed.
func (ix *Index) findDead(q *question, c *credential) *entry {
	if q.slow.pending != nil {
		return nil
	}
	entries := ix.deadImported[siteUser{q.Site, string(c.user)}]
	for _, e := range slices.Backward(entries[max(0, len(entries)-record.MaxImported):]) {
		if ix.verifyImported(q, e, c.password) {
			q.slow.pending = nil
			return e
		}
	}
	q.slow.forLog = true
	return nil
}

// verifyImported reports whether text is the secret of an entry. For a slow hash it knows only what is remembered: if that
// is nothing, it lists the hash as pending.
func (ix *Index) verifyImported(q *question, e *entry, text []byte) bool {
	hash := e.firstHash()
	if !hash.Slow() {
		return hash.Verify(text)
	}
	q.slow.start(siteUser{e.place.site, e.user()}, text, ix.slowHashes)
	matches, known := e.more().slow.recall(q.slow.mac, q.now)
	if !known {
		q.slow.add(e)
	}
	return matches
}
