package contract_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/webhook/gateway/contract"
)

// askers says for each contract how a gateway describes a client's request, and which headers of the question count.
var askers = map[authurl.Contract]struct {
	ask   func(method, target, client string) *http.Request
	reads []string
}{
	authurl.Nginx: {func(method, target, client string) *http.Request {
		return question("GET", "/nginx/KEY/jira/main", "X-Original-Url", "https://jira.example"+target, "X-Original-Method", method, "X-Real-Ip", client, "X-Forwarded-For", client)
	}, []string{"X-Original-Url", "X-Original-Method", "X-Real-Ip", "X-Forwarded-For"}},
	authurl.Forward: {func(method, target, client string) *http.Request {
		return question("GET", "/forward/KEY/jira/main", "X-Forwarded-Uri", target, "X-Forwarded-Method", method, "X-Forwarded-For", client)
	}, []string{"X-Forwarded-Uri", "X-Forwarded-Method", "X-Forwarded-For"}},
	authurl.Envoy: {func(method, target, client string) *http.Request {
		return question(method, "/envoy/KEY/jira/main"+target, "X-Forwarded-For", client)
	}, []string{"X-Forwarded-For"}},
	authurl.Fabric: {func(method, target, client string) *http.Request {
		return question("GET", "/fabric/KEY/jira/main", "Path", target, "Method", method, "X-Forwarded-For", client)
	}, []string{"Path", "Method"}},
}

// question is a gateway's request, with a raw target.
func question(method, target string, headers ...string) *http.Request {
	r := &http.Request{Method: method, RequestURI: target, Header: http.Header{"Authorization": {"Basic YTpi"}, "X-Request-Id": {"1"}, "Cookie": {"a=b", "c=d"}}}
	for i := 0; i < len(headers); i += 2 {
		r.Header[headers[i]] = []string{headers[i+1]}
	}
	return r
}

// asked returns what the decider is asked for a question, and the answer's code.
func asked(r *http.Request) ([]authn.Request, int) {
	d, w := &decider{answer: authn.Decision{Verdict: authn.Unauthorized}}, httptest.NewRecorder()
	contract.NewHandler(d, ignore).ServeHTTP(w, r)
	return d.asked, w.Code
}

// Every contract describes the same request alike, byte for byte, and another contract's question is none.
func TestEveryContractDescribesTheRequest(t *testing.T) {
	for _, name := range authurl.Contracts() {
		if _, tried := askers[name]; !tried && name != authurl.GRPC { // which has no URL, and a package of its own
			t.Errorf("%s is not tried", name)
		}
	}
	for name, c := range askers {
		for _, target := range []string{"/rest/api/2/issue?a=b", "//rest/..;/%2F", "/rest/%20?x=//?y", "/", "/rest?", "/rest/é", "/nginx/KEY/jira/main"} {
			got, _ := asked(c.ask("PROPFIND", target, "10.1.2.3"))
			want := []authn.Request{{
				Contract: name, CallerKey: "KEY", Site: authn.SiteName{Namespace: "jira", Name: "main"}, Authorization: []string{"Basic YTpi"},
				Cookies: []string{"a=b", "c=d"}, Target: target, Method: "PROPFIND", Client: authn.Client{Address: "10.1.2.3", Forwarded: []string{"10.1.2.3"}},
			}}
			if name == authurl.Fabric { // it does not say where the client is
				want[0].Client = authn.Client{}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s, %s: %s", name, target, diff)
			}
		}
		for other := range askers {
			r := c.ask("GET", "/rest/", "10.1.2.3")
			r.RequestURI = strings.Replace(r.RequestURI, string(name), string(other), 1)
			if got, code := asked(r); other != name && (len(got) != 0 || code != http.StatusServiceUnavailable) {
				t.Errorf("a question of %s was read as one of %s: %+v, %d", name, other, got, code)
			}
		}
	}
}

