package contract

import (
	"net/http"
	"slices"
	"strings"

	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/httpheader"
)

const (
	headerUser          = "X-Forwarded-User"
	headerTokenID       = "X-Api-Token-Id"
	headerAuthorization = "Authorization"
	headerCookie        = "Cookie"
	// headerChallenge is spelled as net/http spells it.
	headerChallenge = "Www-Authenticate"
	// headerTarget has the request target that the gateway sends to the product.
	headerTarget = "X-Api-Token-Target"
	// headerReason has the Reason of a 403.
	headerReason = "X-Api-Token-Reason"
	// headerRemove names the client's headers that Envoy removes. Envoy does not pass it on.
	headerRemove = "X-Envoy-Auth-Headers-To-Remove"
)

// Answer is what a gateway is told. All answers of 401 are the same, and so are all answers of 503.
type Answer struct {
	Code int
	// Headers are those of the answer. On 200 they are the identity headers, empty ones too: if one were missing, gateways
	// would pass the client's own.
	Headers []Header
	// Remove names the client's headers that must not reach the product, for gateways that can remove some.
	Remove []string
}

// Header is one header of an Answer.
type Header struct{ Name, Value string }

// AnswerTo returns the answer to a decision. It is the same for every contract.
func AnswerTo(d authn.Decision) Answer {
	switch d.Verdict {
	case authn.Allow:
		return identified(d.User, d.TokenID, d, headerCookie)
	case authn.Forward:
		return identified("", "", d)
	case authn.Unauthorized:
		return Answer{Code: http.StatusUnauthorized, Headers: []Header{{headerChallenge, httpheader.Challenge}}}
	case authn.Forbidden:
		return Answer{Code: http.StatusForbidden, Headers: []Header{{headerReason, string(d.Reason)}}}
	default:
		return Answer{Code: http.StatusServiceUnavailable}
	}
}

// identified returns a 200. It removes the given headers, and those of an identity that is empty. A site that hands users over in a
// header of its own has this header beside the others.
func identified(user, tokenID string, d authn.Decision, remove ...string) Answer {
	a := Answer{Code: http.StatusOK, Remove: remove, Headers: []Header{
		{headerUser, user}, {headerTokenID, tokenID}, {headerAuthorization, d.Authorization}, {headerTarget, d.Target},
	}}
	if d.IdentityHeader != "" && !strings.EqualFold(d.IdentityHeader, headerUser) {
		a.Headers = append(a.Headers, Header{d.IdentityHeader, user})
	}
	for _, h := range a.Headers {
		if h.Value == "" {
			a.Remove = append(a.Remove, h.Name)
		}
	}
	return a
}

// write sends an answer. It sends no header that a gateway could pass on by mistake, not even a Date. removes means that the
// gateway removes the client's headers that are named. Others replace headers: to them the answer has cookies, which are those of
// the client, or empty if they must not reach the product.
func (a Answer) write(w http.ResponseWriter, removes bool, cookies []string) {
	h := w.Header()
	h["Date"] = nil
	values := make([]string, 0, len(a.Headers)+1) // one allocation for all headers
	set := func(name, value string) {
		values = append(values, value)
		n := len(values)
		h[http.CanonicalHeaderKey(name)] = values[n-1 : n : n]
	}
	for _, header := range a.Headers {
		set(header.Name, header.Value)
	}
	switch {
	case a.Code != http.StatusOK:
	case removes:
		set(headerRemove, strings.ToLower(strings.Join(a.Remove, ",")))
	case slices.Contains(a.Remove, headerCookie):
		set(headerCookie, "")
	default:
		set(headerCookie, strings.Join(cookies, "; "))
	}
	w.WriteHeader(a.Code)
}
