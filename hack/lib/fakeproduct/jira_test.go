package fakeproduct

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

const echoPath = "/rest/double/1.0/echo"

// start serves a fake product that knows alice and bob.
func start(t *testing.T, o Options) (*Jira, string) {
	t.Helper()
	o.Users = []User{
		{Name: "alice", Key: "JIRAUSER10001", DisplayName: "Alice <A>", Password: "alice-password", PATs: []string{"alice-pat"}},
		{Name: "bob", Password: "bob-password", PATs: []string{"bob-pat", "bob-pat-2"}},
	}
	o.Now = func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }
	jira := NewJira(o)
	server := httptest.NewServer(jira)
	t.Cleanup(server.Close)
	return jira, server.URL
}

// answer is a response with its body read.
type answer struct {
	*http.Response
	body string
}

// do sends a request and follows no redirect.
func do(t *testing.T, r *http.Request) answer {
	t.Helper()
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response, string(body)}
}

func request(t *testing.T, method, url, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// cookie is the session cookie of a response, or nil.
func (a answer) cookie() *http.Cookie {
	for _, cookie := range a.Cookies() {
		if cookie.Name == sessionCookie {
			return cookie
		}
	}
	return nil
}

func TestRequestsShowWhatTheProductReceived(t *testing.T) {
	jira, url := start(t, Options{ContextPath: "/jira"})
	r := request(t, http.MethodGet, url, "")
	r.URL.Opaque = "/x/..;/jira//rest/double;v=1/1.0/%65cho?a=b"
	r.Header.Set("Authorization", "Bearer alice-pat")
	var echoed Seen
	if err := json.Unmarshal([]byte(do(t, r).body), &echoed); err != nil {
		t.Fatal(err)
	}

	requests := jira.Requests()
	if len(requests) != 1 {
		t.Fatalf("saw %d requests, want 1", len(requests))
	}
	for name, seen := range map[string]Seen{"recorded": requests[0], "echoed": echoed} {
		if seen.Method != http.MethodGet || seen.RequestURI != r.URL.Opaque ||
			seen.Path != "/jira"+echoPath || seen.User != "alice" {
			t.Errorf("%s: got %+v", name, seen)
		}
		if got := seen.Header.Get("Authorization"); got != "Bearer alice-pat" {
			t.Errorf("%s: Authorization = %q, want alice's PAT", name, got)
		}
	}

	requests[0].Header.Set("Authorization", "changed by the caller")
	if got := jira.Requests()[0].Header.Get("Authorization"); got != "Bearer alice-pat" {
		t.Errorf("a caller changed what was recorded to %q", got)
	}
	jira.Reset()
	if got := jira.Requests(); len(got) != 0 {
		t.Errorf("after Reset saw %d requests, want none", len(got))
	}
}

func TestRefusedRequestsAreRecorded(t *testing.T) {
	tests := []struct {
		name, target string
		status       int
		path         string
	}{
		{"no path for Tomcat", "/jira/rest%2fapi", http.StatusBadRequest, ""},
		{"above the root", "/..;/jira" + echoPath, http.StatusBadRequest, ""},
		{"another context", "/jirax" + echoPath, http.StatusNotFound, "/jirax" + echoPath},
		{"climbed out of the context", "/jira/.." + echoPath, http.StatusNotFound, echoPath},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			jira, url := start(t, Options{ContextPath: "/jira"})
			r := request(t, http.MethodGet, url, "")
			r.URL.Opaque = test.target
			r.Header.Set("Authorization", "Bearer alice-pat")
			if got := do(t, r).StatusCode; got != test.status {
				t.Errorf("status = %d, want %d", got, test.status)
			}
			requests := jira.Requests()
			if len(requests) != 1 {
				t.Fatalf("saw %d requests, want 1", len(requests))
			}
			seen := requests[0]
			if seen.RequestURI != test.target || seen.Path != test.path || seen.User != "" {
				t.Errorf("saw %q as path %q by %q, want %q as path %q by nobody",
					seen.RequestURI, seen.Path, seen.User, test.target, test.path)
			}
		})
	}
}

func TestRequestsAreBounded(t *testing.T) {
	jira := NewJira(Options{})
	for i := range maxSeen + 5 {
		jira.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, fmt.Sprintf("/%d", i), nil))
	}
	requests := jira.Requests()
	if len(requests) != maxSeen {
		t.Fatalf("kept %d requests, want %d", len(requests), maxSeen)
	}
	if first, last := requests[0].Path, requests[maxSeen-1].Path; first != "/5" || last != "/1004" {
		t.Errorf("kept %s to %s, want /5 to /1004", first, last)
	}
}

func TestConcurrentUse(t *testing.T) {
	jira, url := start(t, Options{})
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			jira.SetBasicAuth(i%2 == 0)
			r := request(t, http.MethodGet, url+echoPath+"?os_username=bob&os_password=bob-password", "")
			if got := do(t, r).Header.Get("X-AUSERNAME"); got != "bob" {
				t.Errorf("served as %q, want bob", got)
			}
			jira.Requests()
		})
	}
	group.Wait()
	if got := len(jira.Requests()); got != 20 {
		t.Errorf("saw %d requests, want 20", got)
	}
}

// A path that Tomcat maps elsewhere runs the path that it is forwarded to, with the credential of the request.
func TestForwardedRequest(t *testing.T) {
	jira, url := start(t, Options{ContextPath: "/jira"})
	for _, path := range []string{"/s/..;/rest/api/_/rest/pat/latest/tokens", "/s/%2e%2e/rest/api/_/rest/pat/latest/tokens"} {
		jira.Reset()
		r := request(t, http.MethodPost, url, `{"name":"made by a detour"}`)
		r.URL.Opaque = "/jira" + path
		authorization("Bearer alice-pat")(r)
		header("Content-Type", "application/json")(r)
		if got := do(t, r); got.StatusCode != http.StatusCreated || !strings.Contains(got.body, "rawToken") {
			t.Errorf("%s: %d %s", path, got.StatusCode, got.body)
		}
		seen := jira.Requests()[0]
		if seen.Path != "/jira/rest/api/_/rest/pat/latest/tokens" || seen.Forwarded != "/rest/pat/latest/tokens" || seen.User != "alice" {
			t.Errorf("%s: seen as %+v", path, seen)
		}
	}
}

// Only os_authType=basic asks for the challenge of Basic.
func TestChallenge(t *testing.T) {
	for query, want := range map[string]string{
		"": "OAuth realm=", "?os_authType=basic": `Basic realm="protected-area"`, "?os_authType=BASIC": "Basic realm=", "?os_authType=any": "OAuth realm=",
		"?os_authType=cookie": "OAuth realm=",
	} {
		_, url := start(t, Options{})
		got := do(t, request(t, http.MethodGet, url+"/rest/api/2/myself"+query, ""))
		if challenges := got.Header.Values("WWW-Authenticate"); got.StatusCode != http.StatusUnauthorized || len(challenges) != 1 || !strings.HasPrefix(challenges[0], want) {
			t.Errorf("%q: %d with %q, want %s", query, got.StatusCode, challenges, want)
		}
	}
}
