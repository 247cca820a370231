package authn

import (
	"cmp"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/username"
)

// Decide judges one request that a gateway asks about. It reads only the index: it writes nothing and calls nobody.
//
// It takes five steps, and their order is a contract: caller, credential, authenticate, authorize, attach.
// docs/reference/requests.md describes them.
func (ix *Index) Decide(r *Request) (d Decision) {
	ix.decideWithSlowHashes(r, gatewayRequest, &d)
	return d
}

// Identify judges a request to the operator's own REST API. No gateway asks about it, so no caller is verified. It does
// not reach the product, so it needs neither a licence nor an upstream credential. All other rules are the same.
func (ix *Index) Identify(r *Request) (d Decision) {
	ix.decideWithSlowHashes(r, ownAPIRequest, &d)
	return d
}

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
	// decision is zero until a step ends the request.
	decision *Decision
}

// decideWithSlowHashes decides, and computes the slow hashes that the decision needs.
//
// Slow path: a weak imported secret must be hashed outside the lock. Retry after that, because the index may have
// changed meanwhile.
func (ix *Index) decideWithSlowHashes(r *Request, m mode, d *Decision) {
	var slow slowHashAttempt
	now := ix.now()
	ix.certify(r, now)
	ix.decide(r, m, now, &slow, d)
	for range record.MaxSlow {
		if slow.pending == nil {
			return
		}
		if !ix.slowHashes.compute(&slow, ix.now) {
			break
		}
		ix.decide(r, m, now, &slow, d)
	}
	if slow.pending != nil && !slow.forLog {
		*d = Decision{Verdict: CannotDecide, Reason: ReasonBusy}
	}
}

// decide takes the five steps. Each step but the last either ends with a Decision or leads to the next. It sets d.
func (ix *Index) decide(r *Request, m mode, now time.Time, slow *slowHashAttempt, d *Decision) {
	w := workspaces.Get().(*workspace)
	defer workspaces.Put(w)
	defer ix.mu.read(w.part).RUnlock()
	*d, slow.pending, slow.forLog = Decision{}, nil, false
	s, reason := ix.caller(r, m, now)
	if s == nil {
		d.Verdict, d.Reason = CannotDecide, reason
		return
	}
	client := r.Client.address(s.trustedHops)
	ix.judge(w, &question{Request: r, mode: m, site: s, client: client, now: now, slow: slow, decision: d})
	d.Client = client
}

// workspace is the memory that a decision works in. Workspaces are used again: on the stack of a new connection, a workspace would make
// the stack grow.
type workspace struct {
	// part is the part of the lock to take. A core mostly gets the workspace that it used last, so cores mostly take different parts.
	part    uint32
	decoded [maxBasic]byte
	path    [maxPath]byte
}

var (
	workspaces     = sync.Pool{New: func() any { return &workspace{part: workspacesMade.Add(1)} }}
	workspacesMade atomic.Uint32
)

// judge takes the steps that follow when the caller is known. The steps write what they find to c and v: both are large, so no step returns them.
func (ix *Index) judge(w *workspace, q *question) {
	var (
		c credential
		v verified
	)
	ended := ix.credential(q, &c, &w.decoded) || ix.probe(q, &c) || ix.authenticate(q, &c, &v, w.path[:0]) || ix.authorize(q, &v)
	if !ended {
		ix.attach(q, &v)
	}
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
		if reason := s.refuseCaller(r, now); reason != "" {
			return nil, reason
		}
	}
	if !s.remembered {
		return nil, ReasonSiteNotRemembered
	}
	return s, ""
}

// credential sets c to the credential of the request. A malformed or misplaced one ends here, and so does a request without one.
func (ix *Index) credential(q *question, c *credential, decoded *[maxBasic]byte) (ended bool) {
	*c = parseCredential(q.Request, q.site.bearer, decoded)
	switch c.kind {
	case malformed:
		return q.unauthorized(ReasonMalformedCredential, presentedID(q.Authorization...))
	case misplaced:
		id := cmp.Or(presentedID(c.user, c.password), presentedID(q.Authorization...))
		return q.unauthorized(ReasonSchemeNotAccepted, id)
	case inQuery:
		q.decision.Verdict, q.decision.Reason, q.decision.TokenID = Forbidden, ReasonCredentialParameter, presentedID(q.query())
		return true
	case ours:
		return false
	}
	return ix.foreign(q, c)
}

// foreign finds out whether a foreign credential is an imported token. A request with another one ends here.
func (ix *Index) foreign(q *question, c *credential) (ended bool) {
	e, reason := ix.findImported(q, c)
	switch {
	case reason != "":
		return q.unauthorized(reason, "")
	case e == nil:
		*q.decision = ix.other(q, c)
		return true
	}
	c.imported = e
	return false
}

