package contract

import (
	"net/http"

	"apitokens.dev/operator/internal/authn"
)

const (
	headerUser          = "X-Forwarded-User"
	headerTokenID       = "X-Api-Token-Id"
	headerAuthorization = "Authorization"
	// headerTarget has the request target that the gateway sends to the product.
	headerTarget = "X-Api-Token-Target"
	// headerReason has the Reason of a 403.
	headerReason = "X-Api-Token-Reason"

	challenge = `Basic realm="API token", charset="UTF-8"`
)

// answer writes a decision. It writes no header that a gateway could pass on by mistake, not even a Date. All answers of
// 401 are the same, and so are all answers of 503.
func answer(w http.ResponseWriter, d authn.Decision) {
	h := w.Header()
	h["Date"] = nil
	switch d.Verdict {
	case authn.Allow:
		identify(h, d.User, d.TokenID, d)
		w.WriteHeader(http.StatusOK)
	case authn.Forward:
		identify(h, "", "", d)
		w.WriteHeader(http.StatusOK)
	case authn.Unauthorized:
		h.Set("WWW-Authenticate", challenge)
		w.WriteHeader(http.StatusUnauthorized)
	case authn.Forbidden:
		h.Set(headerReason, string(d.Reason))
		w.WriteHeader(http.StatusForbidden)
	default:
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

// identify sets every identity header, empty ones too. If one were missing, gateways would pass the client's own.
func identify(h http.Header, user, tokenID string, d authn.Decision) {
	h.Set(headerUser, user)
	h.Set(headerTokenID, tokenID)
	h.Set(headerAuthorization, d.Authorization)
	h.Set(headerTarget, d.Target)
}
