package main

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"testing"

	"apitokens.dev/operator/hack/lib/ports"
	"apitokens.dev/operator/hack/lib/rig"
)

// The limits of tokens and of sites hold through a real nginx, and nothing that a client sends widens them.
func TestLimits(t *testing.T) {
	licenses := newIssuer(t)
	r, err := rig.Start(t.Context(), t.Output(), "--license-public-keys", licenses.public)
	t.Cleanup(func() {
		if err := r.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &story{Rig: r, out: t.Output()}
	proxy := ""
	for _, step := range []func(context.Context) error{
		s.declareSite, func(ctx context.Context) (err error) { proxy, err = s.startGatewayBehindProxy(ctx); return err },
		s.declareToken, s.readDelivered,
	} {
		if err := step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	// With a valid licence all of the following works as without licensing.
	if !t.Run("licences", func(t *testing.T) { s.licenses(t, licenses) }) {
		return
	}
	for _, l := range limits(proxy) {
		t.Run(l.name, func(t *testing.T) { s.limit(t, l) })
	}
	t.Run("imported", s.imported)
	t.Run("namespaces", s.namespaces)
	t.Run("monitoring", s.monitoring)
}

// startGatewayBehindProxy starts nginx, and a second nginx as a proxy in front of it with an address of its own.
func (s *story) startGatewayBehindProxy(ctx context.Context) (proxy string, err error) {
	authURL, err := s.authURL(ctx)
	if err != nil {
		return "", err
	}
	free, err := ports.Free(1)
	if err != nil {
		return "", err
	}
	return "http://" + free[0], s.StartNginx(ctx, authURL, fmt.Sprintf(`server {
    listen %s;
    location / {
        proxy_pass %s;
        proxy_bind 127.0.0.9;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }
}`, free[0], s.URL))
}

// fields are merged into a spec.
type fields map[string]any

// limit is a limit in the specs of token and site, and the expected outcomes of requests.
type limit struct {
	name        string
	token, site fields
	expect      []expect
}

// limit checks the outcome of each request without the limit, with it, and without it again.
func (s *story) limit(t *testing.T, l limit) {
	var free []expect
	for _, e := range l.expect {
		e.want = cmp.Or(e.free, "200")
		free = append(free, e)
	}
	s.await(t, free...)
	defer s.await(t, free...)
	if l.token != nil {
		s.patchSpec(t, "alice", "apitoken/alice-ci", l.token)
		defer s.patchSpec(t, "alice", "apitoken/alice-ci", l.token.without())
	}
	if l.site != nil {
		s.patchSpec(t, "admin", "atlassiansite/main", l.site)
		defer s.patchSpec(t, "admin", "atlassiansite/main", l.site.without())
	}
	s.await(t, l.expect...)
}

func (f fields) without() fields {
	gone := fields{}
	for key := range f {
		gone[key] = nil
	}
	return gone
}

func limits(proxy string) []limit {
	return append(sourceLimits(proxy),
		limit{name: "a token that is read-only", token: fields{"access": "ReadOnly"}, expect: changes()},
		limit{name: "a site that is read-only", site: fields{"tokenPolicy": fields{"access": "ReadOnly"}}, expect: changes()},
		limit{name: "paths", token: fields{"allowedPaths": []string{"/rest/api/2/myself", "/rest/double/"}}, expect: paths()},
		limit{name: "suspended", token: fields{"state": "Suspended"}, expect: []expect{
			{want: "401"}, {ask: ask{method: http.MethodPost}, want: "401"},
			{ask: ask{user: "bob"}, want: "401", free: "401"},
		}},
	)
}

// changes are requests of each method. Those that can change something are refused.
func changes() []expect {
	const refused = "403 ReadOnly"
	return []expect{
		{ask: ask{method: http.MethodPost}, want: refused},
		{ask: ask{method: http.MethodPut}, want: refused},
		{ask: ask{method: http.MethodPatch}, want: refused},
		{ask: ask{method: http.MethodDelete}, want: refused},
		{ask: ask{method: "PROPFIND"}, want: refused},
		{ask: ask{method: http.MethodGet}, want: "200"},
		{ask: ask{method: http.MethodHead}, want: "200"},
		{ask: ask{method: http.MethodOptions}, want: "200"},
		// The headers of the gateway count, not the same headers from the client.
		{ask: ask{method: http.MethodPost, header: http.Header{"X-Original-Method": {"GET"}, "X-Http-Method-Override": {"GET"}}}, want: refused},
	}
}

// paths are requests while /rest/api/2/myself and /rest/double/ are allowed.
func paths() []expect {
	const refused, special, notFound = "403 PathNotAllowed", "403 PathCharacterNotAllowed", "product 404"
	return []expect{
		{ask: ask{path: "/rest/api/2/serverInfo"}, want: refused},
		{ask: ask{path: "/rest/api/2/myself"}, want: "200"},
		{ask: ask{path: echo + "?a=/rest/api/2/serverInfo"}, want: "200"},
		{ask: ask{path: "/rest/api/2//m%79self"}, want: "200"},
		{ask: ask{path: "/rest/api/2/myself/below"}, want: notFound, free: notFound},
		{ask: ask{path: "/rest/api/2/myselfish"}, want: refused, free: notFound},
		// The same resource by a path that is not allowed.
		{ask: ask{path: "/rest/api/latest/myself"}, want: refused},
		{ask: ask{path: "/rest/api/2/myself/../serverInfo"}, want: "401", free: "401"},
		{ask: ask{path: "/rest/api/2/myself/%2e%2E/serverInfo"}, want: "401", free: "401"},
		{ask: ask{path: "/rest/api/2/myself/..;/serverInfo"}, want: "401", free: "401"},
		{ask: ask{path: "/rest/api/2/myself;/../serverInfo"}, want: "401", free: "401"},
		{ask: ask{path: "/rest/api/2/myself;a=b"}, want: special, free: special},
		{ask: ask{path: "/rest/api/2/myself/C%23"}, want: special, free: special},
		{ask: ask{path: "/rest/api/2/serverInfo?/rest/api/2/myself"}, want: refused},
		{ask: ask{path: "/rest/api/2/serverInfo", header: http.Header{"X-Original-Url": {"http://jira" + echo}}}, want: refused},
		{ask: ask{path: "/rest/api/2/myself%2f..%2fserverInfo"}, want: "401", free: "401"},
		{ask: ask{path: "/rest/api/2/myself/..%5cserverInfo"}, want: "401", free: "401"},
		{ask: ask{path: "/rest/double/../../secure/Dashboard.jspa"}, want: "401", free: "401"},
	}
}

// forged are headers with which a client could claim another address.
func forged(address string) http.Header {
	h := http.Header{"Forwarded": {"for=" + address}, "X-Forwarded-For": {address}}
	for _, name := range []string{"X-Real-Ip", "X-Client-Ip", "True-Client-Ip", "X-Original-Forwarded-For", "X_Real_Ip", "X_Forwarded_For"} {
		h[name] = []string{address}
	}
	return h
}

func forwarded(lines ...string) http.Header { return http.Header{"X-Forwarded-For": lines} }

func sourceLimits(proxy string) []limit {
	const refused = "403 SourceNotAllowed"
	elsewhere := []expect{
		{want: refused},
		{ask: ask{header: forged("10.1.2.3")}, want: refused},
		{ask: ask{header: forwarded("10.1.2.3, 10.1.2.3", "10.1.2.3")}, want: refused},
		{ask: ask{to: proxy, header: forged("10.1.2.3")}, want: refused},
	}
	here := []expect{
		{ask: ask{from: "127.0.0.2"}, want: refused},
		{ask: ask{from: "127.0.0.2", header: forged("127.0.0.1")}, want: refused},
		{ask: ask{from: "127.0.0.1"}, want: "200"},
		{ask: ask{from: "127.0.0.1", header: forged("10.1.2.3")}, want: "200"},
		// The client address is the proxy's until the site counts it as a trusted hop.
		{ask: ask{from: "127.0.0.1", to: proxy}, want: refused},
	}
	behind := []expect{
		{ask: ask{to: proxy, from: "127.0.0.3"}, want: refused},
		{ask: ask{to: proxy, from: "127.0.0.2"}, want: "200"},
		{ask: ask{to: proxy, from: "127.0.0.2", header: forged("10.1.2.3")}, want: "200"},
		{ask: ask{to: proxy, from: "127.0.0.2", header: forwarded("no address, ,")}, want: "200"},
		{ask: ask{to: proxy, from: "127.0.0.3", header: forged("127.0.0.2")}, want: refused},
		{ask: ask{to: proxy, from: "127.0.0.3", header: forwarded("127.0.0.2, 127.0.0.2")}, want: refused},
		{ask: ask{to: proxy, from: "127.0.0.3", header: forwarded("127.0.0.2", "127.0.0.2,")}, want: refused},
		// A client that bypasses the proxy has no address that could be trusted.
		{ask: ask{from: "127.0.0.2"}, want: refused},
	}
	return []limit{
		{name: "a token from elsewhere", token: fields{"allowedSources": []string{"10.0.0.0/8"}}, expect: elsewhere},
		{name: "a site from elsewhere", site: fields{"allowedSources": []string{"10.0.0.0/8"}}, expect: elsewhere},
		{name: "a token from here", token: fields{"allowedSources": []string{"127.0.0.1/32"}}, expect: here},
		{name: "a site from here", site: fields{"allowedSources": []string{"127.0.0.1/32"}}, expect: here},
		{
			name: "behind a proxy", token: fields{"allowedSources": []string{"127.0.0.2/32"}}, site: fields{"trustedHops": 1}, expect: behind,
		},
		{
			name: "what both allow", token: fields{"allowedSources": []string{"127.0.0.2/31"}}, site: fields{"allowedSources": []string{"127.0.0.0/30"}},
			expect: []expect{
				{ask: ask{from: "127.0.0.1"}, want: refused}, {ask: ask{from: "127.0.0.2"}, want: "200"}, {ask: ask{from: "127.0.0.5"}, want: refused},
			},
		},
	}
}