// A contract's question has one target, which begins with a slash. Otherwise there is no verdict.
func TestEveryContractNeedsOneTarget(t *testing.T) {
	for name, c := range askers {
		for _, target := range []string{"", "rest", "*", "?a=b", "http:rest"} {
			if got, code := asked(c.ask("GET", target, "10.1.2.3")); len(got) != 0 || code != http.StatusServiceUnavailable {
				t.Errorf("%s, target %q: asked %+v, %d", name, target, got, code)
			}
		}
		if name == authurl.Envoy {
			continue
		}
		for _, header := range c.reads[:2] {
			r := c.ask("GET", "/rest/", "10.1.2.3")
			r.Header[header] = append(r.Header[header], r.Header[header][0])
			switch got, code := asked(r); {
			case header == c.reads[0] && (len(got) != 0 || code != http.StatusServiceUnavailable):
				t.Errorf("%s, two targets: asked %+v, %d", name, got, code)
			case header == c.reads[1] && (len(got) != 1 || got[0].Method != ""):
				t.Errorf("%s, two methods: asked %+v", name, got)
			}
		}
		r := c.ask("GET", "/rest/", "10.1.2.3")
		r.RequestURI += "/rest/"
		if got, code := asked(r); len(got) != 0 || code != http.StatusServiceUnavailable {
			t.Errorf("%s, something follows the auth URL: asked %+v, %d", name, got, code)
		}
		r = c.ask("GET", "/rest/", "10.1.2.3")
		r.RequestURI += "?os_username=bob"
		if got, _ := asked(r); len(got) != 1 || got[0].Target != "/rest/" {
			t.Errorf("%s, with the client's query at the auth URL, as Caddy does: asked %+v", name, got)
		}
	}
}

// The peer of the gateway is the last address that it has appended. Without one the address is unknown.
func TestAddressIsTheLastOne(t *testing.T) {
	for name, c := range askers {
		if name == authurl.Nginx || name == authurl.Fabric {
			continue
		}
		for _, tc := range []struct {
			values []string
			want   string
		}{
			{[]string{"10.9.9.9, 10.1.2.3"}, "10.1.2.3"}, {[]string{"10.9.9.9", "10.8.8.8 ,\t10.1.2.3 "}, "10.1.2.3"}, {[]string{"10.1.2.3,"}, ""}, {nil, ""},
		} {
			r := c.ask("GET", "/rest/", "")
			if r.Header["X-Forwarded-For"] = tc.values; tc.values == nil {
				delete(r.Header, "X-Forwarded-For")
			}
			got, _ := asked(r)
			if len(got) != 1 || got[0].Client.Address != tc.want || !slices.Equal(got[0].Client.Forwarded, tc.values) {
				t.Errorf("%s, %q: asked %+v", name, tc.values, got)
			}
		}
	}
}

// Invariant 5: headers of the client that the contract does not define do not change the request that is judged.
func TestOtherHeadersDoNotCount(t *testing.T) {
	names := []string{
		"X-Original-Uri", "X-Original-Url", "X-Original-Method", "X-Forwarded-Uri", "X-Forwarded-Method", "X-Forwarded-Host", "X-Forwarded-Proto",
		"X-Forwarded-Prefix", "X-Forwarded-Path", "X-Forwarded-User", "X_forwarded_for", "X_original_url", "X.forwarded.uri", "X-Rewrite-Url", "Path",
		"Method", "Host", "Forwarded", "X-Http-Method-Override", "Proxy-Authorization", "X-Auth-Request-Redirect", "X-Envoy-Original-Path",
		"X-Envoy-Original-Method", "X-Envoy-External-Address", ":path", "Te", "Via", "X-Real-Ip", "X-Forwarded-For", "X-Client-Ip", "True-Client-Ip", "X-Api-Token-Caller",
	}
	random := rand.New(rand.NewPCG(3, 4))
	for name, c := range askers {
		want, _ := asked(c.ask("PUT", "/rest/api", "10.1.2.3"))
		for range 5_000 {
			r := c.ask("PUT", "/rest/api", "10.1.2.3")
			for range 1 + random.IntN(5) {
				if header := names[random.IntN(len(names))]; !slices.Contains(c.reads, header) {
					r.Header[header] = append(r.Header[header], fmt.Sprintf("/rest/%d", random.Uint64()))
				}
			}
			if got, _ := asked(r); !cmp.Equal(want, got) {
				t.Fatalf("%s: %s\nwith %v", name, cmp.Diff(want, got), r.Header)
			}
		}
	}
}

