package authn

import (
	"time"

	"apitokens.dev/operator/internal/lifetime"
	"apitokens.dev/operator/internal/token"
)

// Description is what the index knows of a token, for its owner.
type Description struct {
	TokenID string
	// Issued is when its newest secret was, and Ends when that ends; zero means never.
	Issued, Ends time.Time
	// Reason is why it does not authenticate, whoever brings it; empty if it does.
	Reason Reason
}

// Describe describes the token of the APIToken with this UID, if it is complete and its site is there.
func (ix *Index) Describe(uid string) (d Description, ok bool) {
	now := ix.now()
	ix.mu.RLock()
	defer ix.mu.RUnlock()
	e := ix.joined[uid]
	if e == nil {
		return Description{}, false
	}
	s := ix.sites[e.site]
	if s == nil {
		return Description{}, false
	}
	newest := len(e.record.Entries) - 1
	issued := e.record.Entries[newest].Issued
	d = Description{TokenID: e.record.TokenID, Issued: issued, Ends: lifetime.End(e.token.Lifetime, s.lifetime, issued)}
	d.Reason = ix.standing(s, e, newest, e.site, now)
	if d.Reason == "" && !e.record.Imported && ix.byID[e.record.TokenID].rival != nil {
		d.Reason = ReasonUnknownToken
	}
	return d, true
}

// Presented names the APIToken of a site that a text is a secret of, also of one that does not authenticate for another
// reason: whoever holds it may have it revoked.
func (ix *Index) Presented(at SiteName, text []byte) (APITokenName, bool) {
	id, _ := token.Parse(text) // what is no token has none, and is no token's secret either
	ix.mu.RLock()
	defer ix.mu.RUnlock()
	e, known := ix.find(id, at)
	if e.record.Verify(text) < 0 || !known {
		return APITokenName{}, false
	}
	return e.token.name(), true
}
