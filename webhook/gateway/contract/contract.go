// Package contract translates between gateways and the decision: what each one sends, and what it accepts as an answer.
// One URL is one contract; what kind of gateway is asking is never guessed from what it sends.
package contract

import (
	"net/http"
	"strings"
	"time"

	"apitokens.dev/operator/internal/audit"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/authurl"
)

// Decider decides. It is an *authn.Index.
type Decider interface {
	Decide(*authn.Request) authn.Decision
}

// ReasonUnknownContract means that the URL is not an auth URL, or that the gateway did not send what its contract asks for.
const ReasonUnknownContract authn.Reason = "unknown_contract"

// contract reads what one kind of gateway says of the client's request.
// It fails if the gateway is not configured as the contract demands.
type contract func(http.Header, *authn.Request) (audit.Claimed, bool)

// NewHandler returns the one handler of the authentication port. It answers every method and every path.
func NewHandler(decider Decider, observe func(audit.Exchange)) http.Handler {
	contracts := map[authurl.Contract]contract{authurl.Nginx: nginx}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		x := exchange(decider, contracts, r)
		answer(w, x.Decision)
		x.Took = time.Since(start)
		observe(x)
	})
}

func exchange(decider Decider, contracts map[authurl.Contract]contract, r *http.Request) audit.Exchange {
	x := audit.Exchange{Peer: r.RemoteAddr, Decision: authn.Decision{Verdict: authn.CannotDecide, Reason: ReasonUnknownContract}}
	// The raw target: a decoded or cleaned one would no longer be what the gateway asked for.
	path, _, _ := strings.Cut(r.RequestURI, "?")
	address, ok := authurl.Parse(path)
	read := contracts[address.Contract]
	if !ok || read == nil {
		return x
	}
	x.Site = authn.SiteName{Namespace: address.Namespace, Name: address.Site}
	request := authn.Request{
		Contract: address.Contract, CallerKey: address.Key, Site: x.Site, Authorization: r.Header.Values("Authorization"),
	}
	if x.Claimed, ok = read(r.Header, &request); ok {
		x.Decision = decider.Decide(&request)
	}
	return x
}
