package fakeproduct

import (
	"net/http"
	"strings"
	"testing"
)

func TestEndpoints(t *testing.T) {
	const alice, anonymous = "Bearer alice-pat", ""
	tests := []struct {
		name           string
		method, path   string
		authorization  string
		status         int
		contains       string // {url} stands for the address of the fake product
		allow          string
		contentTypeHas string
	}{
		{"myself", "GET", "/rest/api/2/myself", alice, 200,
			`{"active":true,"displayName":"Alice \u003cA\u003e","emailAddress":"alice@example.com","key":"JIRAUSER10001",` +
				`"name":"alice","self":"{url}/jira/rest/api/2/user?username=alice"}`, "", "json"},
		{"myself, latest", "GET", "/rest/api/latest/myself", alice, 200, `"name":"alice"`, "", "json"},
		{"myself, slash at the end", "GET", "/rest/api/2/myself/", alice, 200, `"name":"alice"`, "", "json"},
		{"myself, defaults", "GET", "/rest/api/2/myself", "Bearer bob-pat", 200, `"displayName":"bob","emailAddress":"bob@example.com","key":"bob"`, "", "json"},
		{"myself, anonymous", "GET", "/rest/api/2/myself", anonymous, 401, `"errors":{}`, "", "json"},
		{"myself, unknown version", "GET", "/rest/api/3/myself", alice, 404, `"message":"null for uri: {url}/jira/rest/api/3/myself"`, "", "json"},
		{"myself, other method", "POST", "/rest/api/2/myself", alice, 405, `"status-code":405`, "GET, HEAD", "json"},

		{"configuration", "GET", "/rest/api/2/configuration", alice, 200,
			`"timeTrackingConfiguration":{"defaultUnit":"minute","timeFormat":"pretty","workingDaysPerWeek":5,"workingHoursPerDay":8}`, "", "json"},
		{"configuration, latest", "GET", "/rest/api/latest/configuration", alice, 200, `"votingEnabled":true`, "", "json"},
		{"configuration, anonymous", "GET", "/rest/api/2/configuration", anonymous, 401, `"errorMessages":[`, "", "json"},
		{"configuration, other method", "PUT", "/rest/api/2/configuration", alice, 405, "Method Not Allowed", "GET, HEAD", "json"},

		{"serverInfo, anonymous", "GET", "/rest/api/2/serverInfo", anonymous, 200,
			`"baseUrl":"{url}/jira","deploymentType":"Server","serverTime":"2026-01-02T03:04:05.000+0000"`, "", "json"},
		{"serverInfo, other method", "DELETE", "/rest/api/2/serverInfo", anonymous, 405, "", "GET, HEAD", "json"},

		{"echo, anonymous", "GET", echoPath, anonymous, 200, `"user":""`, "", "json"},
		{"echo, any method", "REPORT", echoPath, alice, 200, `"method":"REPORT"`, "", "json"},

		{"dashboard", "GET", dashboardPath, alice, 200, "Alice &lt;A&gt; (alice)", "", "html"},
		{"dashboard, anonymous", "GET", dashboardPath, anonymous, 200, "You are anonymous.", "", "html"},
		{"login form", "GET", "/login.jsp", anonymous, 200, "Log in", "", "html"},

		{"unknown resource", "GET", "/rest/nothing", alice, 404, `"status-code":404`, "", "json"},
		{"unknown page", "GET", "/secure/Nothing.jspa", alice, 404, "dead link", "", "html"},
		{"context path alone", "GET", "", alice, 404, "dead link", "", "html"},
		{"session, other method", "PUT", "/rest/auth/1/session", alice, 405, "", "GET, POST, DELETE", "json"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, url := start(t, Options{ContextPath: "/jira"})
			r := request(t, test.method, url+"/jira"+test.path, "")
			if test.authorization != "" {
				r.Header.Set("Authorization", test.authorization)
			}
			got := do(t, r)
			if got.StatusCode != test.status {
				t.Errorf("status = %d, want %d", got.StatusCode, test.status)
			}
			if want := strings.ReplaceAll(test.contains, "{url}", url); !strings.Contains(got.body, want) {
				t.Errorf("body = %s, want in it %s", got.body, want)
			}
			if allow := got.Header.Get("Allow"); allow != test.allow {
				t.Errorf("Allow = %q, want %q", allow, test.allow)
			}
			if kind := got.Header.Get("Content-Type"); !strings.Contains(kind, test.contentTypeHas) {
				t.Errorf("Content-Type = %q, want %s", kind, test.contentTypeHas)
			}
		})
	}
}

func TestHeadHasNoBody(t *testing.T) {
	_, url := start(t, Options{})
	r := request(t, http.MethodHead, url+"/rest/api/2/myself", "")
	r.Header.Set("Authorization", "Bearer alice-pat")
	got := do(t, r)
	if got.StatusCode != http.StatusOK || got.body != "" || got.Header.Get("X-AUSERNAME") != "alice" {
		t.Errorf("got %d %q as %q, want 200 without body as alice",
			got.StatusCode, got.body, got.Header.Get("X-AUSERNAME"))
	}
}
