package fakeproduct

import (
	"net/http"
	"strings"
	"testing"
)

// The page shows its own user, or another one, and leads strangers to the login form.
func TestProfile(t *testing.T) {
	jira, url := start(t, Options{})
	jira.SetBanner(`<b id="mine">maintenance</b>`)
	for name, tc := range map[string]struct {
		target, pat string
		status      int
		contains    string
	}{
		"one's own":   {jiraProfile, "alice-pat", http.StatusOK, `<dd id="up-d-username">alice</dd>`},
		"the banner":  {jiraProfile, "alice-pat", http.StatusOK, `<div id="announcement-banner"><b id="mine">maintenance</b></div>`},
		"who asks":    {jiraProfile + "?name=bob", "alice-pat", http.StatusOK, `<meta name="ajs-remote-user" content="alice">`},
		"another's":   {jiraProfile + "?name=bob", "alice-pat", http.StatusOK, `<dd id="up-d-username">bob</dd>`},
		"nobody":      {jiraProfile + "?name=<b>", "alice-pat", http.StatusOK, `<dd id="up-d-username">alice</dd>`},
		"anonymously": {jiraProfile, "", http.StatusFound, ""},
	} {
		r := request(t, http.MethodGet, url+tc.target, "")
		if tc.pat != "" {
			r.Header.Set("Authorization", "Bearer "+tc.pat)
		}
		got := do(t, r)
		if got.StatusCode != tc.status || !strings.Contains(got.body, tc.contains) {
			t.Errorf("%s: got %d %s", name, got.StatusCode, got.body)
		}
		if tc.status == http.StatusFound && got.Header.Get("Location") != "/login.jsp?os_destination=%2Fsecure%2FViewProfile.jspa" {
			t.Errorf("%s: leads to %s", name, got.Header.Get("Location"))
		}
	}
}

func TestProfileOfConfluence(t *testing.T) {
	_, url := startConfluence(t, false)
	r := request(t, http.MethodGet, url+"/wiki"+confluenceProfile, "")
	r.Header.Set("Authorization", "Bearer alice-pat")
	got := do(t, r)
	if got.StatusCode != http.StatusOK || !strings.Contains(got.body, `<form name="editUser"`) || got.Header.Get("Content-Security-Policy-Report-Only") == "" {
		t.Errorf("got %d %v %s", got.StatusCode, got.Header, got.body)
	}
}
