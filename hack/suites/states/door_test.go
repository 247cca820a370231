package states_test

import (
	"context"
	"net"
	"net/http"
	"strings"
	"syscall"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"apitokens.dev/operator/hack/lib/clocktest"
	"apitokens.dev/operator/internal/door"
	"apitokens.dev/operator/internal/httpheader"
	"apitokens.dev/operator/internal/probe"
)

// ingresses look at the ingress of a site by its name, at once. About sites without one nothing is found.
type ingresses map[string]http.RoundTripper

func (i ingresses) Changed() <-chan event.GenericEvent { return nil }

func (i ingresses) Forget(types.NamespacedName) {}

func (i ingresses) Found(name types.NamespacedName, s door.Site) (door.Finding, bool) {
	transport, there := i[name.Name]
	if !there {
		return door.Finding{}, false
	}
	now := clocktest.NewHurried()
	if g, ok := transport.(gate); ok {
		g.key, g.clock = s.Key, now
		transport = g
	}
	return door.Asker{Clock: now, Transport: transport}.Look(context.Background(), s), true
}

// gate is a gateway with one fault, in front of a product that knows nobody.
type gate struct {
	key   probe.Key
	clock clock.PassiveClock
	// verdict changes the webhook's verdict about a password, and answer the answer.
	verdict func(r *http.Request, password string, verdict int) int
	answer  func(r *http.Request, a *http.Response)
}

func (g gate) RoundTrip(r *http.Request) (*http.Response, error) {
	a := &http.Response{StatusCode: http.StatusUnauthorized, Header: http.Header{}, Body: http.NoBody, Request: r}
	if _, password, ok := r.BasicAuth(); ok {
		if g.key.Verify([]byte(password), r.URL.Path, g.clock.Now()) {
			a.StatusCode = http.StatusForbidden
		}
		if g.verdict != nil {
			a.StatusCode = g.verdict(r, password, a.StatusCode)
		}
		if a.StatusCode == http.StatusUnauthorized {
			a.Header.Set("WWW-Authenticate", httpheader.Challenge)
		}
	}
	if g.answer != nil {
		g.answer(r, a)
	}
	return a, nil
}

// nothing is where no ingress listens.
type nothing struct{}

func (nothing) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
}

// always answers with one status.
func always(status int) gate {
	return gate{answer: func(_ *http.Request, a *http.Response) { a.StatusCode, a.Header = status, http.Header{} }}
}

func bound(password string) bool { return strings.Contains(password, "_path_") }

var ingressesOf = ingresses{
	"door-shut": gate{},
	"door-open": gate{answer: func(_ *http.Request, a *http.Response) { a.Header.Set("X-AUSERNAME", "bob") }},
	"door-header": gate{answer: func(r *http.Request, a *http.Response) {
		if r.Header.Get("X-Forwarded-User") != "" {
			a.Header.Set("X-AUSERNAME", r.Header.Get("X-Forwarded-User"))
		}
	}},
	"door-not-asked":  always(http.StatusUnauthorized),
	"door-no-webhook": always(http.StatusInternalServerError),
	"door-other-site": gate{verdict: func(*http.Request, string, int) int { return http.StatusUnauthorized }},
	"door-contract": gate{verdict: func(r *http.Request, _ string, verdict int) int {
		if r.Header.Get("X-Original-Url") != "" {
			return http.StatusUnauthorized
		}
		return verdict
	}},
	"door-path": gate{verdict: func(_ *http.Request, password string, verdict int) int {
		if bound(password) {
			return http.StatusUnauthorized
		}
		return verdict
	}},
	"door-cached": gate{verdict: cached(map[string]int{})},
	"door-altered": gate{answer: func(r *http.Request, a *http.Response) {
		if a.StatusCode == http.StatusUnauthorized && r.Header.Get("Authorization") != "" {
			a.Header.Del("WWW-Authenticate")
		}
	}},
	"door-far": nothing{},
	"door-redirect": gate{answer: func(r *http.Request, a *http.Response) {
		a.StatusCode, a.Header = http.StatusMovedPermanently, http.Header{"Location": {"https://tracker.example.com" + r.URL.Path}}
	}},
	"door-limited": always(http.StatusTooManyRequests),
}

// cached keeps verdicts of 401.
func cached(kept map[string]int) func(*http.Request, string, int) int {
	return func(_ *http.Request, password string, verdict int) int {
		if kept[password] == 0 && verdict == http.StatusUnauthorized {
			kept[password] = verdict
		}
		if kept[password] != 0 {
			return kept[password]
		}
		return verdict
	}
}

func doorExamples() (all []example) {
	for _, name := range []string{
		"door-shut", "door-open", "door-header", "door-not-asked", "door-no-webhook", "door-other-site", "door-contract", "door-path", "door-cached",
		"door-altered", "door-far", "door-redirect", "door-limited",
	} {
		all = append(all, example{name, 0, func(w *world, name string) { w.site(name) }})
	}
	return all
}
