package authn

import (
	"time"

	"apitokens.dev/operator/internal/lifetime"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/token"
)

// Description is what the owner of a token may know of it.
type Description struct {
	TokenID string
	// Issued is the time at which the newest secret was issued. Ends is the time at which it ends; zero means never.
	Issued, Ends time.Time
	// Older is the number of older secrets that are valid. OlderUntil is when the last of them ends.
	Older      int
	OlderUntil time.Time
	// Reason says why the token does not authenticate for anyone. It is empty if the token does.
	Reason Reason
}

// Describe returns the Description of the APIToken with this UID. It returns false if the APIToken, its record or its
// site is missing.
func (ix *Index) Describe(uid string) (d Description, ok bool) {
	now := ix.now()
	defer ix.mu.read(0).RUnlock()
	e := ix.entries.find(uid)
	if e == nil || e.dead {
		return Description{}, false
	}
	s := ix.sites[e.place.site]
	if s == nil {
		return Description{}, false
	}
	newest := e.secretCount() - 1
	issued := e.secretAt(newest).Issued
	d = Description{TokenID: e.tokenID(), Issued: issued, Ends: lifetime.End(e.lifetime(), s.lifetime, issued)}
	_, blocked := s.owner(e)
	d.Reason = ix.validity(s, e, blocked, newest, now)
	d.Older, d.OlderUntil = ix.older(s, e, now)
	if d.Reason == "" && !e.imported && e.contested {
		d.Reason = ReasonUnknownToken
	}
	return d, true
}

// older returns the number of replaced secrets that are valid, and when the last of them ends. The caller holds the lock.
func (ix *Index) older(s *site, e *entry, now time.Time) (n int, until time.Time) {
	_, blocked := s.owner(e)
	for i := range e.secretCount() {
		replaced := e.secretAt(i)
		if replaced.State != record.Ending || ix.validity(s, e, blocked, i, now) != "" {
			continue
		}
		n++
		end := replaced.Ends
		if limit := lifetime.End(e.lifetime(), s.lifetime, replaced.Issued); !limit.IsZero() && limit.Before(end) {
			end = limit
		}
		if end.After(until) {
			until = end
		}
	}
	return n, until
}

// Presented returns the APIToken of the site that text is a secret of, even of one that does not authenticate for another
// reason: anyone who holds a leaked token may have it revoked.
func (ix *Index) Presented(at SiteName, text []byte) (APITokenName, bool) {
	id, _ := token.Parse(text) // without an id, find returns a decoy, and text is no secret of it
	defer ix.mu.read(0).RUnlock()
	e, known := ix.find(id, at)
	if e.verify(text) < 0 || !known || e.dead {
		return APITokenName{}, false
	}
	return e.name(), true
}

// Live reports whether text is a secret that authenticates at the site now, whatever its limits are. It is verified exactly as in a
// request, so that a text that is none costs and takes the same. An imported secret is not found by its text. known is false where a
// request would get no verdict.
func (ix *Index) Live(at SiteName, text []byte) (live, known bool) {
	now := ix.now()
	defer ix.mu.read(0).RUnlock()
	r := &Request{Site: at}
	s, _ := ix.caller(r, ownAPIRequest, now)
	if s == nil {
		return false, false
	}
	reason := ix.verifyGenerated(&question{Request: r, site: s, now: now}, &credential{password: text, alone: true}, &verified{})
	return reason == "", true
}

// TokenID returns the token id in the record of the APIToken with this UID, or an empty text if there is no record. It costs much less
// than Record, for those who ask about very many.
func (ix *Index) TokenID(uid string) string {
	defer ix.mu.read(0).RUnlock()
	if e := ix.entries.find(uid); e != nil {
		return e.tokenID()
	}
	if r := ix.loose[uid].record; r != nil {
		return r.TokenID
	}
	return ""
}

// Record returns the record of the APIToken with this UID, whether or not it authenticates. It returns nil if there is none.
// The caller must not change it.
func (ix *Index) Record(uid string) *record.Record {
	defer ix.mu.read(0).RUnlock()
	if e := ix.entries.find(uid); e != nil {
		return e.parts().record
	}
	return ix.loose[uid].record
}
