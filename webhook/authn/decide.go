package authn

import (
	"bytes"
	"strings"

	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/token"
	"apitokens.dev/operator/internal/username"
)

// credentialPaths hand out or accept other credentials: a token must not turn itself into one that outlives it.
var credentialPaths = [...]string{"/rest/pat", "/rest/auth", "/rest/oauth2", "/rest/access-tokens"}

// nobody stands in for an unknown token where there is no other.
var nobody = &entry{record: &record.Record{User: "nobody", Entries: make([]record.Entry, 1)}}

// Decide judges one request by what the index holds now. It writes nothing and asks nobody.
//
// The order is a contract: the caller first, then whose credential it is, then whether it verifies, and only of a
// verified token what it may do.
func (ix *Index) Decide(r *Request) Decision {
	ix.mu.RLock()
	defer ix.mu.RUnlock()
	s, reason := ix.admitted(r)
	if s == nil {
		return Decision{Verdict: CannotDecide, Reason: reason}
	}
	var decoded [maxBasic]byte
	c := parseCredential(r, &decoded)
	switch c.kind {
	case malformed:
		return refuse(ReasonMalformedCredential)
	case foreign:
		return forward(r)
	case misplaced:
		return refuse(ReasonSchemeNotAccepted)
	}
	var buf [1024]byte
	path, ok := canonicalPath(buf[:0], r.path())
	if !ok {
		return refuse(ReasonAmbiguousPath)
	}
	if !s.accepts(path) {
		return refuse(ReasonPathNotAccepted)
	}
	e, reason := ix.verify(c, r.Site)
	switch {
	case e == nil:
		return refuse(reason)
	case reason != "":
		return Decision{Verdict: Unauthorized, Reason: reason, TokenID: e.record.TokenID}
	}
	return ix.permit(r, s, e, path)
}

// verify finds the token that was presented, and says what is wrong with it. All that can be wrong costs the same.
func (ix *Index) verify(c credential, at SiteName) (*entry, Reason) {
	id, ok := token.Parse(c.password)
	if !ok {
		return nil, ReasonMalformedToken
	}
	e, known := ix.find(id, at)
	// Both are always found out, so that what takes how long does not tell which of them failed.
	verified, owned := e.record.Verify(c.password) >= 0, username.Is(e.record.User, c.user)
	switch {
	case !known:
		return nil, ReasonUnknownToken
	case !verified:
		return e, ReasonWrongSecret
	case !owned:
		return e, ReasonWrongUser
	}
	return e, ""
}

// permit decides what a verified token may do.
func (ix *Index) permit(r *Request, s *site, e *entry, path []byte) Decision {
	d := Decision{Verdict: Forbidden, User: e.record.User, TokenID: e.record.TokenID}
	if s.handsOutCredentials(path) {
		d.Reason = ReasonCredentialPath
		return d
	}
	if queryHasSeraphParameter(r.query()) {
		d.Reason = ReasonCredentialParameter
		return d
	}
	c, ok := ix.credentials[credentialKey{r.Site, e.record.User}]
	if !ok {
		d.Reason = ReasonUpstreamCredentialMissing
		return d
	}
	if c.Origin != s.origin {
		d.Reason = ReasonUpstreamChanged
		return d
	}
	d.Verdict, d.Reason, d.Authorization = Allow, ReasonAuthenticated, c.Authorization
	return d
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

// accepts reports whether tokens count at this path.
func (s *site) accepts(path []byte) bool {
	for _, prefix := range s.tokenPaths {
		if bytes.HasPrefix(path, []byte(prefix)) {
			return true
		}
	}
	return false
}

// handsOutCredentials compares without case: that refuses too much rather than too little.
func (s *site) handsOutCredentials(path []byte) bool {
	below := path[len(s.contextPath):]
	for _, p := range credentialPaths {
		if len(below) >= len(p) && strings.EqualFold(string(below[:len(p)]), p) && (len(below) == len(p) || below[len(p)] == '/') {
			return true
		}
	}
	return false
}
