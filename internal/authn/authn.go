// Package authn decides: who is behind a request, and may it pass. It keeps the index of what authenticates,
// and knows neither Kubernetes nor HTTP servers.
package authn

import (
	"net/netip"
	"strings"

	"apitokens.dev/operator/internal/authurl"
)

// SiteName names an AtlassianSite.
type SiteName struct{ Namespace, Name string }

func (s SiteName) String() string { return s.Namespace + "/" + s.Name }

// Request is what a gateway asks about, as its contract tells it.
type Request struct {
	// Contract, CallerKey and Site come from the URL that the gateway calls.
	Contract  authurl.Contract
	CallerKey string
	Site      SiteName
	// Authorization are the client's Authorization headers, as they came.
	Authorization []string
	// Target is the client's raw request target: path and query.
	Target string
	// Method is the client's, or empty if the gateway does not say.
	Method string
	// Client is where the request came from.
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

// Verdict is what becomes of a request. The zero value lets nothing pass.
type Verdict int

const (
	// CannotDecide means that there is no verdict: 503.
	CannotDecide Verdict = iota
	// Unauthorized means that a credential of ours was presented and does not authenticate: 401.
	Unauthorized
	// Forbidden means that a token was verified and may not do this: 403.
	Forbidden
	// Forward means that no credential of ours was presented: the product decides, and no identity goes along.
	Forward
	// Allow means that a token was verified in this very request.
	Allow
)

func (v Verdict) String() string {
	return [...]string{"cannot_decide", "unauthorized", "forbidden", "forward", "allow"}[v]
}

// Reason says why, from a closed set: for logs and metrics, and to the client only where the verdict is Forbidden.
type Reason string

// Reasons of each verdict.
const (
	ReasonAuthenticated Reason = "authenticated"
	ReasonNoToken       Reason = "no_token"

	ReasonNotReady          Reason = "not_ready"
	ReasonUnknownSite       Reason = "unknown_site"
	ReasonCallerKeyMismatch Reason = "caller_key_mismatch"
	ReasonBusy              Reason = "busy"

	ReasonMalformedCredential Reason = "malformed_credential"
	ReasonSchemeNotAccepted   Reason = "scheme_not_accepted"
	ReasonMalformedToken      Reason = "malformed_token"
	ReasonUnknownToken        Reason = "unknown_token"
	ReasonAmbiguousToken      Reason = "ambiguous_token"
	ReasonWrongSecret         Reason = "wrong_secret"
	ReasonWrongUser           Reason = "wrong_user"
	ReasonAmbiguousPath       Reason = "ambiguous_path"
	ReasonPathNotAccepted     Reason = "path_not_accepted"
	ReasonNamespaceNotAllowed Reason = "namespace_not_allowed"
	ReasonSuspended           Reason = "suspended"
	ReasonExpired             Reason = "expired"
	ReasonReplaced            Reason = "replaced"
	ReasonRevokedByEpoch      Reason = "revoked_by_epoch"

	ReasonCredentialPath            Reason = "CredentialPath"
	ReasonCredentialParameter       Reason = "CredentialParameter"
	ReasonInvalidLicenseMissing     Reason = "InvalidLicenseMissing"
	ReasonInvalidLicenseMalformed   Reason = "InvalidLicenseMalformed"
	ReasonInvalidLicenseSignature   Reason = "InvalidLicenseSignature"
	ReasonInvalidLicenseProduct     Reason = "InvalidLicenseProduct"
	ReasonInvalidLicenseExpired     Reason = "InvalidLicenseExpired"
	ReasonSourceNotAllowed          Reason = "SourceNotAllowed"
	ReasonReadOnly                  Reason = "ReadOnly"
	ReasonPathNotAllowed            Reason = "PathNotAllowed"
	ReasonUpstreamCredentialMissing Reason = "UpstreamCredentialMissing"
	ReasonUpstreamChanged           Reason = "UpstreamChanged"
)

// Decision is the verdict on one request.
type Decision struct {
	Verdict Verdict
	Reason  Reason
	// User is the stored owner of a verified token, else empty.
	User string
	// TokenID is the public id of the stored token that was meant. It is verified only if User is set.
	TokenID string
	// Authorization is what the product is to receive: the owner's on Allow, the client's own on Forward.
	Authorization string
	// Client is the address that the request came from, by the rules of the site; the zero Addr if it is not known.
	Client netip.Addr
	// APIToken is the object that the token of an Allow belongs to, and empty otherwise.
	APIToken APITokenName
}
