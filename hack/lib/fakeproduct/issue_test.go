package fakeproduct

import (
	"net/http"
	"strings"
	"testing"
)

func TestIssues(t *testing.T) {
	const (
		made    = `{"fields":{"project":{"key":"DEMO"},"summary":"It <works>","issuetype":{"name":"Task"}}}`
		another = `{"fields":{"project":{"key":"DEMO"},"summary":"x","issuetype":{"id":"10001"},"description":"d"}}`
		ops     = `{"fields":{"project":{"key":"OPS"},"summary":"x","issuetype":{"name":"Bug"}}}`
		alice   = `{"active":true,"displayName":"Alice \u003cA\u003e","emailAddress":"alice@example.com","key":"JIRAUSER10001","name":"alice","self":"{url}/jira/rest/api/2/user?username=alice"}`
		one     = `{"fields":{"created":"2026-01-02T03:04:05.000+0000","creator":` + alice + `,"description":"","issuetype":{"name":"Task"},"project":{"key":"DEMO"},` +
			`"reporter":` + alice + `,"summary":"It \u003cworks\u003e"},"id":"10000","key":"DEMO-1","self":"{url}/jira/rest/api/2/issue/10000"}`
	)
	_, url := start(t, Options{ContextPath: "/jira"})
	for _, step := range []struct {
		name, pat, method, path, body string
		status                        int
		contains                      string
	}{
		{"none yet", "alice-pat", "GET", "/DEMO-1", "", 404, `{"errorMessages":["Issue Does Not Exist"],"errors":{}}`},
		{"making one", "alice-pat", "POST", "", made, 201, `{"id":"10000","key":"DEMO-1","self":"{url}/jira/rest/api/2/issue/10000"}`},
		{"another", "bob-pat", "POST", "/", another, 201, `{"id":"10001","key":"DEMO-2",`},
		{"in another project", "bob-pat", "POST", "", ops, 201, `{"id":"10002","key":"OPS-1",`},
		{"by key", "bob-pat", "GET", "/DEMO-1", "", 200, one},
		{"by id", "bob-pat", "GET", "/10000", "", 200, one},
		{"by type id", "alice-pat", "GET", "/DEMO-2", "", 200, `"description":"d","issuetype":{"id":"10001"}`},
		{"its creator", "alice-pat", "GET", "/OPS-1", "", 200, `"name":"bob"`},
		{"one too far", "alice-pat", "GET", "/DEMO-3", "", 404, "Issue Does Not Exist"},
		{"anonymous, making", "", "POST", "", made, 401, `"errorMessages":["You are not authenticated.`},
		{"anonymous, reading", "", "GET", "/DEMO-1", "", 401, `"errorMessages":["You are not authenticated.`},
		{"another method", "alice-pat", "PUT", "/DEMO-1", "", 405, "405"},
		{"deleted", "alice-pat", "DELETE", "/DEMO-1", "", 204, ""},
		{"after it was deleted", "alice-pat", "GET", "/DEMO-1", "", 404, "Issue Does Not Exist"},
		{"no JSON", "alice-pat", "POST", "", "x", 400, "not a JSON object"},
		{"nothing", "alice-pat", "POST", "", "{}", 400, `{"errorMessages":[],"errors":{"issuetype":"issue type is required","project":"project is required",` +
			`"summary":"You must specify a summary of the issue."}}`},
		{"no summary", "alice-pat", "POST", "", strings.Replace(made, "summary", "x", 1), 400, `"errors":{"summary":`},
	} {
		for _, version := range []string{"2", "latest"} {
			if version == "latest" && step.method != "GET" {
				continue // nothing is made twice
			}
			r := request(t, step.method, url+"/jira/rest/api/"+version+"/issue"+step.path, step.body)
			if step.pat != "" {
				r.Header.Set("Authorization", "Bearer "+step.pat)
			}
			got := do(t, r)
			if want := strings.ReplaceAll(step.contains, "{url}", url); got.StatusCode != step.status || !strings.Contains(got.body, want) {
				t.Errorf("%s: got %d %s, want %d %s", step.name, got.StatusCode, got.body, step.status, want)
			}
		}
	}
}

// An issue names its creator as they are called now.
func TestIssuesFollowTheirCreators(t *testing.T) {
	jira, url := start(t, Options{})
	as := func(token, method, path, body string) answer {
		r := request(t, method, url+path, body)
		r.Header.Set("Authorization", "Bearer "+token)
		return do(t, r)
	}
	if got := as("bob-pat", "POST", issuePath, `{"fields":{"project":{"key":"A"},"summary":"x","issuetype":{"name":"Bug"}}}`); got.StatusCode != http.StatusCreated {
		t.Fatalf("got %d %s", got.StatusCode, got.body)
	}
	jira.Rename("bob", "rob")
	jira.Deactivate("rob")
	if got := as("alice-pat", "GET", issuePath+"/A-1", ""); !strings.Contains(got.body, `"active":false`) || !strings.Contains(got.body, `"name":"rob"`) {
		t.Errorf("got %s", got.body)
	}
}
