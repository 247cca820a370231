package authn

import (
	"bytes"
	"net/netip"
	"strings"
	"time"

	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/token"
	"apitokens.dev/operator/internal/username"
)

// credentialPaths hand out or accept other credentials: a token must not turn itself into one that outlives it.
var credentialPaths = [...]string{"/rest/pat", "/rest/auth", "/rest/oauth2", "/rest/access-tokens"}

// nobody stands in for an unknown token where there is no other.
var nobody = &entry{token: &Token{}, record: &record.Record{User: "nobody", Entries: make([]record.Entry, 1)}}

// Decide judges one request that a gateway asks about, by what the index holds now. It writes nothing and asks nobody.
//
// The order is a contract: the caller first, then whose credential it is, then whether it verifies, and only of a
// verified token what it may do.
func (ix *Index) Decide(r *Request) Decision { return ix.patiently(r, false) }

// Identify judges a request to the operator's own REST API, which nobody asks about: there is no caller key, no product to
// reach and so no credential for it. All else of a token is judged as everywhere.
func (ix *Index) Identify(r *Request) Decision { return ix.patiently(r, true) }

func (ix *Index) patiently(r *Request, own bool) Decision {
	now := ix.now()
	var t trial
	d := ix.decide(r, now, &t, own)
	// Almost never: an imported secret that is weak is tried for the first time. What it is tried against may change
	// meanwhile, but not for ever.
	for range record.MaxSlow {
		if t.pending == nil {
			return d
		}
		if !ix.imported.compute(&t) {
			break
		}
		d = ix.decide(r, now, &t, own)
	}
	if t.pending != nil {
		return Decision{Verdict: CannotDecide, Reason: ReasonBusy}
	}
	return d
}

// decide judges with what is known of slow hashes.
func (ix *Index) decide(r *Request, now time.Time, t *trial, own bool) Decision {
	ix.mu.RLock()
	defer ix.mu.RUnlock()
	t.pending = nil
	s, reason := ix.site(r)
	if s != nil && !own && !ix.admitted(r) {
		s, reason = nil, ReasonCallerKeyMismatch
	}
	if s == nil {
		return Decision{Verdict: CannotDecide, Reason: reason}
	}
	client := r.Client.address(s.trustedHops)
	d := ix.judge(r, s, client, now, t, own)
	if d.Verdict == Allow && !own {
		d = ix.handOver(d, r, s)
	}
	d.Client = client
	return d
}

// judge judges what may be asked about.
func (ix *Index) judge(r *Request, s *site, client netip.Addr, now time.Time, t *trial, own bool) Decision {
	var decoded [maxBasic]byte
	c := parseCredential(r, &decoded)
	switch c.kind {
	case malformed:
		return refuse(ReasonMalformedCredential)
	case misplaced:
		return refuse(ReasonSchemeNotAccepted)
	}
	var e *entry
	var reason Reason
	if c.kind == foreign {
		if e, reason = ix.imported.find(c, r.Site, t); reason != "" {
			return refuse(reason)
		}
		if e == nil {
			return forward(r)
		}
	}
	var buf [1024]byte
	path, ok := canonicalPath(buf[:0], r.path())
	if !ok {
		return refuse(ReasonAmbiguousPath)
	}
	if !s.accepts(path, own) {
		return refuse(ReasonPathNotAccepted)
	}
	if e != nil {
		reason = ix.standing(s, e, 0, r.Site, now)
	} else {
		e, reason = ix.verify(c, s, r.Site, now)
	}
	switch {
	case e == nil:
		return refuse(reason)
	case reason != "":
		return Decision{Verdict: Unauthorized, Reason: reason, TokenID: e.record.TokenID}
	}
	var unlicensed Reason
	if !own { // tokens are managed without a licence
		unlicensed = ix.unlicensed(s, r.Site, now)
	}
	return s.permit(r, e, path, client, unlicensed)
}

// verify finds the token that was presented, or says why it does not authenticate. All that can be wrong costs the same:
// everything is found out each time, and reads as much memory, before what comes first is told.
func (ix *Index) verify(c credential, s *site, at SiteName, now time.Time) (e *entry, wrong Reason) {
	id, ok := token.Parse(c.password)
	if !ok {
		return nil, ReasonMalformedToken
	}
	e, known := ix.find(id, at)
	secret, owned := e.record.Verify(c.password), username.Is(e.record.User, c.user)
	standing := ix.standing(s, e, max(secret, 0), at, now)
	switch {
	case !known:
		return nil, ReasonUnknownToken
	case secret < 0:
		return e, ReasonWrongSecret
	case !owned:
		return e, ReasonWrongUser
	}
	return e, standing
}

// permit decides what a verified token may do, at a site that may be unlicensed.
func (s *site) permit(r *Request, e *entry, path []byte, client netip.Addr, unlicensed Reason) Decision {
	d := Decision{Verdict: Forbidden, User: e.record.User, TokenID: e.record.TokenID}
	below := path[len(s.contextPath):]
	if handsOutCredentials(below) {
		d.Reason = ReasonCredentialPath
		return d
	}
	if queryHasSeraphParameter(r.query()) {
		d.Reason = ReasonCredentialParameter
		return d
	}
	if unlicensed != "" {
		d.Reason = unlicensed
		return d
	}
	for _, limits := range [...]*Limits{&s.limits, &e.token.Limits} {
		if d.Reason = limits.allows(r.Method, client, below); d.Reason != "" {
			return d
		}
	}
	d.Verdict, d.Reason, d.APIToken = Allow, ReasonAuthenticated, e.token.name()
	return d
}

// handOver adds to an Allow what its user acts with at the product, without which it is none.
func (ix *Index) handOver(d Decision, r *Request, s *site) Decision {
	switch c, ok := ix.credentials[credentialKey{r.Site, d.User}]; {
	case !ok:
		return Decision{Verdict: Forbidden, Reason: ReasonUpstreamCredentialMissing, User: d.User, TokenID: d.TokenID}
	case c.Origin != s.origin:
		return Decision{Verdict: Forbidden, Reason: ReasonUpstreamChanged, User: d.User, TokenID: d.TokenID}
	default:
		d.Authorization = c.Authorization
		return d
	}
}

func refuse(reason Reason) Decision {
	return Decision{Verdict: Unauthorized, Reason: reason}
}

// forward hands the client's own credential on: a gateway told to copy Authorization would otherwise blank it.
func forward(r *Request) Decision {
	d := Decision{Verdict: Forward, Reason: ReasonNoToken}
	if len(r.Authorization) == 1 {
		d.Authorization = r.Authorization[0]
	}
	return d
}

// ownPath is where the operator's own REST API is, below the context path. Tokens count there whatever the site says.
const ownPath = "/rest/api-tokens"

// accepts reports whether tokens count at this path of the product, or of the operator's own.
func (s *site) accepts(path []byte, own bool) bool {
	if own {
		below, ok := bytes.CutPrefix(path, []byte(s.contextPath+ownPath))
		return ok && (len(below) == 0 || below[0] == '/')
	}
	for _, prefix := range s.tokenPaths {
		if bytes.HasPrefix(path, []byte(prefix)) {
			return true
		}
	}
	return false
}

// handsOutCredentials compares without case: that refuses too much rather than too little.
func handsOutCredentials(below []byte) bool {
	for _, p := range credentialPaths {
		if len(below) >= len(p) && strings.EqualFold(string(below[:len(p)]), p) && (len(below) == len(p) || below[len(p)] == '/') {
			return true
		}
	}
	return false
}
