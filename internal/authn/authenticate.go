package authn

import (
	"time"

	"apitokens.dev/operator/internal/lifetime"
	"apitokens.dev/operator/internal/pathprefix"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/token"
	"apitokens.dev/operator/internal/username"
)

// verified is a token that was verified in this request.
type verified struct {
	entry
	// secret is the index of the record's entry that was presented.
	secret int
	// acts is what the owner acts with at the product, or nil.
	acts *actingCredential
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

// verify sets v to the token that a credential of ours verifies as, without a path. If it does not authenticate, there is a reason.
func (ix *Index) verify(q *question, c *credential, v *verified) (reason Reason) {
	e := c.imported
	if e == nil {
		return ix.verifyGenerated(q, c, v)
	}
	acts, blocked := q.site.owner(e)
	*v = verified{entry: *e, acts: acts}
	return ix.validity(q.site, e, blocked, 0, q.now)
}

// verifyGenerated verifies a token of our own format. It computes every check before it reports the first failure, so
// that timing reveals nothing. Dead secrets are compared only for a refusal, to say why.
func (ix *Index) verifyGenerated(q *question, c *credential, v *verified) (reason Reason) {
	id, ok := token.Parse(c.password)
	if !ok {
		return ReasonMalformedToken
	}
	c.parsed = id
	e, known := ix.find(id, q.Site)
	secret, named := e.verify(c.password), username.Is(e.user(), c.user)
	owned := named || c.alone
	acts, blocked := q.site.owner(&e)
	validity := ix.validity(q.site, &e, blocked, max(secret, 0), q.now)
	if known && secret >= 0 && owned && validity == "" {
		*v = verified{entry: e, secret: secret, acts: acts}
		return ""
	}
	deadSecrets := e.more().deadSecrets
	dead := record.Verify(deadSecrets, c.password)
	switch {
	case !known:
		return ReasonUnknownToken
	case secret < 0 && dead < 0:
		return ReasonWrongSecret
	case !owned:
		return ReasonWrongUser
	case secret < 0:
		return e.deadReason(q.site, &deadSecrets[dead])
	}
	return validity
}

// find returns the only entry with this id at the site, or else the only dead one. For an unknown id it returns a decoy, so that
// all cases take the same time. The caller holds the lock.
func (ix *Index) find(id []byte, at SiteName) (e entry, known bool) {
	if ix.entries.generated.size == 0 {
		return *emptyIndexDecoy, false
	}
	of, known := ix.entries.near(id)
	e = ix.entries.generated.at(of)
	here, alone := e.place.site == at, !e.contested
	return e, known && here && alone
}

// emptyIndexDecoy is the decoy of an index without tokens.
var emptyIndexDecoy = newEntry("", parts{&Token{}, &record.Record{User: "nobody", Entries: []record.Entry{{State: record.Delivered}}}})

// validity returns the reason why even the right secret of a token does not authenticate now, or "". blocked says whether the site blocks
// its owner. It reads the current APIToken, site and time: a change counts as soon as the index has it. It looks at everything each time,
// so that the time reveals nothing. It is the step *judge* of the model of stopping.
func (ix *Index) validity(s *site, e *entry, blocked bool, secret int, now time.Time) Reason {
	at, of := e.place, e.secretAt(secret)
	closed := !ix.allowsNamespace(s, at.namespace) || at.parent != "" && !ix.allowsNamespace(s, at.parent)
	lasts := lifetime.ValidityOf(&of, e.lifetime(), s.lifetime, now)
	switch {
	case e.dead:
		return e.deadReason(s, &of)
	case blocked:
		return ReasonUserBlocked
	case closed:
		return ReasonNamespaceNotAllowed
	case e.suspended:
		return ReasonSuspended
	}
	return validityReasons[lasts]
}

var validityReasons = [...]Reason{
	lifetime.Valid: "", lifetime.Expired: ReasonExpired, lifetime.Replaced: ReasonReplaced, lifetime.Revoked: ReasonRevokedByEpoch,
}

// allowsNamespace reports whether the site accepts tokens of a namespace. Another one than its own must be known.
func (ix *Index) allowsNamespace(s *site, namespace string) bool {
	if namespace == s.name.Namespace {
		return true
	}
	labels, known := ix.namespaces[namespace]
	return known && s.allowsNamespace != nil && s.allowsNamespace(labels)
}

// owner returns what the owner of a token acts with at the product, or nil. It reports whether the site blocks them: by name, by the key
// that the token belongs to, or by the key that they act with. It looks at all three each time, so that the time reveals nothing.
func (s *site) owner(e *entry) (acts *actingCredential, blocked bool) {
	acts, actsAs := s.grants.of(e.user())
	name, key, acting := s.blockedNames[e.user()], s.blockedKeys[e.userKey()], s.blockedKeys[actsAs]
	return acts, name || key || acting && acts != nil
}

// deadReason returns the reason why a secret of a dead entry, or a dead one of a living entry, does not authenticate.
func (e *entry) deadReason(s *site, secret *record.Entry) Reason {
	switch {
	case secret.Issued.Before(s.lifetime.IssuedAfter):
		return ReasonRevokedByEpoch
	case secret.State == record.Dead, e.former:
		return ReasonReplaced
	}
	return ReasonDeleted
}
