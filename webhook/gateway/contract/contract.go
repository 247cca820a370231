// Package contract translates between gateways and the decision. A contract is the form of a gateway's questions and of the
// answers that it accepts. Each contract has its own URL. The kind of gateway is never guessed from its headers.
package contract

import (
	"net/http"
	"strings"
	"time"

	"apitokens.dev/operator/internal/audit"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/httpheader"
)

// Decider judges requests. It is an *authn.Index.
type Decider interface {
	Decide(*authn.Request) authn.Decision
}

// ReasonUnknownContract means that the URL is not an auth URL, or the gateway did not send what its contract requires.
const ReasonUnknownContract authn.Reason = "unknown_contract"

// contract reads a gateway's description of the client's request into the Request. It returns false if the gateway is not
// configured as the contract requires.
type contract func(http.Header, *authn.Request) (audit.Claimed, bool)

// NewHandler returns the only handler of the authentication port. It answers every method and path, and calls observe with
// each exchange.
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

// callerKey returns the caller key of the URL, or that of the header if the URL refers to it. A header beside a key in the
// URL could be the client's own.
func callerKey(address authurl.Address, h http.Header) string {
	if address.Key == authurl.KeyInHeader {
		return httpheader.Only(h, authurl.Header)
	}
	return address.Key
}

// exchange asks decider about the client's request that r describes.
func exchange(decider Decider, contracts map[authurl.Contract]contract, r *http.Request) audit.Exchange {
	x := audit.Exchange{Peer: r.RemoteAddr, Decision: authn.Decision{Verdict: authn.CannotDecide, Reason: ReasonUnknownContract}}
	// Use the raw target: r.URL is decoded, and two auth URLs could look the same there.
	path, _, _ := strings.Cut(r.RequestURI, "?")
	address, ok := authurl.Parse(path)
	read := contracts[address.Contract]
	if !ok || read == nil {
		return x
	}
	x.Site = authn.SiteName{Namespace: address.Namespace, Name: address.Site}
	request := authn.Request{
		Contract: address.Contract, CallerKey: callerKey(address, r.Header), Site: x.Site, Authorization: r.Header.Values("Authorization"),
	}
	if x.Claimed, ok = read(r.Header, &request); ok {
		x.Decision = decider.Decide(&request)
	}
	return x
}