// Envoy removes the headers that the answer names. With an identity that is the cookie, so that a token of alice with a session
// of bob never becomes bob. What is empty in the answer must not come from the client either.
func TestEnvoyRemovesHeaders(t *testing.T) {
	for _, tc := range []struct {
		decision authn.Decision
		code     int
		want     string
	}{
		{authn.Decision{Verdict: authn.Allow, User: "alice", TokenID: "asp_x", Authorization: "Bearer pat", Target: "/"}, 200, "cookie"},
		{authn.Decision{Verdict: authn.Allow, User: "alice", TokenID: "asp_x", Target: "/"}, 200, "cookie,authorization"},
		{authn.Decision{Verdict: authn.Forward, Authorization: "Basic YTpi", Target: "/"}, 200, "x-forwarded-user,x-api-token-id"},
		{authn.Decision{Verdict: authn.Forward, Target: "/"}, 200, "x-forwarded-user,x-api-token-id,authorization"},
		{authn.Decision{Verdict: authn.Allow, User: "alice", TokenID: "asp_x", IdentityHeader: "X-Remote-User", Target: "/"}, 200, "cookie,authorization"},
		{authn.Decision{Verdict: authn.Forward, IdentityHeader: "X-Remote-User", Target: "/"}, 200, "x-forwarded-user,x-api-token-id,authorization,x-remote-user"},
		{authn.Decision{Verdict: authn.Unauthorized}, 401, ""},
		{authn.Decision{Verdict: authn.Forbidden}, 403, ""},
		{authn.Decision{}, 503, ""},
	} {
		for name, c := range askers {
			w := httptest.NewRecorder()
			contract.NewHandler(&decider{answer: tc.decision}, ignore).ServeHTTP(w, c.ask("GET", "/rest/", "10.1.2.3"))
			want := tc.want
			if name != authurl.Envoy {
				want = ""
			}
			if got := w.Header().Get("X-Envoy-Auth-Headers-To-Remove"); w.Code != tc.code || got != want {
				t.Errorf("%s, %v: %d, removes %q, want %d, %q", name, tc.decision, w.Code, got, tc.code, want)
			}
		}
	}
}

// A site that hands users over in a header: with every contract, the header has the owner of the token, and is there and empty
// without one. No credential goes to the product with a token, and no refusal has the header.
func TestIdentityHeader(t *testing.T) {
	for contractName, c := range askers {
		for _, name := range []string{"X-Remote-User", "remote-user", "X-Forwarded-User", "x-forwarded-user"} {
			for _, verdict := range []authn.Verdict{authn.CannotDecide, authn.Unauthorized, authn.Forbidden, authn.Forward, authn.Allow} {
				d := authn.Decision{Verdict: verdict, User: "alice", TokenID: "asp_x", IdentityHeader: name, Target: "/"}
				w := httptest.NewRecorder()
				contract.NewHandler(&decider{answer: d}, ignore).ServeHTTP(w, c.ask("GET", "/rest/", "10.1.2.3"))
				var want []string
				switch verdict {
				case authn.Allow:
					want = []string{"alice"}
				case authn.Forward:
					want = []string{""}
				}
				if got := w.Header().Values(name); !slices.Equal(got, want) {
					t.Errorf("%s, %s, %v: %q, want %q", contractName, name, verdict, got, want)
				}
				if got := w.Header().Values("Authorization"); w.Code == 200 && !slices.Equal(got, []string{""}) {
					t.Errorf("%s, %v: the product gets %q", contractName, verdict, got)
				}
			}
		}
	}
}
