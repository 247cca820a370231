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

// contract is how one kind of gateway asks, and what it does with the answer.
type contract struct {
	// read fills in Target, Method and Client of the Request. following is what follows the auth URL, with the query. It
	// returns false if the gateway is not configured as the contract requires.
	read func(r *http.Request, following string, q *authn.Request) bool
	// removes means that the gateway removes the client's headers that an answer names. Others replace headers.
	removes bool
}

var contracts = map[authurl.Contract]contract{
	authurl.Nginx:   {read: nothingFollows(nginx)},
	authurl.Forward: {read: nothingFollows(forward)},
	authurl.Envoy:   {read: envoy, removes: true},
	authurl.Fabric:  {read: nothingFollows(fabric)},
}

// nothingFollows is for gateways that call the auth URL as it is. A query may follow: Caddy appends that of the client.
func nothingFollows(read func(http.Header, *authn.Request) bool) func(*http.Request, string, *authn.Request) bool {
	return func(r *http.Request, following string, q *authn.Request) bool {
		return !strings.HasPrefix(following, "/") && read(r.Header, q)
	}
}

// NewHandler returns the only handler of the authentication port. It answers every method and path, and calls observe with
// each exchange. observe must not keep it.
func NewHandler(decider Decider, observe func(*audit.Exchange)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		q := NewQuestion()
		removes := q.answer(decider, r)
		answer := AnswerTo(&q.Decision)
		answer.write(w, removes, q.Request.Cookies)
		q.Took = time.Since(start)
		q.At = start.Add(q.Took)
		observe(&q.Exchange)
		q.Free()
	})
}

// callerKey returns the caller key of the URL, or that of the header if the URL refers to it. A header beside a key in the
// URL could be the client's own.
func callerKey(address authurl.Address, h http.Header) string {
	if address.Key == authurl.NoKey {
		return httpheader.Only(h, authurl.Header)
	}
	return address.Key
}

// answer asks decider about the client's request that r describes. removes is that of the contract.
func (q *Question) answer(decider Decider, r *http.Request) (removes bool) {
	q.Peer = r.RemoteAddr
	// Use the raw target: r.URL is decoded, and two auth URLs could look the same there.
	path, _, _ := strings.Cut(r.RequestURI, "?")
	address, following, ok := authurl.Cut(path)
	c, known := contracts[address.Contract]
	if !ok || !known {
		return false
	}
	q.Site = authn.SiteName{Namespace: address.Namespace, Name: address.Site}
	q.Request = authn.Request{
		Contract: address.Contract, CallerKey: callerKey(address, r.Header), Site: q.Site, Authorization: r.Header[headerAuthorization],
		Cookies: r.Header[headerCookie], Certificate: certificate(r),
	}
	if c.read(r, r.RequestURI[len(path)-len(following):], &q.Request) {
		q.Claimed = claimed(r.Header, &q.Request)
		q.Ask(decider)
	}
	return c.removes
}

// claimed returns what the gateway says of the client, for the log.
func claimed(h http.Header, q *authn.Request) audit.Claimed {
	path, _, _ := strings.Cut(q.Target, "?")
	return audit.Claimed{Client: q.Client.Address, Method: q.Method, Path: path, RequestID: httpheader.Only(h, "X-Request-Id")}
}
