package gateways_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"apitokens.dev/operator/internal/authn"
)

// A product gets the target that was judged, byte for byte, where the gateway can send it on: as the client sent it, but for repeated
// slashes.
func TestProductGetsTheTarget(t *testing.T) {
	rewriting := slices.DeleteFunc(programs(), func(p program) bool { return !slices.Contains([]string{"nginx", "haproxy", "caddy"}, p.name) })
	through(t, rewriting, func(t *testing.T, p program) {
		w := newWorld(t)
		send := w.over(p.start(t, w))
		for _, target := range slices.Concat(targets, []string{
			myself, "//rest//api//2//myself", "/rest/api/2//myself?a=//b&c=%2F", "/rest/api/2/search?jql=a%20%3D%20%22b%22&x=+", "/rest/api/2/search?", "/rest/api/2/search?a=b?c=d",
			"/rest/api/2/search?{http.request.uri}", "/rest/api/2/%7Bhttp.request.uri%7D", "/rest/api/2/{host}", "/rest/api/2/search?a=%7Bhost%7D&&b", "/rest/api/2/user%20x",
			"/rest/api/2/é", "/rest/api/2/search?q=é", "/rest/api/2/a:b@c!$&'()*+,=~", "/rest/api/2/search?q=a|b^c`d",
		}) {
			p.judge(t, target, func(fail func(format string, a ...any)) {
				got := send(t, http.MethodGet, target, "Authorization: "+basic("alice", w.token))
				exchanges, _ := w.asked()
				for _, seen := range got.seen {
					if len(exchanges) != 1 || exchanges[0].Decision.Verdict == authn.Allow && seen.RequestURI != exchanges[0].Decision.Target {
						fail("%d, the product got %q, asked %+v", got.status, seen.RequestURI, exchanges)
					}
					if path, _, _ := strings.Cut(seen.RequestURI, "?"); seen.User == "alice" && strings.Contains(path, "//") {
						fail("the product got %q", seen.RequestURI)
					}
				}
			})
		}
	})
}
