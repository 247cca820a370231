package contract

import (
	"net/http"
	"strings"

	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/httpheader"
)

const (
	headerUser          = "X-Forwarded-User"
	headerTokenID       = "X-Api-Token-Id"
	headerAuthorization = "Authorization"
	headerCookie        = "Cookie"
	headerForwardedFor  = "X-Forwarded-For"
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
	// headers are the first count ones.
	headers [maxHeaders]Header
	count   int
	// withoutCookies means that the client's cookies must not reach the product.
	withoutCookies bool
}

// maxHeaders is how many headers an answer has at most.
const maxHeaders = 5

// Header is one header of an Answer. Its name is spelled as net/http spells it.
type Header struct{ Name, Value string }

// Headers are those of the answer. On 200 they are the identity headers, empty ones too: if one were missing, gateways would pass the
// client's own.
func (a *Answer) Headers() []Header { return a.headers[:a.count] }

// Remove names the client's headers that must not reach the product, for gateways that can remove some.
func (a *Answer) Remove() (names []string) {
	if a.withoutCookies {
		names = append(names, headerCookie)
	}
	for _, h := range a.Headers() {
		if h.Value == "" {
			names = append(names, h.Name)
		}
	}
	return names
}

func (a *Answer) add(name, value string) {
	a.headers[a.count] = Header{name, value}
	a.count++
}

// AnswerTo returns the answer to a decision. It is the same for every contract.
func AnswerTo(d *authn.Decision) (a Answer) {
	switch d.Verdict {
	case authn.Allow:
		a.identify(d.User, d.TokenID, d)
		a.withoutCookies = true
	case authn.Forward:
		a.identify("", "", d)
	case authn.Unauthorized:
		a.Code = http.StatusUnauthorized
		a.add(headerChallenge, httpheader.Challenge)
	case authn.Forbidden:
		a.Code = http.StatusForbidden
		a.add(headerReason, string(d.Reason))
	default:
		a.Code = http.StatusServiceUnavailable
	}
	return a
}

// identify makes the answer a 200. A site that hands users over in a header of its own has this header beside the others.
func (a *Answer) identify(user, tokenID string, d *authn.Decision) {
	a.Code = http.StatusOK
	a.add(headerUser, user)
	a.add(headerTokenID, tokenID)
	a.add(headerAuthorization, d.Authorization)
	a.add(headerTarget, d.Target)
	if d.IdentityHeader != "" && !strings.EqualFold(d.IdentityHeader, headerUser) {
		a.add(http.CanonicalHeaderKey(d.IdentityHeader), user)
	}
}

// write sends an answer. It sends no header that a gateway could pass on by mistake, not even a Date. removes means that the
// gateway removes the client's headers that are named. Others replace headers: to them the answer has cookies, which are those of
// the client, or empty if they must not reach the product.
func (a *Answer) write(w http.ResponseWriter, removes bool, cookies []string) {
	h := w.Header()
	h["Date"] = nil
	values := make([]string, 0, maxHeaders+1) // one allocation for all headers
	set := func(name, value string) {
		values = append(values, value)
		n := len(values)
		h[name] = values[n-1 : n : n]
	}
	for _, header := range a.Headers() {
		set(header.Name, header.Value)
	}
	switch {
	case a.Code != http.StatusOK:
	case removes:
		set(headerRemove, strings.ToLower(strings.Join(a.Remove(), ",")))
	case a.withoutCookies:
		set(headerCookie, "")
	default:
		set(headerCookie, strings.Join(cookies, "; "))
	}
	w.WriteHeader(a.Code)
}
