package contract

import (
	"net/http"
	"strings"

	"apitokens.dev/operator/internal/authn"
)

const (
	headerUser          = "X-Forwarded-User"
	headerTokenID       = "X-Api-Token-Id"
	headerAuthorization = "Authorization"
	// headerTarget has the request target that the gateway sends to the product.
	headerTarget = "X-Api-Token-Target"
	// headerRemove names the client's headers that Envoy removes. Envoy does not pass it on.
	headerRemove = "X-Envoy-Auth-Headers-To-Remove"
	// headerReason has the Reason of a 403.
	headerReason = "X-Api-Token-Reason"

	challenge = `Basic realm="API token", charset="UTF-8"`
)

// answer writes a decision. It writes no header that a gateway could pass on by mistake, not even a Date. All answers of
// 401 are the same, and so are all answers of 503. removes means that the gateway can be told to remove headers.
func answer(w http.ResponseWriter, d authn.Decision, removes bool) {
	h := w.Header()
	h["Date"] = nil
	switch d.Verdict {
	case authn.Allow:
		identify(h, d.User, d.TokenID, d)
		if removes {
			remove(h, "Cookie")
		}
		w.WriteHeader(http.StatusOK)
	case authn.Forward:
		identify(h, "", "", d)
		if removes {
			remove(h)
		}
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

// remove names the client's headers that must not reach the product: those given, and those that are empty in the answer.
func remove(h http.Header, names ...string) {
	for _, name := range []string{headerUser, headerTokenID, headerAuthorization} {
		if h.Get(name) == "" {
			names = append(names, name)
		}
	}
	h.Set(headerRemove, strings.ToLower(strings.Join(names, ",")))
}
