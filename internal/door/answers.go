package door

import (
	"net/http"
	"slices"

	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/httpheader"
)

// answer is what a client gets. Without an err it has a status.
type answer struct {
	err    error
	status int
	header http.Header
	// user is the user that the product says the request is of. It is empty for an anonymous one.
	user string
	// namesMadeUp means that the made-up user is in the answer.
	namesMadeUp bool
}

// forgedAnswer is the answer to a request with a forged identity header.
type forgedAnswer struct {
	answer

	name, path string
	// honest is the answer at the same path without the header.
	honest answer
}

// answers are those of one round. All requests but beside are for path.
type answers struct {
	path string
	// anonymous is without a credential, and beside is too, at a path without tokens.
	anonymous, beside answer
	forged            []forgedAnswer
	// everywhere is at the path of beside, with no credential but a forged identity and a token in the query: the webhook refuses it
	// if it is asked. It is asked only where the ingress has to ask about every request.
	everywhere answer
	// madeUp is with a token that does not exist.
	madeUp answer
	// early is with a probe that is not due. late is the same request again when the probe is due.
	early, late answer
	// due is with a probe that is due. bound is with one for this path alone.
	due, bound answer
	// claims are with a probe for this path and headers of the client that claim another one, as gateways of a contract send them.
	claims map[authurl.Contract]answer
}

// unauthorized reports whether an answer is the webhook's to a token that does not authenticate.
func (a answer) unauthorized() bool {
	return a.status == http.StatusUnauthorized && slices.Contains(a.header.Values("WWW-Authenticate"), httpheader.Challenge)
}

func (a answer) unavailable() bool { return a.status >= 500 }

// asked reports whether the question was asked at all.
func (a answer) asked() bool { return a.status != 0 || a.err != nil }

func (a answer) redirects() bool { return a.status >= 300 && a.status < 400 }

// decisive are the answers without which nothing can be said. Those that were not asked for count as fine.
func (a answers) decisive() []answer {
	return []answer{a.anonymous, a.madeUp, a.early, a.due, a.bound, a.late}
}

// err returns the error of the first request without an answer.
func (a answers) err() error {
	for _, one := range a.decisive() {
		if one.err != nil {
			return one.err
		}
	}
	return nil
}

// asked reports whether this webhook gave the verdicts: a probe is refused in one way before it is due, and in another one after that.
// Some gateways pass on the reason too.
func (a answers) asked() bool {
	return a.due.status == http.StatusForbidden &&
		(a.early.status != http.StatusForbidden || a.madeUp.unauthorized() || a.due.header.Get("X-Api-Token-Reason") != "")
}

// passedUnasked reports whether a request without a credential came to the product without the webhook.
func (a answers) passedUnasked() bool {
	one := a.everywhere
	known := one.status != 0 && one.status != http.StatusTooManyRequests && !one.unavailable()
	return known && one.status != http.StatusForbidden
}

// undecided reports whether the gateway has no verdict: every token gets the same error, or everything is refused.
func (a answers) undecided() bool {
	fails := func(one answer) bool { return one.unavailable() }
	if a.anonymous.status == http.StatusForbidden {
		fails = func(one answer) bool { return one.status == http.StatusForbidden }
	}
	return fails(a.madeUp) && fails(a.early) && fails(a.due) && fails(a.bound)
}

// believed returns the contract whose headers a client can set, so that the webhook judges a path of the client's choosing.
func (a answers) believed() (c authurl.Contract, found bool) {
	for _, c := range authurl.Contracts() {
		if claim, asked := a.claims[c]; asked && claim.status == http.StatusUnauthorized && a.bound.status != http.StatusUnauthorized {
			return c, true
		}
	}
	return "", false
}
