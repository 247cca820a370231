package contract_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"apitokens.dev/operator/internal/audit"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/webhook/gateway/contract"
)

const authURL = "/nginx/KEY/jira/main"

// decider always gives the same answer, and records the requests.
type decider struct {
	answer authn.Decision
	asked  []authn.Request
}

func (d *decider) Decide(r *authn.Request) authn.Decision {
	d.asked = append(d.asked, *r)
	return d.answer
}

func ignore(*audit.Exchange) {}

// exchange sends raw bytes over a real connection and returns the whole answer, byte for byte.
func exchange(t *testing.T, d *decider, raw string) string {
	t.Helper()
	server := httptest.NewUnstartedServer(contract.NewHandler(d, ignore))
	server.Config.DisableGeneralOptionsHandler = true
	server.Start()
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, raw); err != nil {
		t.Fatal(err)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
	answer, err := io.ReadAll(bufio.NewReader(conn))
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}

func ask(headers ...string) string {
	lines := append([]string{"GET " + authURL + " HTTP/1.1", "Host: webhook", "X-Original-URL: https://jira.example/rest/api"}, headers...)
	return strings.Join(lines, "\r\n") + "\r\n\r\n"
}

// Invariants 3 and 4, on the whole answer, byte for byte.
func TestAnswers(t *testing.T) {
	for name, tc := range map[string]struct {
		decision authn.Decision
		want     string
	}{
		"allow": {
			authn.Decision{Verdict: authn.Allow, User: "alice", TokenID: "asp_x", Authorization: "Bearer pat", Target: "/rest/api?x=//"},
			"HTTP/1.1 200 OK\r\nAuthorization: Bearer pat\r\nCookie: \r\nX-Api-Token-Id: asp_x\r\nX-Api-Token-Target: /rest/api?x=//\r\n" +
				"X-Forwarded-User: alice\r\nContent-Length: 0\r\n\r\n",
		},
		"allow by a header": {
			authn.Decision{Verdict: authn.Allow, User: "alice", TokenID: "asp_x", IdentityHeader: "x-remote-user", Target: "/rest/api"},
			"HTTP/1.1 200 OK\r\nAuthorization: \r\nCookie: \r\nX-Api-Token-Id: asp_x\r\nX-Api-Token-Target: /rest/api\r\n" +
				"X-Forwarded-User: alice\r\nX-Remote-User: alice\r\nContent-Length: 0\r\n\r\n",
		},
		"forward at a site with a header": {
			authn.Decision{Verdict: authn.Forward, Authorization: "Basic YTpi", IdentityHeader: "X-Remote-User", Target: "/"},
			"HTTP/1.1 200 OK\r\nAuthorization: Basic YTpi\r\nCookie: a=b; c=d\r\nX-Api-Token-Id: \r\nX-Api-Token-Target: /\r\n" +
				"X-Forwarded-User: \r\nX-Remote-User: \r\nContent-Length: 0\r\n\r\n",
		},
		"forward with a credential": {
			authn.Decision{Verdict: authn.Forward, Authorization: "Basic YTpi", Target: "//rest/..;/%2F"},
			"HTTP/1.1 200 OK\r\nAuthorization: Basic YTpi\r\nCookie: a=b; c=d\r\nX-Api-Token-Id: \r\nX-Api-Token-Target: //rest/..;/%2F\r\nX-Forwarded-User: \r\nContent-Length: 0\r\n\r\n",
		},
		"forward without": {
			authn.Decision{Verdict: authn.Forward},
			"HTTP/1.1 200 OK\r\nAuthorization: \r\nCookie: a=b; c=d\r\nX-Api-Token-Id: \r\nX-Api-Token-Target: \r\nX-Forwarded-User: \r\nContent-Length: 0\r\n\r\n",
		},
		// An identity beside another verdict is a defect elsewhere. Still, it must not leave.
		"forward with an identity": {
			authn.Decision{Verdict: authn.Forward, User: "alice", TokenID: "asp_x"},
			"HTTP/1.1 200 OK\r\nAuthorization: \r\nCookie: a=b; c=d\r\nX-Api-Token-Id: \r\nX-Api-Token-Target: \r\nX-Forwarded-User: \r\nContent-Length: 0\r\n\r\n",
		},
		"unauthorized": {
			authn.Decision{Verdict: authn.Unauthorized, Reason: authn.ReasonWrongSecret, User: "alice", TokenID: "asp_x", Authorization: "Bearer pat"},
			"HTTP/1.1 401 Unauthorized\r\nWww-Authenticate: Basic realm=\"API token\", charset=\"UTF-8\"\r\nContent-Length: 0\r\n\r\n",
		},
		"forbidden": {
			authn.Decision{Verdict: authn.Forbidden, Reason: authn.ReasonCredentialPath, User: "alice", TokenID: "asp_x", Authorization: "Bearer pat"},
			"HTTP/1.1 403 Forbidden\r\nX-Api-Token-Reason: CredentialPath\r\nContent-Length: 0\r\n\r\n",
		},
		"forbidden, with a token in the query": {
			authn.Decision{Verdict: authn.Forbidden, Reason: authn.ReasonCredentialParameter, Target: "/rest/"},
			"HTTP/1.1 403 Forbidden\r\nX-Api-Token-Reason: CredentialParameter\r\nContent-Length: 0\r\n\r\n",
		},
		"cannot decide": {
			authn.Decision{Reason: authn.ReasonCallerKeyMismatch, User: "alice", Authorization: "Bearer pat"},
			"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
		},
		"an unknown verdict": {
			authn.Decision{Verdict: 99, User: "alice", Authorization: "Bearer pat"},
			"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, exchange(t, &decider{answer: tc.decision}, ask("Cookie: a=b", "Cookie: c=d"))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Invariant 6: the answer does not reveal the reason of a 401.
func TestRefusalsOfOneClassAreIdentical(t *testing.T) {
	seen := map[string]bool{}
	for _, reason := range []authn.Reason{
		authn.ReasonMalformedCredential, authn.ReasonSchemeNotAccepted, authn.ReasonMalformedToken, authn.ReasonUnknownToken,
		authn.ReasonWrongSecret, authn.ReasonWrongUser, authn.ReasonAmbiguousPath, authn.ReasonPathNotAccepted,
		authn.ReasonUserBlocked, authn.ReasonDeleted, authn.ReasonReplaced, authn.ReasonRevokedByEpoch, authn.ReasonNamespaceNotAllowed,
		authn.ReasonChallenge, authn.ReasonAnonymousRefused,
	} {
		d := authn.Decision{Verdict: authn.Unauthorized, Reason: reason, TokenID: "asp_" + string(reason), Claimed: string(reason)}
		seen[exchange(t, &decider{answer: d}, ask())] = true
	}
	if len(seen) != 1 {
		t.Errorf("the 401s differ: %v", seen)
	}
}

// With several values nobody knows which one the gateway set. Then the method and the address are unknown.
func TestNginxReadsSingleValuesOnly(t *testing.T) {
	d := &decider{}
	exchange(t, d, ask("X-Original-Method: GET", "X-Original-Method: DELETE", "X-Real-IP: 10.1.2.3", "X-Real-IP: 10.9.9.9", "Connection: close"))
	if len(d.asked) != 1 || d.asked[0].Method != "" || d.asked[0].Client.Address != "" {
		t.Errorf("asked %+v", d.asked)
	}
}

// Invariant 7: one handler for every method and path. A URL that is no auth URL gets 503 and is never judged.
func TestEverythingElseIsUnavailable(t *testing.T) {
	const url = "X-Original-URL: http://h/rest/\r\n"
	for _, request := range []string{
		"GET /healthz", "GET /metrics", "GET /readyz", "GET /debug/pprof/", "GET /", "OPTIONS *", "OPTIONS /", "DELETE /nginx", "TRACE /",
		"GET /nginx/KEY/jira", "GET /nginx//jira/main", "GET /apisix/KEY/jira/main", "GET /envoy/KEY/jira/main", "GET /forward/KEY/jira/main", "GET //nginx/KEY/jira/main", "POST /nginx/KEY/jira/main/x",
		"GET /nginx/KEY/jira/../jira/main", "GET http://other/nginx/KEY/jira/main",
	} {
		d := &decider{answer: authn.Decision{Verdict: authn.Allow, User: "alice"}}
		answer := exchange(t, d, request+" HTTP/1.1\r\nHost: webhook\r\n"+url+"\r\n")
		if want := "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"; answer != want || len(d.asked) != 0 {
			t.Errorf("%s: asked %d times, answered %q", request, len(d.asked), answer)
		}
	}
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PROPFIND", "PATCH", "TRACE"} {
		d := &decider{answer: authn.Decision{Verdict: authn.Unauthorized}}
		answer := exchange(t, d, method+" "+authURL+" HTTP/1.1\r\nHost: webhook\r\n"+url+"\r\n")
		if !strings.HasPrefix(answer, "HTTP/1.1 401 ") || len(d.asked) != 1 {
			t.Errorf("%s: asked %d times, answered %q", method, len(d.asked), answer)
		}
	}
}

func TestNginxTarget(t *testing.T) {
	const unavailable = "(503)"
	for url, want := range map[string]string{
		"https://jira.example/rest/api?a=b":     "/rest/api?a=b",
		"http://jira.example:8080//rest/../x;y": "//rest/../x;y",
		"http://[::1]:80/rest/":                 "/rest/",
		"http:///rest/":                         "/rest/",
		"http://h/rest/?u=http://other/secure/": "/rest/?u=http://other/secure/",

		"http://h?/rest//secure/":   unavailable,
		"http://h#/rest//secure/":   unavailable,
		"http://u@h/rest/":          unavailable,
		"http://h\\/rest//secure/x": unavailable,
		"http://h":                  unavailable,
		"/rest/":                    unavailable,
		"":                          unavailable,
	} {
		d := &decider{}
		r := httptest.NewRequest(http.MethodGet, authURL, nil)
		r.Header.Set("X-Original-URL", url)
		w := httptest.NewRecorder()
		contract.NewHandler(d, ignore).ServeHTTP(w, r)
		got := unavailable
		if len(d.asked) == 1 {
			got = d.asked[0].Target
		}
		if got != want || w.Code != http.StatusServiceUnavailable {
			t.Errorf("%q: target %q with %d, want %q", url, got, w.Code, want)
		}
	}
	for name, values := range map[string][]string{"missing": nil, "twice": {"http://h/rest/", "http://h/rest/"}} {
		d := &decider{answer: authn.Decision{Verdict: authn.Allow}}
		r := httptest.NewRequest(http.MethodGet, authURL, nil)
		r.Header["X-Original-Url"] = values
		w := httptest.NewRecorder()
		contract.NewHandler(d, ignore).ServeHTTP(w, r)
		if w.Code != http.StatusServiceUnavailable || len(d.asked) != 0 {
			t.Errorf("X-Original-URL %s: %d", name, w.Code)
		}
	}
}

// The caller key is in the URL or, if the URL says so, in a header. A header beside a key in the URL is not read: it could
// be the client's own.
func TestCallerKey(t *testing.T) {
	for name, tc := range map[string]struct {
		url     string
		headers []string
		want    string
	}{
		"in the URL":                            {"/nginx/KEY/jira/main", nil, "KEY"},
		"in the URL, and a header":              {"/nginx/KEY/jira/main", []string{"OTHER"}, "KEY"},
		"in the header":                         {"/nginx/-/jira/main", []string{"KEY"}, "KEY"},
		"in the header, which is missing":       {"/nginx/-/jira/main", nil, ""},
		"in the header, which is empty":         {"/nginx/-/jira/main", []string{""}, ""},
		"in the header, which is there twice":   {"/nginx/-/jira/main", []string{"KEY", "KEY"}, ""},
		"a URL that only looks like it, header": {"/nginx/--/jira/main", []string{"KEY"}, "--"},
	} {
		t.Run(name, func(t *testing.T) {
			d := &decider{}
			r := httptest.NewRequest(http.MethodGet, tc.url, nil)
			r.Header["X-Original-Url"] = []string{"https://jira.example/rest/api"}
			if tc.headers != nil {
				r.Header["X-Api-Token-Caller"] = tc.headers
			}
			contract.NewHandler(d, ignore).ServeHTTP(httptest.NewRecorder(), r)
			if len(d.asked) != 1 || d.asked[0].CallerKey != tc.want {
				t.Errorf("asked %+v, want the caller key %q", d.asked, tc.want)
			}
		})
	}
}
