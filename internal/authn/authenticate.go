package authn

import (
	"hash/maphash"
	"time"

	"apitokens.dev/operator/internal/lifetime"
	"apitokens.dev/operator/internal/pathprefix"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/token"
	"apitokens.dev/operator/internal/username"
)

// verified is a token that was verified in this request.
type verified struct {
	*entry
	// path is the canonical path below the context path. fault is specialCharacter if it cannot be judged, else faultless.
	path  []byte
	fault pathFault
}

// ownAPIPath is the folder of the operator's own REST API, below the context path. Tokens count there at every site.
const ownAPIPath = "/rest/api-tokens"

// acceptsTokensAt reports whether tokens count at this canonical path.
func (s *site) acceptsTokensAt(path []byte, m mode) bool {
	if m == ownAPIRequest {
		return pathprefix.Covers(s.contextPath+ownAPIPath, path)
	}
	for _, folder := range s.tokenPaths {
		if pathprefix.Contains(folder, path) {
			return true
		}
	}
	return false
}

// verify returns the entry that a credential of ours names, and the reason if it does not authenticate. The entry is nil
// if the credential names none.
func (ix *Index) verify(q *question, c credential) (*entry, Reason) {
	if c.imported != nil {
		return c.imported, ix.validity(q.site, c.imported, 0, q.now)
	}
	return ix.verifyGenerated(q, c)
}

// verifyGenerated verifies a token of our own format. It computes every check before it reports the first failure, so
// that timing reveals nothing.
func (ix *Index) verifyGenerated(q *question, c credential) (*entry, Reason) {
	id, ok := token.Parse(c.password)
	if !ok {
		return nil, ReasonMalformedToken
	}
	e, known := ix.find(id, q.Site)
	secret, owned := e.record.Verify(c.password), username.Is(e.record.User, c.user)
	validity := ix.validity(q.site, e, max(secret, 0), q.now)
	switch {
	case !known:
		return nil, ReasonUnknownToken
	case secret < 0:
		return e, ReasonWrongSecret
	case !owned:
		return e, ReasonWrongUser
	}
	return e, validity
}

// find returns the only complete entry with this id at the site. For an unknown id it returns a decoy, so that both cases
// take the same time: the decoy is looked up for known ids too. The caller holds the lock.
func (ix *Index) find(id []byte, at SiteName) (e *entry, known bool) {
	decoy := ix.decoy(id)
	if e = ix.byID[string(id)]; e == nil {
		e = decoy
	}
	same, here, alone := e.record.TokenID == string(id), e.site == at, e.duplicate == nil
	return e, same && here && alone
}

// emptyIndexDecoy is the decoy of an index without tokens.
var emptyIndexDecoy = &entry{token: &Token{}, record: &record.Record{User: "nobody", Entries: make([]record.Entry, 1)}}

// decoy returns an entry to verify an unknown id with. It is the same entry each time for one id, and different entries for
// different ids, so that it lies as deep in memory as an entry of its own would.
func (ix *Index) decoy(id []byte) *entry {
	n := uint64(len(ix.decoys))
	if n == 0 {
		return emptyIndexDecoy
	}
	return ix.decoys[maphash.Bytes(ix.seed, id)%n]
}

// validity returns the reason why even the right secret of a token does not authenticate now, or "". It reads the
// current APIToken, site and time: a change counts as soon as the index has it.
func (ix *Index) validity(s *site, e *entry, secret int, now time.Time) Reason {
	t := e.token
	switch {
	case t.Namespace != s.name.Namespace && !ix.allowsNamespace(s, t.Namespace):
		return ReasonNamespaceNotAllowed
	case t.Suspended:
		return ReasonSuspended
	}
	return validityReasons[lifetime.ValidityOf(&e.record.Entries[secret], t.Lifetime, s.lifetime, now)]
}

var validityReasons = [...]Reason{
	lifetime.Valid: "", lifetime.Expired: ReasonExpired, lifetime.Replaced: ReasonReplaced, lifetime.Revoked: ReasonRevokedByEpoch,
}

// allowsNamespace reports whether the site accepts tokens of another namespace. An unknown namespace is not allowed.
func (ix *Index) allowsNamespace(s *site, namespace string) bool {
	labels, known := ix.namespaces[namespace]
	return known && s.allowsNamespace != nil && s.allowsNamespace(labels)
}
