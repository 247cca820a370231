package contract_test

import (
	"bufio"
	"bytes"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"apitokens.dev/operator/internal/audit"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/webhook/gateway/contract"
)

var (
	askedAddress = regexp.MustCompile(`^/nginx/[^/?]+/[^/?]+/[^/?]+(\?|\z)`)
	// originalURL matches the X-Original-URL of any request whose Host nginx accepts.
	originalURL = regexp.MustCompile(`^https?://[A-Za-z0-9._:\[\]-]*/`)
	// control matches the bytes that no header can contain. Line breaks are left out, because the test looks at them.
	control = regexp.MustCompile(`[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]`)
)

// FuzzNginx lets a gateway send anything. Anything but exactly one question gets 503. The judged request is the one that was
// sent, and the answer is that of the decision, header by header, with an identity on Allow alone.
func FuzzNginx(f *testing.F) {
	for verdict, raw := range []string{
		ask("Authorization: Basic YWxpY2U6YXNwXw==", "X-Original-Method: PUT", "X-Real-IP: 10.0.0.1", "X-Request-ID: 1"),
		ask("Authorization: Basic YTpi", "Authorization: Bearer x"),
		ask("X-Forwarded-User: root", "X-Api-Token-Id: asp_x", "X-Original-URI: /evil", "Cookie: a=b"),
		ask("X-Original-URL: https://other.example/"),
		ask("Content-Length: 5") + "hello",
		"GET /nginx/KEY/jira/main?x=y HTTP/1.1\r\nHost: h\r\nX-Original-URL: http://h//rest/..;/?os_password=asp_\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET http://webhook/nginx/KEY/jira/main HTTP/1.1\r\nHost: h\r\nX-Original-URL: http://h/rest/\r\n\r\n",
		"GET /nginx/KEY/jira/main HTTP/1.1\r\nHost: h\r\nX-Original-URL: http://h?://x/rest/\r\n\r\n",
		"GET /nginx/KEY/jira/main HTTP/1.0\r\nX-Original-URL: http:///\r\nAuthorization:\tBearer\tx\r\n\r\n",
		"TRACE /nginx/../jira/main HTTP/1.1\r\nHost: h\r\nx-original-url: http://[::1]:80/%2f#\\ \xc3\xa4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	} {
		f.Add([]byte(raw), int8(verdict%7-1), "alice", "Bearer pat")
	}
	f.Add([]byte(ask()), int8(4), "al\u0131ce\r\nX-Forwarded-User: root", "Bearer \r\n\r\nx")
	f.Fuzz(func(t *testing.T, raw []byte, verdict int8, user, authorization string) {
		if control.MatchString(user + authorization) {
			return // no user, no credential of the operator and no header of HTTP contains these
		}
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
		if err != nil {
			return
		}
		d := &decider{answer: authn.Decision{
			Verdict: authn.Verdict(verdict), Reason: authn.ReasonCredentialPath, User: user, TokenID: "asp_x", Authorization: authorization,
			Target: r.Header.Get("X-Original-Url"),
		}}
		var observed []audit.Exchange
		w := httptest.NewRecorder()
		contract.NewHandler(d, func(x *audit.Exchange) { observed = append(observed, *x) }).ServeHTTP(w, r)
		code, header := answered(t, w)

		asked := len(d.asked) == 1
		if len(d.asked) > 1 || len(observed) != 1 {
			t.Fatalf("asked %d times, observed %d", len(d.asked), len(observed))
		}
		urls := r.Header["X-Original-Url"]
		if asked {
			checkQuestion(t, r, d.asked[0], observed[0])
		} else if askedAddress.MatchString(r.RequestURI) && len(urls) == 1 && originalURL.MatchString(urls[0]) {
			t.Errorf("%q with %q was not asked", r.RequestURI, urls)
		}
		want := authn.Decision{Reason: contract.ReasonUnknownContract}
		if asked {
			want = d.answer
		}
		if observed[0].Decision != want {
			t.Errorf("observed %+v, want %+v", observed[0].Decision, want)
		}
		wantCode, wantHeader := expected(want, r.Header["Cookie"])
		if code != wantCode {
			t.Errorf("answered %d to %+v, want %d", code, want, wantCode)
		}
		if diff := cmp.Diff(wantHeader, header); diff != "" {
			t.Errorf("headers of %d: %s", code, diff)
		}
	})
}

