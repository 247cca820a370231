package fakeproduct

import (
	"net/http"
	"strings"
	"testing"
)

// change adds a credential to a request.
type change func(r *http.Request)

func header(name, value string) change {
	return func(r *http.Request) { r.Header.Add(name, value) }
}

func authorization(value string) change { return header("Authorization", value) }

func basic(name, password string) change {
	return func(r *http.Request) { r.SetBasicAuth(name, password) }
}

func query(raw string) change {
	return func(r *http.Request) { r.URL.RawQuery = raw }
}

// signedIn stands for the cookie of bob's session, which the test opens.
var signedIn = header("Cookie", "bob's session")

func TestCredentials(t *testing.T) {
	const form = "application/x-www-form-urlencoded"
	tests := []struct {
		name    string
		basicOn bool
		method  string // GET when empty
		body    string
		changes []change
		status  int
		user    string
		reason  string
	}{
		{name: "none", status: 200},
		{name: "PAT", changes: []change{authorization("Bearer alice-pat")},
			status: 200, user: "alice", reason: loginOK},
		{name: "second PAT", changes: []change{authorization("bearer bob-pat-2")},
			status: 200, user: "bob", reason: loginOK},
		{name: "wrong PAT", changes: []change{authorization("Bearer alice-password")}, status: 401},
		{name: "no PAT", changes: []change{authorization("Bearer ")}, status: 401},
		{name: "scheme alone", changes: []change{authorization("Bearer")}, status: 401},
		{name: "unknown scheme", changes: []change{authorization("Token alice-pat")}, status: 200},

		{name: "Basic off, right password", changes: []change{basic("alice", "alice-password")}, status: 403},
		{name: "Basic off, PAT as password", changes: []change{basic("alice", "alice-pat")}, status: 403},
		{name: "Basic off, garbage", changes: []change{authorization("basic ???")}, status: 403},
		{name: "Basic on, right password", basicOn: true, changes: []change{basic("alice", "alice-password")},
			status: 200, user: "alice", reason: loginOK},
		{name: "Basic on, wrong password", basicOn: true, changes: []change{basic("alice", "bob-password")},
			status: 401, reason: loginFailed},
		{name: "Basic on, PAT as password", basicOn: true, changes: []change{basic("alice", "alice-pat")},
			status: 401, reason: loginFailed},
		{name: "Basic on, nobody", basicOn: true, changes: []change{basic("", "")},
			status: 401, reason: loginFailed},
		{name: "Basic on, garbage", basicOn: true, changes: []change{authorization("Basic ???")},
			status: 401, reason: loginFailed},

		{name: "parameters", changes: []change{query("os_username=bob&os_password=bob-password")},
			status: 200, user: "bob", reason: loginOK},
		{name: "parameters beat PAT",
			changes: []change{query("os_username=bob&os_password=bob-password"), authorization("Bearer alice-pat")},
			status:  200, user: "bob", reason: loginOK},
		{name: "parameters, escaped and beside a semicolon",
			changes: []change{query("x=;&os%5Fusername=b%6Fb&os_password=bob-password")},
			status:  200, user: "bob", reason: loginOK},
		{name: "wrong parameters", changes: []change{query("os_username=bob&os_password=x")},
			status: 200, reason: loginFailed},
		{name: "wrong parameters, then PAT",
			changes: []change{query("os_username=bob&os_password=x"), authorization("Bearer alice-pat")},
			status:  200, user: "alice", reason: loginOK},
		{name: "posted parameters", method: "POST", body: "os_username=bob&os_password=bob-password",
			changes: []change{header("Content-Type", form)}, status: 200, user: "bob", reason: loginOK},
		{name: "posted parameters beside a query that does not parse", method: "POST",
			body:    "os_username=bob&os_password=bob-password",
			changes: []change{header("Content-Type", form), query("x=;")}, status: 200, user: "bob", reason: loginOK},
		{name: "query before body", method: "POST", body: "os_username=bob&os_password=bob-password",
			changes: []change{header("Content-Type", form), query("os_username=alice&os_password=alice-password")},
			status:  200, user: "alice", reason: loginOK},
		{name: "put parameters are none", method: "PUT", body: "os_username=bob&os_password=bob-password",
			changes: []change{header("Content-Type", form)}, status: 200},

		{name: "session", changes: []change{signedIn}, status: 200, user: "bob"},
		{name: "session beats PAT", changes: []change{signedIn, authorization("Bearer alice-pat")},
			status: 200, user: "bob"},
		{name: "session beats Basic that is off", changes: []change{signedIn, basic("alice", "alice-password")},
			status: 200, user: "bob"},
		{name: "parameters beat session",
			changes: []change{signedIn, query("os_username=alice&os_password=alice-password")},
			status:  200, user: "alice", reason: loginOK},
		{name: "valid session behind a stale one", changes: []change{header("Cookie", "JSESSIONID=stale"), signedIn},
			status: 200, user: "bob"},
		{name: "stale session, then PAT",
			changes: []change{header("Cookie", "JSESSIONID=stale"), authorization("Bearer alice-pat")},
			status:  200, user: "alice", reason: loginOK},
		{name: "stale session", changes: []change{header("Cookie", "JSESSIONID=stale")}, status: 401},
		{name: "stale session, os_authType=cookie",
			changes: []change{header("Cookie", "JSESSIONID=stale"), query("os_authType=cookie")}, status: 401},
		{name: "stale session, os_authType=none",
			changes: []change{header("Cookie", "JSESSIONID=stale"), query("os_authType=none")}, status: 200},
		{name: "none, os_authType=any", changes: []change{query("os_authType=any")}, status: 200},
		{name: "none, os_authType=basic", changes: []change{query("os_authType=basic")}, status: 401},
		{name: "PAT, os_authType=basic",
			changes: []change{authorization("Bearer alice-pat"), query("os_authType=basic")},
			status:  200, user: "alice", reason: loginOK},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			jira, url := start(t, Options{BasicAuth: test.basicOn})
			r := request(t, test.method, url+echoPath, test.body)
			for _, change := range test.changes {
				change(r)
			}
			for i, cookie := range r.Header["Cookie"] {
				if cookie == "bob's session" {
					r.Header["Cookie"][i] = sessionCookie + "=" + jira.sessions.start("bob")
				}
			}
			got := do(t, r)
			if got.StatusCode != test.status {
				t.Errorf("status = %d, want %d; body %s", got.StatusCode, test.status, got.body)
			}
			if user := jira.Requests()[0].User; user != test.user {
				t.Errorf("served as %q, want %q", user, test.user)
			}
			if reason := got.Header.Get("X-Seraph-LoginReason"); reason != test.reason {
				t.Errorf("X-Seraph-LoginReason = %q, want %q", reason, test.reason)
			}
			wantName := test.user
			if wantName == "" {
				wantName = "anonymous"
			}
			if name := got.Header.Get("X-AUSERNAME"); name != wantName {
				t.Errorf("X-AUSERNAME = %q, want %q", name, wantName)
			}
		})
	}
}

