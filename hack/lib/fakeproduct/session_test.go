package fakeproduct

import (
	"encoding/json"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
)

func TestSessionOfALogin(t *testing.T) {
	tests := []struct {
		name       string
		context    string
		credential change
		wantPath   string
		outlives   bool
	}{
		{"password", "/jira", basic("alice", "alice-password"), "/jira", true},
		{"password at the root", "", basic("alice", "alice-password"), "/", true},
		{"parameters", "/jira", query("os_username=alice&os_password=alice-password"), "/jira", true},
		{"PAT", "/jira", authorization("Bearer alice-pat"), "/jira", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, url := start(t, Options{ContextPath: test.context, BasicAuth: true})
			target := url + test.context + "/rest/api/2/myself"
			first := request(t, http.MethodGet, target, "")
			test.credential(first)
			cookie := do(t, first).cookie()
			if cookie == nil {
				t.Fatal("no session cookie")
			}
			if cookie.Path != test.wantPath || !cookie.HttpOnly {
				t.Errorf("cookie is %s, want Path=%s and HttpOnly", cookie.Raw, test.wantPath)
			}

			second := request(t, http.MethodGet, target, "")
			second.AddCookie(cookie)
			got := do(t, second)
			if outlives := got.StatusCode == http.StatusOK; outlives != test.outlives {
				t.Errorf("with the cookie alone: status %d, want a session: %t", got.StatusCode, test.outlives)
			}
			if test.outlives && got.cookie() != nil {
				t.Error("a session got a second cookie")
			}
		})
	}
}

func TestLoginForm(t *testing.T) {
	_, server := start(t, Options{ContextPath: "/jira"})
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar}
	for _, step := range []struct {
		password, wantPath, wantReason string
	}{
		{"wrong", "/jira/login.jsp", loginFailed},
		{"alice-password", "/jira" + dashboardPath, ""},
	} {
		response, err := browser.PostForm(server+"/jira/login.jsp",
			url.Values{"os_username": {"alice"}, "os_password": {step.password}})
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if got := response.Request.URL.Path; got != step.wantPath {
			t.Errorf("password %q led to %s, want %s", step.password, got, step.wantPath)
		}
		if got := response.Header.Get("X-Seraph-LoginReason"); got != step.wantReason {
			t.Errorf("password %q: X-Seraph-LoginReason = %q, want %q", step.password, got, step.wantReason)
		}
	}
}

func TestSessionResource(t *testing.T) {
	const credentials = `{"username":"alice","password":"alice-password"}`
	_, url := start(t, Options{BasicAuth: true})
	target := url + "/rest/auth/1/session"

	signedIn := do(t, request(t, http.MethodPost, target, credentials))
	cookie := signedIn.cookie()
	if signedIn.StatusCode != http.StatusOK || cookie == nil {
		t.Fatalf("sign-in: got %d %s and cookie %v", signedIn.StatusCode, signedIn.body, cookie)
	}
	var body struct{ Session struct{ Name, Value string } }
	if err := json.Unmarshal([]byte(signedIn.body), &body); err != nil {
		t.Fatal(err)
	}
	if body.Session.Name != cookie.Name || body.Session.Value != cookie.Value {
		t.Errorf("body names session %+v, cookie is %s", body.Session, cookie.Raw)
	}

	for _, step := range []struct {
		method   string
		status   int
		contains string
	}{
		{http.MethodGet, http.StatusOK, `"name":"alice"`},
		{http.MethodDelete, http.StatusNoContent, ""},
		{http.MethodGet, http.StatusUnauthorized, "not authenticated"},
		{http.MethodDelete, http.StatusUnauthorized, "not authenticated"},
	} {
		r := request(t, step.method, target, "")
		r.AddCookie(cookie)
		got := do(t, r)
		if got.StatusCode != step.status || !strings.Contains(got.body, step.contains) {
			t.Errorf("%s: got %d %s, want %d %s", step.method, got.StatusCode, got.body, step.status, step.contains)
		}
	}
}

func TestSessionResourceRefusals(t *testing.T) {
	tests := []struct {
		name    string
		basicOn bool
		body    string
		status  int
		answer  string
	}{
		{"Basic off", false, `{"username":"alice","password":"alice-password"}`, 403, "has been disabled"},
		{"wrong password", true, `{"username":"alice","password":"x"}`, 401, `"errorMessages":["Login failed"]`},
		{"no JSON", true, "alice", 400, "not a JSON object"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, url := start(t, Options{BasicAuth: test.basicOn})
			got := do(t, request(t, http.MethodPost, url+"/rest/auth/1/session", test.body))
			if got.StatusCode != test.status || !strings.Contains(got.body, test.answer) {
				t.Errorf("got %d %s, want %d %s", got.StatusCode, got.body, test.status, test.answer)
			}
			if got.cookie() != nil {
				t.Error("a refused sign-in got a session")
			}
		})
	}
}
