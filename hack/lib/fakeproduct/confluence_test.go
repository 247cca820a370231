package fakeproduct

import (
	"encoding/json"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// startConfluence serves a fake product at /wiki that knows alice and bob.
func startConfluence(t *testing.T, basicOn bool) (*Confluence, string) {
	t.Helper()
	c := NewConfluence(Options{ContextPath: "/wiki", BasicAuth: basicOn, Users: []User{
		{Name: "alice", Key: "2c9d", DisplayName: "Alice <A>", Password: "alice-password", PATs: []string{"alice-pat"}},
		{Name: "bob", Password: "bob-password", PATs: []string{"bob-pat"}},
	}})
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	return c, server.URL
}

func TestConfluence(t *testing.T) {
	const (
		alice, anonymous, wrong = "Bearer alice-pat", "", "Bearer x"
		makePage                = `{"type":"page","title":"T","space":{"key":"S"},"body":{"storage":{"value":"<p>","representation":"storage"}}}`
		notThere                = `{"data":{"authorized":false,"errors":[],"successful":false,"valid":true},` +
			`"message":"No content found with id: ContentId{id=393219}","reason":"Not Found","statusCode":404}`
	)
	for name, test := range map[string]struct {
		method, path, authorization, body string
		status                            int
		contains                          string // {url} stands for the address of the fake product
	}{
		"current": {"GET", "/rest/api/user/current", alice, "", 200,
			`"displayName":"Alice \u003cA\u003e","profilePicture":{"height":48,"isDefault":true,"path":"/images/icons/profilepics/default.svg","width":48},` +
				`"type":"known","userKey":"2c9d","username":"alice"}`},
		"current, links":               {"GET", "/rest/api/user/current/", alice, "", 200, `"self":"{url}/wiki/rest/api/user?key=2c9d"`},
		"current, anonymous":           {"GET", "/rest/api/user/current", anonymous, "", 200, `"type":"anonymous"}`},
		"current, wrong PAT":           {"GET", "/rest/api/user/current", wrong, "", 401, `"status-code":401`},
		"current, other method":        {"POST", "/rest/api/user/current", alice, "", 405, `"status-code":405`},
		"anonymous":                    {"GET", "/rest/api/user/anonymous", alice, "", 200, `"displayName":"Anonymous"`},
		"content":                      {"GET", "/rest/api/content", alice, "", 200, `"results":[],"size":0`},
		"content, wrong PAT":           {"GET", "/rest/api/content", wrong, "", 401, `"status-code":401`},
		"making a page":                {"POST", "/rest/api/content", alice, makePage, 200, `"createdBy":{"type":"known","username":"alice"}`},
		"making a page, anonymous":     {"POST", "/rest/api/content", anonymous, makePage, 403, `"statusCode":403`},
		"making a page of nothing":     {"POST", "/rest/api/content", alice, `{}`, 400, `"statusCode":400`},
		"a page that is not there":     {"GET", "/rest/api/content/393219", alice, "", 404, notThere},
		"a page, other method":         {"PUT", "/rest/api/content/393219", alice, "", 405, `"status-code":405`},
		"what Jira would answer":       {"GET", "/rest/api/2/myself", alice, "", 404, `"message":"null for uri: {url}/wiki/rest/api/2/myself"`},
		"Jira's session resource":      {"GET", "/rest/auth/1/session", alice, "", 404, "null for uri"},
		"unknown page":                 {"GET", "/nothing.action", alice, "", 404, "Page Not Found"},
		"dashboard":                    {"GET", confluenceDashboard, alice, "", 200, "Alice &lt;A&gt; (alice)"},
		"dashboard, anonymous":         {"GET", confluenceDashboard, anonymous, "", 200, "You are anonymous."},
		"echo":                         {"GET", "/rest/double/1.0/echo", alice, "", 200, `"user":"alice"`},
		"as Tomcat reads a path":       {"GET", "/x/..;/rest//api;v=1/user/%63urrent", alice, "", 200, `"username":"alice"`},
		"as Tomcat refuses a path":     {"GET", "/rest%2fapi/user/current", alice, "", 400, "Bad Request"},
		"a stale session":              {"GET", "/rest/api/user/current", "stale", "", 401, `"status-code":401`},
		"Basic off, right password":    {"GET", "/rest/api/user/current", "basic", "", 403, "has been disabled"},
		"Basic off, even at content/x": {"GET", "/rest/api/content/393219", "basic", "", 403, "has been disabled"},
	} {
		t.Run(name, func(t *testing.T) {
			c, url := startConfluence(t, false)
			r := request(t, test.method, url, test.body)
			r.URL.Opaque = "/wiki" + test.path
			switch test.authorization {
			case "":
			case "stale":
				r.Header.Set("Cookie", sessionCookie+"=stale")
			case "basic":
				r.SetBasicAuth("alice", "alice-password")
			default:
				r.Header.Set("Authorization", test.authorization)
			}
			got := do(t, r)
			if got.StatusCode != test.status {
				t.Errorf("status = %d, want %d", got.StatusCode, test.status)
			}
			if want := strings.ReplaceAll(test.contains, "{url}", url); !strings.Contains(got.body, want) {
				t.Errorf("body = %s, want in it %s", got.body, want)
			}
			if len(c.Requests()) != 1 {
				t.Errorf("saw %d requests, want 1", len(c.Requests()))
			}
		})
	}
}

func TestConfluenceKeepsPages(t *testing.T) {
	_, url := startConfluence(t, false)
	as := func(method, path, authorization, body string) answer {
		t.Helper()
		r := request(t, method, url+"/wiki"+path, body)
		r.Header.Set("Authorization", authorization)
		return do(t, r)
	}
	var made struct{ ID string }
	created := as("POST", contentPath, "Bearer alice-pat", `{"type":"page","title":"Release plan","space":{"key":"DEV"}}`)
	if err := json.Unmarshal([]byte(created.body), &made); err != nil || made.ID == "" {
		t.Fatalf("got %s: %v", created.body, err)
	}
	for _, path := range []string{contentPath, contentPath + "/" + made.ID} {
		if got := as("GET", path, "Bearer bob-pat", ""); got.StatusCode != http.StatusOK || !strings.Contains(got.body, `"title":"Release plan"`) {
			t.Errorf("%s: got %d %s", path, got.StatusCode, got.body)
		}
		if got := as("GET", path, "Token x", ""); strings.Contains(got.body, "Release plan") {
			t.Errorf("%s: anonymous callers see %s", path, got.body)
		}
	}
	if got := as("DELETE", contentPath+"/"+made.ID, "Bearer alice-pat", ""); got.StatusCode != http.StatusNoContent {
		t.Errorf("deleting: got %d %s", got.StatusCode, got.body)
	}
	if got := as("GET", contentPath, "Bearer bob-pat", ""); strings.Contains(got.body, "Release plan") {
		t.Errorf("a deleted page is listed: %s", got.body)
	}
}

func TestConfluenceSessions(t *testing.T) {
	_, server := startConfluence(t, true)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar}
	for _, step := range []struct{ password, wantPath, wantReason string }{
		{"wrong", "/wiki/dologin.action", loginFailed},
		{"alice-password", "/wiki" + confluenceDashboard, ""},
	} {
		response, err := browser.PostForm(server+"/wiki/dologin.action", url.Values{"os_username": {"alice"}, "os_password": {step.password}})
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
	for credential, outlives := range map[string]bool{"Bearer alice-pat": false, "": true} {
		first := request(t, http.MethodGet, server+"/wiki/rest/api/user/current", "")
		if credential == "" {
			first.SetBasicAuth("alice", "alice-password")
		} else {
			first.Header.Set("Authorization", credential)
		}
		cookie := do(t, first).cookie()
		if cookie == nil || cookie.Path != "/wiki" {
			t.Fatalf("%q: the session cookie is %v", credential, cookie)
		}
		second := request(t, http.MethodGet, server+"/wiki/rest/api/user/current", "")
		second.AddCookie(cookie)
		if got := do(t, second); (got.StatusCode == http.StatusOK) != outlives {
			t.Errorf("%q: with the cookie alone: %d %s, want a session: %t", credential, got.StatusCode, got.body, outlives)
		}
	}
}
