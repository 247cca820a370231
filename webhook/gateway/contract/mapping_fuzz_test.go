package contract_test

import (
	"bufio"
	"bytes"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/webhook/gateway/contract"
)

// FuzzForward lets a gateway send anything to the contract. What is judged is what the headers of this contract say.
func FuzzForward(f *testing.F) { fuzzMapping(f, authurl.Forward) }

// FuzzFabric does the same with the contract of NGINX Gateway Fabric.
func FuzzFabric(f *testing.F) { fuzzMapping(f, authurl.Fabric) }

// FuzzEnvoy does the same with the contract of Envoy, where the target follows the auth URL.
func FuzzEnvoy(f *testing.F) { fuzzMapping(f, authurl.Envoy) }

func fuzzMapping(f *testing.F, name authurl.Contract) {
	at := "/" + string(name) + "/KEY/jira/main"
	for _, raw := range []string{
		"GET " + at + " HTTP/1.1\r\nHost: h\r\nX-Forwarded-Uri: /rest/?a=b\r\nX-Forwarded-Method: PUT\r\nX-Forwarded-For: 1.2.3.4, 10.0.0.1\r\n",
		"GET " + at + " HTTP/1.1\r\nHost: h\r\nPath: /rest/..;/%2F\r\nMethod: PUT\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 10.0.0.1\r\n",
		"PROPFIND " + at + "//rest/..;/?a=//b HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 10.0.0.1\r\n",
		"GET " + at + "/rest/ HTTP/1.1\r\nHost: h\r\nX-Forwarded-Uri: /rest/\r\nPath: /rest/\r\n",
		"GET " + at + "?a=b HTTP/1.1\r\nHost: h\r\nX-Forwarded-Uri: /rest/\r\nX-Forwarded-Uri: /other/\r\nPath: /a\r\nPath: /b\r\n",
		"GET " + at + " HTTP/1.1\r\nHost: h\r\nX-Forwarded-Uri: rest\r\nPath: http://h/rest/\r\nX-Forwarded-Method: GET\r\nX-Forwarded-Method: PUT\r\n",
		"GET http://webhook" + at + "/rest/ HTTP/1.1\r\nHost: h\r\nX-Forwarded-Uri: /rest/\r\nPath: /rest/\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: h\r\nX-Forwarded-Uri: /rest/\r\n",
	} {
		f.Add([]byte(raw + "Authorization: Basic YTpi\r\nCookie: a=b\r\nX-Original-URL: http://h/evil\r\n\r\n"))
		f.Add([]byte(strings.Replace(raw, "/KEY/", "/-/", 1) + "Authorization: a\r\nAuthorization: b\r\nX-Api-Token-Caller: KEY2\r\n\r\n"))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
		if err != nil || !strings.HasPrefix(r.RequestURI, "/"+string(name)+"/") {
			return
		}
		d := &decider{answer: authn.Decision{Verdict: authn.Unauthorized}}
		w := httptest.NewRecorder()
		contract.NewHandler(d, ignore).ServeHTTP(w, r)
		want, code := []authn.Request(nil), http.StatusServiceUnavailable
		if q, ok := described(name, r); ok {
			want, code = []authn.Request{q}, http.StatusUnauthorized
		}
		if diff := cmp.Diff(want, d.asked); diff != "" || w.Code != code {
			t.Errorf("%d, want %d: %s", w.Code, code, diff)
		}
	})
}

var (
	addressed = regexp.MustCompile(`^/[a-z]+/([^/?]+)/([^/?]+)/([^/?]+)((?s).*)$`)
	lastHop   = regexp.MustCompile(`[^,]*$`)
)

// described reads a question by what the gateways' documentation says, with no code of the contracts.
func described(name authurl.Contract, r *http.Request) (authn.Request, bool) {
	parts := addressed.FindStringSubmatch(r.RequestURI)
	if parts == nil {
		return authn.Request{}, false
	}
	only := func(header string) string {
		if values := r.Header[header]; len(values) == 1 {
			return values[0]
		}
		return ""
	}
	q := authn.Request{
		Contract: name, CallerKey: parts[1], Site: authn.SiteName{Namespace: parts[2], Name: parts[3]}, Authorization: r.Header["Authorization"],
		Cookies: r.Header["Cookie"], Client: authn.Client{Forwarded: r.Header["X-Forwarded-For"]},
	}
	if n := len(q.Client.Forwarded); n > 0 {
		q.Client.Address = strings.Trim(lastHop.FindString(q.Client.Forwarded[n-1]), " \t")
	}
	if q.CallerKey == "-" {
		q.CallerKey = only("X-Api-Token-Caller")
	}
	switch name {
	case authurl.Forward:
		q.Target, q.Method = only("X-Forwarded-Uri"), only("X-Forwarded-Method")
	case authurl.Fabric:
		q.Target, q.Method, q.Client = only("Path"), only("Method"), authn.Client{}
	default:
		q.Target, q.Method = parts[4], r.Method
		return q, strings.HasPrefix(q.Target, "/")
	}
	return q, strings.HasPrefix(q.Target, "/") && !strings.HasPrefix(parts[4], "/")
}