// authenticate sets v to the token that the credential verifies as. A credential of ours that does not verify ends here.
// It appends the path to buf.
func (ix *Index) authenticate(q *question, c *credential, v *verified, buf []byte) (ended bool) {
	path, fault := canonicalPath(buf, q.path())
	switch {
	case fault == ambiguous:
		return q.unauthorized(ReasonAmbiguousPath, c.id())
	case !q.site.acceptsTokensAt(path, q.mode):
		return q.unauthorized(ReasonPathNotAccepted, c.id())
	case isRedispatched(path[len(q.site.contextPath):]):
		return q.unauthorized(ReasonAmbiguousPath, c.id())
	}
	if reason := ix.verify(q, c, v); reason != "" {
		q.unauthorized(reason, c.id())
		// Each refusal of a token that was looked for makes a copy of the name, so that all of them take the same time.
		if reason != ReasonMalformedToken {
			q.decision.Claimed = string(c.user)
		}
		if reason != ReasonWrongUser {
			q.decision.Claimed = ""
		}
		return true
	}
	v.path, v.fault = path[len(q.site.contextPath):], fault
	return false
}

// authorize decides what the verified token may do. The first rule that forbids the request ends it.
func (ix *Index) authorize(q *question, v *verified) (ended bool) {
	switch query := q.query(); {
	case v.fault == specialCharacter:
		return q.forbidden(v, ReasonPathCharacterNotAllowed)
	case issuesCredentials(v.path):
		return q.forbidden(v, ReasonCredentialPath)
	case queryHasSeraphParameter(query), queryPresentsToken(query):
		return q.forbidden(v, ReasonCredentialParameter)
	}
	// Tokens are managed without a licence.
	if q.mode == gatewayRequest {
		if reason := ix.unlicensed(q.site, q.now); reason != "" {
			return q.forbidden(v, reason)
		}
	}
	for _, limits := range [...]*Limits{&q.site.limits, &v.more().limits} {
		if reason := limits.forbid(q.Method, q.client, v.path); reason != "" {
			return q.forbidden(v, reason)
		}
	}
	return false
}

// attach adds what the owner acts with at the product: a credential, or a header with their name. A request to the operator's own
// API needs neither.
func (ix *Index) attach(q *question, v *verified) {
	d := q.decision
	if q.mode == ownAPIRequest {
		d.Secret = new(v.secretAt(v.secret))
	} else {
		if reason := v.notAttachable(q.site); reason != "" {
			q.forbidden(v, reason)
			return
		}
		d.Target, d.IdentityHeader = mergeSlashes(q.Target), q.site.identityHeader
		if d.IdentityHeader == "" {
			d.Authorization = v.acts.authorization
		}
	}
	d.Verdict, d.Reason, d.User, d.UserKey, d.TokenID, d.APIToken = Allow, ReasonAuthenticated, v.user(), v.userKey(), v.tokenID(), v.name()
}

// notAttachable returns the reason why the owner cannot act at the product, or "".
func (v *verified) notAttachable(s *site) Reason {
	header, key, acts := s.identityHeader, v.userKey(), v.acts
	switch {
	case header == "" && (acts == nil || key == "" && acts.userKey != ""): // it may be a former user's of this name
		return ReasonUpstreamCredentialMissing
	case key != "" && acts != nil && acts.userKey != "" && key != acts.userKey:
		return ReasonOwnerChanged
	case header == "" && acts.origin != s.origin:
		return ReasonUpstreamChanged
	case header != "" && !username.FitsHeader(v.user()):
		return ReasonIdentityNotRepresentable
	}
	return ""
}

// unauthorized is the Decision about a credential that does not authenticate.
func unauthorized(reason Reason, tokenID string) Decision {
	return Decision{Verdict: Unauthorized, Reason: reason, TokenID: tokenID}
}

// unauthorized ends the request, because the credential does not authenticate.
func (q *question) unauthorized(reason Reason, tokenID string) (ended bool) {
	q.decision.Verdict, q.decision.Reason, q.decision.TokenID = Unauthorized, reason, tokenID
	return true
}

// forbidden ends the request, because the verified token may not do this.
func (q *question) forbidden(v *verified, reason Reason) (ended bool) {
	q.decision.Verdict, q.decision.Reason, q.decision.User, q.decision.TokenID = Forbidden, reason, v.user(), v.tokenID()
	return true
}

// forward passes the client's own credential and target on. A gateway that copies them would otherwise blank them. The
// log gets a line if the credential was an imported token once.
func (ix *Index) forward(q *question, c *credential) Decision {
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
