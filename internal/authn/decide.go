package authn

import (
	"cmp"
	"net/netip"
	"time"

	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/username"
)

// Decide judges one request that a gateway asks about. It reads only the index: it writes nothing and calls nobody.
//
// It takes five steps, and their order is a contract: caller, credential, authenticate, authorize, attach.
// docs/reference/requests.md describes them.
func (ix *Index) Decide(r *Request) Decision { return ix.decideWithSlowHashes(r, gatewayRequest) }

// Identify judges a request to the operator's own REST API. No gateway asks about it, so no caller is verified. It does
// not reach the product, so it needs neither a licence nor an upstream credential. All other rules are the same.
func (ix *Index) Identify(r *Request) Decision { return ix.decideWithSlowHashes(r, ownAPIRequest) }

// mode says where a request goes.
type mode int

const (
	// gatewayRequest goes to the product. As the zero value it is the stricter mode.
	gatewayRequest mode = iota
	// ownAPIRequest goes to the operator's own REST API.
	ownAPIRequest
)

func (m mode) String() string { return [...]string{"gateway request", "own API request"}[m] }

// question is a request with what the steps after the caller need beside it.
type question struct {
	*Request
	mode   mode
	site   *site
	client netip.Addr
	now    time.Time
	slow   *slowHashAttempt
}

// decideWithSlowHashes decides, and computes the slow hashes that the decision needs.
//
// Slow path: a weak imported secret must be hashed outside the lock. Retry after that, because the index may have
// changed meanwhile.
func (ix *Index) decideWithSlowHashes(r *Request, m mode) Decision {
	var slow slowHashAttempt
	now := ix.now()
	ix.certify(r, now)
	d := ix.decide(r, m, now, &slow)
	for range record.MaxSlow {
		if slow.pending == nil {
			return d
		}
		if !ix.slowHashes.compute(&slow, ix.now) {
			break
		}
		d = ix.decide(r, m, now, &slow)
	}
	if slow.pending != nil && !slow.forLog {
		return Decision{Verdict: CannotDecide, Reason: ReasonBusy}
	}
	return d
}

// decide takes the five steps. Each step but the last either ends with a Decision or leads to the next.
func (ix *Index) decide(r *Request, m mode, now time.Time, slow *slowHashAttempt) Decision {
	defer ix.mu.read().RUnlock()
	slow.pending, slow.forLog = nil, false
	s, reason := ix.caller(r, m, now)
	if s == nil {
		return Decision{Verdict: CannotDecide, Reason: reason}
	}
	client := r.Client.address(s.trustedHops)
	d := ix.judge(&question{Request: r, mode: m, site: s, client: client, now: now, slow: slow})
	d.Client = client
	return d
}

// judge takes the steps that follow when the caller is known.
func (ix *Index) judge(q *question) Decision {
	var decoded [maxBasic]byte
	c, d, ended := ix.credential(q, &decoded)
	if ended {
		return d
	}
	if d, ended = ix.probe(q, c); ended {
		return d
	}
	var buf [maxPath]byte
	v, d, ended := ix.authenticate(q, c, buf[:0])
	if ended {
		return d
	}
	if d, ended = ix.authorize(q, v); ended {
		return d
	}
	return ix.attach(q, v)
}

// caller returns the site that the caller may ask for. Without one it returns the reason.
func (ix *Index) caller(r *Request, m mode, now time.Time) (*site, Reason) {
	s := ix.sites[r.Site]
	switch {
	case !ix.ready:
		return nil, ReasonNotReady
	case s == nil:
		return nil, ReasonUnknownSite
	}
	if m == gatewayRequest {
		if reason := ix.refuseCaller(s, r, now); reason != "" {
			return nil, reason
		}
	}
	if !s.remembered {
		return nil, ReasonSiteNotRemembered
	}
	return s, ""
}

// credential finds out whether the request presents a credential of ours. A malformed or misplaced one ends here, and so
// does a request without one.
func (ix *Index) credential(q *question, decoded *[maxBasic]byte) (c credential, d Decision, ended bool) {
	c = parseCredential(q.Request, q.site.bearer, decoded)
	switch c.kind {
	case malformed:
		return credential{}, unauthorized(ReasonMalformedCredential, presentedID(q.Authorization...)), true
	case misplaced:
		id := cmp.Or(presentedID(string(c.user)), presentedID(string(c.password)), presentedID(q.Authorization...))
		return credential{}, unauthorized(ReasonSchemeNotAccepted, id), true
	case inQuery:
		return credential{}, Decision{Verdict: Forbidden, Reason: ReasonCredentialParameter, TokenID: presentedID(q.query())}, true
	case ours:
		return c, Decision{}, false
	}
	e, reason := ix.findImported(q, c)
	switch {
	case reason != "":
		return credential{}, unauthorized(reason, ""), true
	case e == nil:
		return credential{}, ix.other(q, c), true
	}
	c.imported = e
	return c, Decision{}, false
}

