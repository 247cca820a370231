// Package authn decides who is behind a request and whether it may pass. It keeps the index of what authenticates,
// and knows neither Kubernetes nor HTTP servers.
package authn

import (
	"net/netip"
	"strings"

	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/record"
)

// SiteName names an AtlassianSite.
type SiteName struct{ Namespace, Name string }

func (s SiteName) String() string { return s.Namespace + "/" + s.Name }

// APITokenName names one APIToken. Another object that later has the same name has another UID.
type APITokenName struct{ Namespace, Name, UID string }

// Request is a client's request, as the contract of a gateway describes it.
type Request struct {
	// Contract, CallerKey and Site come from the URL that the gateway calls.
	Contract  authurl.Contract
	CallerKey string
	Site      SiteName
	// Certificate is the client certificate of the gateway's connection. It is nil if there is none.
	Certificate *CallerCertificate
	// Authorization has the values of the client's Authorization headers, unchanged.
	Authorization []string
	// Cookies has the values of the client's Cookie headers. Only whether there are any counts.
	Cookies []string
	// Target is the client's raw request target: path and query.
	Target string
	// Method is the client's method. It is empty if the gateway does not send it.
	Method string
	// Client says where the request came from.
	Client Client
}

func (r *Request) path() string {
	path, _, _ := strings.Cut(r.Target, "?")
	return path
}

func (r *Request) query() string {
	_, query, _ := strings.Cut(r.Target, "?")
	return query
}

// Verdict is the outcome for a request. The zero value lets nothing pass.
type Verdict int

const (
	// CannotDecide means that there is no verdict: 503.
	CannotDecide Verdict = iota
	// Unauthorized means that a credential of ours was presented and does not authenticate, or that one is needed: 401.
	Unauthorized
	// Forbidden means that the request carries a credential and may not do this: 403.
	Forbidden
	// Forward means that no credential of ours was presented. The product decides, and gets no identity from us: 200.
	Forward
	// Allow means that a token was verified in this very request: 200.
	Allow
)

func (v Verdict) String() string {
	return [...]string{"cannot_decide", "unauthorized", "forbidden", "forward", "allow"}[v]
}

// Decision is the verdict on one request, with the details that the answer and the log need.
type Decision struct {
	Verdict Verdict
	Reason  Reason
	// User is the stored owner of a verified token, else empty. UserKey is the owner's user key in the product, if the token
	// is known to belong to one.
	User, UserKey string
	// TokenID is the public id of the token that the client presented, for the log. It is verified only if User is set.
	TokenID string
	// Claimed is the user name that the client sent with a token of another user, or with a password that is observed or refused, for
	// the log.
	Claimed string
	// Secret is the verified secret, on Allow of a request to the operator's own REST API. It must not be changed.
	Secret *record.Entry
	// Authorization is the value that the product receives: the owner's on Allow, or none if there is an IdentityHeader, and the
	// client's own on Forward.
	Authorization string
	// IdentityHeader is the name of the header that hands User over to the product, on Allow, and that no client may send, on Forward.
	// It is empty if the site hands users over by their credentials.
	IdentityHeader string
	// Target is the request target that the gateway sends to the product. It is the client's own on Forward. On Allow, runs
	// of slashes in its path are merged.
	Target string
	// Client is the address that the request came from, by the rules of the site. It is the zero Addr if unknown.
	Client netip.Addr
	// APIToken names the object of the verified token on Allow. Otherwise it is empty.
	APIToken APITokenName
}