// answered returns the answer as a gateway reads it from the wire.
func answered(t *testing.T, w *httptest.ResponseRecorder) (int, http.Header) {
	t.Helper()
	if w.Body.Len() > 0 {
		t.Errorf("the body is %q", w.Body)
	}
	var wire bytes.Buffer
	if err := w.Result().Write(&wire); err != nil {
		t.Fatal(err)
	}
	read, err := http.ReadResponse(bufio.NewReader(&wire), nil)
	if err != nil {
		t.Fatalf("the answer is none: %v", err)
	}
	if _, date := read.Header["Date"]; date {
		t.Error("the answer has a Date")
	}
	delete(read.Header, "Content-Length")
	delete(read.Header, "Connection")
	return read.StatusCode, read.Header
}

// expected returns the right answer to a decision.
func expected(d authn.Decision, cookies []string) (int, http.Header) {
	// On the wire, line breaks in a value become spaces, and spaces around a value are cut off.
	clean := func(value string) []string {
		return []string{strings.Trim(strings.NewReplacer("\r", " ", "\n", " ").Replace(value), " \t")}
	}
	switch d.Verdict {
	case authn.Allow:
		return 200, http.Header{
			"X-Forwarded-User": clean(d.User), "X-Api-Token-Id": {d.TokenID},
			"Authorization": clean(d.Authorization), "X-Api-Token-Target": clean(d.Target), "Cookie": {""},
		}
	case authn.Forward:
		return 200, http.Header{
			"X-Forwarded-User": {""}, "X-Api-Token-Id": {""},
			"Authorization": clean(d.Authorization), "X-Api-Token-Target": clean(d.Target), "Cookie": clean(strings.Join(cookies, "; ")),
		}
	case authn.Unauthorized:
		return 401, http.Header{"Www-Authenticate": {`Basic realm="API token", charset="UTF-8"`}}
	case authn.Forbidden:
		return 403, http.Header{"X-Api-Token-Reason": {string(d.Reason)}}
	default:
		return 503, http.Header{}
	}
}

// checkQuestion puts the judged request together again. The result must be what the gateway sent.
func checkQuestion(t *testing.T, r *http.Request, q authn.Request, x audit.Exchange) {
	t.Helper()
	path, _, _ := strings.Cut(r.RequestURI, "?")
	if again := "/" + strings.Join([]string{string(q.Contract), q.CallerKey, q.Site.Namespace, q.Site.Name}, "/"); again != path {
		t.Errorf("asked by %q, for %q", path, again)
	}
	if q.Contract != "nginx" || q.CallerKey == "" || q.Site.Namespace == "" || q.Site.Name == "" || x.Site != q.Site {
		t.Errorf("asked %+v, observed %+v", q, x)
	}
	if !slices.Equal(q.Authorization, r.Header["Authorization"]) {
		t.Errorf("asked with %q of %q", q.Authorization, r.Header["Authorization"])
	}
	urls := r.Header["X-Original-Url"]
	if len(urls) != 1 {
		t.Fatalf("asked about %q", urls)
	}
	before, ok := strings.CutSuffix(urls[0], q.Target)
	scheme, host, ok2 := strings.Cut(before, "://")
	if !ok || !ok2 || !strings.HasPrefix(q.Target, "/") || strings.Contains(scheme, "://") || regexp.MustCompile(`[^A-Za-z0-9._:\[\]-]`).MatchString(host) {
		t.Errorf("asked about %q of %q", q.Target, urls[0])
	}
	// Without the headers that the contract does not define, the judged request is the same.
	own := http.Header{}
	for _, name := range []string{"Authorization", "Cookie", "X-Original-Url", "X-Original-Method", "X-Real-Ip", "X-Request-Id"} {
		if values, ok := r.Header[name]; ok {
			own[name] = values
		}
	}
	if maps.EqualFunc(own, r.Header, slices.Equal) {
		return
	}
	again := &decider{}
	contract.NewHandler(again, ignore).ServeHTTP(httptest.NewRecorder(), &http.Request{Method: http.MethodGet, RequestURI: path, Header: own})
	if diff := cmp.Diff([]authn.Request{q}, again.asked); diff != "" {
		t.Errorf("other headers count: %s", diff)
	}
}