// authenticate returns the token that the credential verifies as. A credential of ours that does not verify ends here.
// It appends the path to buf.
func (ix *Index) authenticate(q *question, c credential, buf []byte) (v verified, d Decision, ended bool) {
	path, fault := canonicalPath(buf, q.path())
	switch {
	case fault == ambiguous:
		return verified{}, unauthorized(ReasonAmbiguousPath, c.id()), true
	case !q.site.acceptsTokensAt(path, q.mode):
		return verified{}, unauthorized(ReasonPathNotAccepted, c.id()), true
	case isRedispatched(path[len(q.site.contextPath):]):
		return verified{}, unauthorized(ReasonAmbiguousPath, c.id()), true
	}
	v, reason := ix.verify(q, c)
	if reason != "" {
		d = unauthorized(reason, c.id())
		// Each refusal of a token that was looked for makes a copy of the name, so that all of them take the same time.
		if reason != ReasonMalformedToken {
			d.Claimed = string(c.user)
		}
		if reason != ReasonWrongUser {
			d.Claimed = ""
		}
		return verified{}, d, true
	}
	v.path, v.fault = path[len(q.site.contextPath):], fault
	return v, Decision{}, false
}

// authorize decides what the verified token may do. The first rule that forbids the request ends it.
func (ix *Index) authorize(q *question, v verified) (d Decision, ended bool) {
	switch {
	case v.fault == specialCharacter:
		return v.forbidden(ReasonPathCharacterNotAllowed), true
	case issuesCredentials(v.path):
		return v.forbidden(ReasonCredentialPath), true
	case queryHasSeraphParameter(q.query()), queryPresentsToken(q.query()):
		return v.forbidden(ReasonCredentialParameter), true
	}
	// Tokens are managed without a licence.
	if q.mode == gatewayRequest {
		if reason := ix.unlicensed(q.site, q.now); reason != "" {
			return v.forbidden(reason), true
		}
	}
	for _, limits := range [...]*Limits{&q.site.limits, &v.more().limits} {
		if reason := limits.forbid(q.Method, q.client, v.path); reason != "" {
			return v.forbidden(reason), true
		}
	}
	return Decision{}, false
}

// attach adds what the owner acts with at the product: a credential, or a header with their name. A request to the operator's own
// API needs neither.
func (ix *Index) attach(q *question, v verified) Decision {
	d := Decision{
		Verdict: Allow, Reason: ReasonAuthenticated, User: v.user(), UserKey: v.userKey(), TokenID: v.tokenID(), APIToken: v.name(),
	}
	if q.mode == ownAPIRequest {
		d.Secret = new(v.secretAt(v.secret))
		return d
	}
	header := q.site.identityHeader
	c, ok := ix.credentials[siteUser{q.Site, d.User}]
	switch {
	case header == "" && (!ok || d.UserKey == "" && c.UserKey != ""): // it may be a former user's of this name
		return v.forbidden(ReasonUpstreamCredentialMissing)
	case d.UserKey != "" && c.UserKey != "" && d.UserKey != c.UserKey:
		return v.forbidden(ReasonOwnerChanged)
	case header == "" && c.Origin != q.site.origin:
		return v.forbidden(ReasonUpstreamChanged)
	case header != "" && !username.FitsHeader(d.User):
		return v.forbidden(ReasonIdentityNotRepresentable)
	}
	if d.Target = mergeSlashes(q.Target); header == "" {
		d.Authorization = c.Authorization
	}
	d.IdentityHeader = header
	return d
}

// unauthorized is the Decision about a credential that does not authenticate.
func unauthorized(reason Reason, tokenID string) Decision {
	return Decision{Verdict: Unauthorized, Reason: reason, TokenID: tokenID}
}

// forbidden is the Decision about a verified token that may not do this.
func (v verified) forbidden(reason Reason) Decision {
	return Decision{Verdict: Forbidden, Reason: reason, User: v.user(), TokenID: v.tokenID()}
}

// forward passes the client's own credential and target on. A gateway that copies them would otherwise blank them. The
// log gets a line if the credential was an imported token once.
func (ix *Index) forward(q *question, c credential) Decision {
	d := Decision{Verdict: Forward, Reason: ReasonNoToken, Target: q.Target, IdentityHeader: q.site.identityHeader}
	if len(q.Authorization) == 1 {
		d.Authorization = q.Authorization[0]
	}
	if e := ix.findDead(q, c); e != nil {
		dead := e.secretAt(0)
		d.Reason, d.TokenID, d.Claimed = e.deadReason(q.site, &dead), e.tokenID(), e.user()
	}
	return d
}