func TestStaleSessionOutsideREST(t *testing.T) {
	_, url := start(t, Options{})
	r := request(t, http.MethodGet, url+dashboardPath, "")
	r.Header.Set("Cookie", "JSESSIONID=stale")
	if got := do(t, r); got.StatusCode != http.StatusOK || !strings.Contains(got.body, "anonymous") {
		t.Errorf("got %d %s, want the dashboard of anonymous", got.StatusCode, got.body)
	}
}

func TestRefusals(t *testing.T) {
	const unauthorizedJSON = `{"errorMessages":["You are not authenticated. Authentication required to perform this operation."],"errors":{}}`
	const refusedPAT = `{"message":"Client must be authenticated to access this resource.","status-code":401}`
	tests := []struct {
		name        string
		basicOn     bool
		credential  change
		status      int
		contentType string
		body        string
		challenge   bool
	}{
		{"anonymous", false, query(""), 401, "application/json;charset=UTF-8", unauthorizedJSON, true},
		{"wrong PAT", false, authorization("Bearer x"), 401, "application/json;charset=UTF-8", refusedPAT, true},
		{"Basic off", false, basic("alice", "alice-password"), 403, "application/json;charset=UTF-8",
			`{"message":"Basic Authentication has been disabled on this instance."}`, false},
		{"wrong password", true, basic("alice", "x"), 401, "text/html;charset=UTF-8",
			"Basic Authentication Failure - Reason : AUTHENTICATED_FAILED", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, url := start(t, Options{BasicAuth: test.basicOn})
			r := request(t, http.MethodGet, url+"/rest/api/2/myself", "")
			test.credential(r)
			got := do(t, r)
			if got.StatusCode != test.status || got.Header.Get("Content-Type") != test.contentType {
				t.Errorf("got %d %s, want %d %s", got.StatusCode, got.Header.Get("Content-Type"), test.status, test.contentType)
			}
			if !strings.Contains(got.body, test.body) {
				t.Errorf("body = %s, want %s", got.body, test.body)
			}
			wantChallenge := ""
			if test.challenge {
				wantChallenge = `OAuth realm="` + strings.NewReplacer(":", "%3A", "/", "%2F").Replace(url) + `"`
			}
			if challenge := got.Header.Get("WWW-Authenticate"); challenge != wantChallenge {
				t.Errorf("WWW-Authenticate = %q, want %q", challenge, wantChallenge)
			}
		})
	}
}

func TestSetBasicAuth(t *testing.T) {
	jira, url := start(t, Options{})
	for _, step := range []struct {
		on     bool
		status int
	}{{false, 403}, {true, 200}, {false, 403}} {
		jira.SetBasicAuth(step.on)
		r := request(t, http.MethodGet, url+"/rest/api/2/myself", "")
		r.SetBasicAuth("alice", "alice-password")
		if got := do(t, r).StatusCode; got != step.status {
			t.Errorf("Basic on %t: status = %d, want %d", step.on, got, step.status)
		}
	}
}
