package gateways_test

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// credentialPath matches what issues or sets credentials, where a token must not arrive as its owner.
var credentialPath = regexp.MustCompile(`(?i)/rest/(pat|auth|oauth2|access-tokens)(/|$)|/plugins/servlet/(oauth|applinks)|/s/.*/_/`)

// targets are spellings of paths with which external authorization was bypassed: what the gateway or the webhook judges is not
// what the product runs.
var targets = []string{
	"/rest/pat/latest/tokens", "/rest//pat/latest/tokens", "/rest/./pat/latest/tokens", "/rest/x/../pat/latest/tokens", "/rest/%70at/latest/tokens",
	"/rest/%2e%2e/rest/pat/latest/tokens", "/rest/x/%2E%2E/pat/latest/tokens", "/rest/x/..%2fpat/latest/tokens", "/rest/x%2f..%2fpat/latest/tokens",
	"/rest/;x/pat/latest/tokens", "/rest/pat;a=b/latest/tokens", "/rest;a=b/pat/latest/tokens", "/rest/..;/rest/pat/latest/tokens", "/rest/x/..;a/pat/latest/tokens",
	"/rest/%3b/pat/latest/tokens", "/rest\\pat/latest/tokens", "/rest/%5c..%5cpat/latest/tokens", "/rest/%00/pat", "/rest/%252e%252e/pat/latest/tokens",
	"/rest/PAT/latest/tokens", "/REST/pat/latest/tokens", "/rest/pat/latest/tokens/", "/rest/pat/latest/tokens?x=/rest/api", "/rest/api/2/myself?/../pat",
	"/s/..;/rest/api/_/rest/pat/latest/tokens", "/s/x/_/rest/pat/latest/tokens", "/s/%2e%2e/rest/api/_/rest/pat/latest/tokens", "/rest/s/x/_/rest/pat/latest/tokens",
	"/rest/..;/s/x/_/rest/pat/latest/tokens", "/rest/api/2/../../secure/admin", "/rest/..;/secure/admin", "/rest/%2e%2e/secure/admin", "/rest/..%2fsecure/admin",
	"//rest/pat/latest/tokens", "///rest//pat//latest//tokens", "/./rest/pat/latest/tokens", "/x/../rest/pat/latest/tokens", "/rest/pat%20/latest", "/rest/api/2/%23/../pat",
	"/rest/pat#/rest/api/2/myself", "/rest/api/2/myself#/../../pat", "/secure/admin?/rest/api", "/rest/api/2/myself;/../../pat/latest/tokens", "/rest/pat;.css",
	"/secure/admin", "/secure/..;/rest/pat/latest/tokens", "/plugins/servlet/oauth/authorize", "/rest/../plugins/servlet/oauth/authorize",
}

// A token never reaches, as its owner, a path that issues credentials or lies outside of the token paths, however it is spelled.
func TestPaths(t *testing.T) {
	through(t, programs(), func(t *testing.T, p program) {
		w := newWorld(t)
		gateway := p.start(t, w)
		for _, target := range targets {
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				w.checkPath(t, p, w.over(gateway), method, target)
			}
		}
		w.check(t, p, w.over(gateway), w.credentials()[1], "GET", myself)
	})
}

// checkPath sends a token to a path, and judges what the product ran.
func (w *world) checkPath(t *testing.T, p program, send sender, method, target string) {
	t.Helper()
	p.judge(t, method+" "+target, func(fail func(format string, a ...any)) {
		got := send(t, method, target, "Authorization: "+basic("alice", w.token))
		for _, seen := range got.seen {
			ran := strings.TrimPrefix(seen.Path, w.contextPath)
			if seen.Forwarded != "" {
				ran = seen.Forwarded
			}
			if seen.User == "alice" && (!strings.HasPrefix(ran, "/rest/") || credentialPath.MatchString(ran)) {
				fail("%d, and the product ran %s as alice", got.status, ran)
			}
			if strings.Contains(seen.Header.Get("Authorization"), "Basic") && !p.restAlone {
				fail("the token reached the product")
			}
		}
	})
}

// A request with as many headers as a gateway takes is judged like any other, and the gateway goes on.
func TestManyHeaders(t *testing.T) {
	through(t, realPrograms(), func(t *testing.T, p program) {
		w := newWorld(t)
		gateway := p.start(t, w)
		for _, name := range []string{"Cookie", "X-Request-Id", "X-Nothing"} {
			for count := 90; count < 100; count++ {
				lines := []string{"Authorization: " + basic("alice", w.token)}
				for range count {
					lines = append(lines, name+": a=b")
				}
				p.judge(t, fmt.Sprintf("%d times %s", count, name), func(fail func(format string, a ...any)) {
					got := w.send(t, gateway, http.MethodGet, myself, lines...)
					for _, seen := range got.seen {
						if seen.User != "alice" || len(seen.Header["Cookie"]) > 0 && seen.Header.Get("Cookie") != "" {
							fail("%d, and the product served %q with %v", got.status, seen.User, seen.Header)
						}
					}
					if got.status != http.StatusOK && got.status != http.StatusBadRequest {
						fail("%d", got.status)
					}
				})
			}
		}
	})
}

// A second credential beside a token is refused, wherever it stands.
func TestSecondCredential(t *testing.T) {
	through(t, programs(), func(t *testing.T, p program) {
		w := newWorld(t)
		gateway := p.start(t, w)
		ours, others := "Authorization: "+basic("alice", w.token), "Authorization: Bearer "+pat
		refusals := []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden}
		for name, tc := range map[string]struct {
			target  string
			headers []string
			status  []int
		}{
			"two headers, ours first":     {myself, []string{ours, others}, refusals},
			"two headers, ours last":      {myself, []string{others, ours}, refusals},
			"folded by a comma":           {myself, []string{ours + ", Bearer " + pat}, refusals},
			"folded by a comma, last":     {myself, []string{others + ", " + basic("alice", w.token)}, refusals},
			"in another case":             {myself, []string{ours, "AUTHORIZATION: Bearer " + pat}, refusals},
			"os_username and os_password": {myself + "?os_username=bob&os_password=bobs%20password", []string{ours}, refusals},
			"os_ in other letters":        {myself + "?%6fs_username=bob&os%5fpassword=bobs%20password", []string{ours}, refusals},
			"os_authType":                 {myself + "?os_authType=any", []string{ours}, refusals},
			"os_cookie":                   {myself + "?a=b&os_cookie=true", []string{ours}, refusals},
			"the token in the query":      {myself + "?os_username=alice&os_password=" + w.token, nil, []int{http.StatusForbidden}},
		} {
			p.judge(t, name, func(fail func(format string, a ...any)) {
				if got := w.send(t, gateway, http.MethodGet, tc.target, tc.headers...); !slices.Contains(tc.status, got.status) || len(got.seen) != 0 {
					fail("%d, and the product saw %+v", got.status, got.seen)
				}
			})
		}
	})
}
