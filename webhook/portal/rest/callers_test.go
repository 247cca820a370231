package rest_test

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/hack/lib/portaltest"
)

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// pat has the product make a personal access token for somebody, as he does in his profile.
func pat(t *testing.T, w *portaltest.World, user string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.URL+"/rest/pat/latest/tokens", strings.NewReader(`{"name":"my own"}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.AddCookie(w.Product.SignIn(user))
	made, err := roundTrip(request)
	if err != nil || made.status != http.StatusCreated {
		t.Fatalf("making a personal access token: %d %s %v", made.status, made.body, err)
	}
	return made.text(t, "rawToken")
}

func TestWhoMayAsk(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		alice := session(t, w, "alice")
		id, text := alice.create(`{"label":"CI scripts"}`)
		own := pat(t, w, "alice")
		cookie := w.Product.SignIn("alice").String()
		bobsCookie := w.Product.SignIn("bob").String()
		const everybody, nobody = http.StatusOK, http.StatusUnauthorized
		for name, tc := range map[string]struct {
			basicAuth bool
			headers   []string
			query     string
			status    int
		}{
			"a session":                       {false, []string{"Cookie", cookie}, "", everybody},
			"a session among other cookies":   {false, []string{"Cookie", "a=b; " + cookie + "; c=d"}, "", everybody},
			"a session in the second header":  {false, []string{"Cookie", "a=b", "Cookie", cookie}, "", everybody},
			"a password":                      {true, []string{"Authorization", basic("alice", "alices password")}, "", everybody},
			"a password where there are none": {false, []string{"Authorization", basic("alice", "alices password")}, "", nobody},
			"a wrong password":                {true, []string{"Authorization", basic("alice", "bobs password")}, "", nobody},
			"a personal access token":         {false, []string{"Authorization", "Bearer " + own}, "", everybody},
			"a wrong personal access token":   {false, []string{"Authorization", "Bearer " + own[1:]}, "", nobody},
			"an API token":                    {false, []string{"Authorization", basic("alice", text)}, "", everybody},
			"an API token, in upper case":     {false, []string{"Authorization", basic("ALICE", text)}, "", everybody},
			"an API token of another user":    {false, []string{"Authorization", basic("bob", text)}, "", nobody},
			"an API token as a bearer's":      {false, []string{"Authorization", "Bearer " + text}, "", nobody},
			"an API token as a user name":     {false, []string{"Authorization", basic(text, "")}, "", nobody},
			"an API token in the query":       {false, []string{"Cookie", cookie}, "?os_username=alice&os_password=" + text, nobody},
			"a wrong API token and a session": {false, []string{"Cookie", cookie, "Authorization", basic("alice", text+"x")}, "", nobody},
			"an API token and bob's session":  {false, []string{"Cookie", bobsCookie, "Authorization", basic("alice", text)}, "", everybody},
			"two credentials":                 {false, []string{"Authorization", basic("alice", text), "Authorization", "Bearer " + own}, "", nobody},
			"nothing":                         {false, nil, "", nobody},
			"a session that is none":          {false, []string{"Cookie", "JSESSIONID=made-up"}, "", nobody},
			"a cookie that means nothing":     {false, []string{"Cookie", "a=b"}, "", nobody},
			"a scheme that nobody knows":      {false, []string{"Authorization", "Negotiate abc"}, "", nobody},
			"a password in the query":         {true, nil, "?os_username=alice&os_password=alices%20password", nobody},
			"names that only proxies may say": {false, []string{"X-Forwarded-User", "alice", "X-Ausername", "alice", "Remote-User", "alice"}, "", nobody},
		} {
			w.Product.SetBasicAuth(tc.basicAuth)
			got := alice.with(tc.headers...).send("GET", "/"+tc.query, "")
			if got.status != tc.status {
				t.Errorf("%s: %d %s, want %d", name, got.status, got.body, tc.status)
			}
			if tc.status == everybody && !strings.Contains(got.body, `"id":"`+id+`"`) {
				t.Errorf("%s: taken for somebody else: %s", name, got.body)
			}
			if tc.status == nobody && got.header.Get("WWW-Authenticate") != `Basic realm="API token", charset="UTF-8"` {
				t.Errorf("%s: WWW-Authenticate is %q", name, got.header.Get("WWW-Authenticate"))
			}
		}
		w.Product.SetBasicAuth(false)
	})
}

// What was presented of ours never reaches the product, and what is wrong with it is not told.
func TestTokensStayHere(t *testing.T) {
	w := env.Confluence(t)
	alice := session(t, w, "alice")
	_, text := alice.create(`{"label":"CI scripts"}`)
	before := len(w.Product.Requests())
	want := alice.bearer("alice", text[:60]).expect(http.StatusUnauthorized, "GET", "/", "")
	for _, as := range []client{
		alice.bearer("bob", text), alice.bearer("nobody", text), alice.bearer("alice", text[:66]+"0"), alice.bearer("", text),
		alice.with("Authorization", "Bearer "+text), alice.with("Authorization", "Token "+text, "Cookie", "JSESSIONID=x"),
	} {
		if got := as.expect(http.StatusUnauthorized, "GET", "/", ""); got.body != want.body {
			t.Errorf("%s, want %s", got.body, want.body)
		}
	}
	alice.bearer("alice", text).expect(http.StatusOK, "GET", "/", "")
	if after := len(w.Product.Requests()); after != before {
		t.Errorf("the product received %d requests", after-before)
	}
}

// Somebody who left is not signed in any more, however he was. That his API tokens are no use at the product, the product sees to.
func TestDeactivated(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		bob := session(t, w, "bob")
		bob.create(`{"label":"CI scripts"}`)
		own := pat(t, w, "bob")
		w.Product.SetBasicAuth(true)
		w.Product.Deactivate("bob")
		for _, as := range []client{bob, bob.with("Authorization", "Bearer "+own), bob.with("Authorization", basic("bob", "bobs password"))} {
			as.expect(http.StatusUnauthorized, "GET", "/", "")
			as.expect(http.StatusUnauthorized, "POST", "/", `{"label":"after he left"}`)
			as.expect(http.StatusUnauthorized, "DELETE", "/all", "")
		}
	})
}

// Names as directories have them. What is folded is ASCII.
func TestUserNames(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		name := "alice"
		for _, next := range []string{"a@b@example.com", `corp\alice`, "Alice Q. Example", "ALICE", "jürgen", "李 雷", "ali%63e", "a/../b", "x'; drop--", strings.Repeat("n", 255)} {
			if !w.Product.Rename(name, next) {
				t.Fatalf("%q is taken", next)
			}
			name = next
			as := session(t, w, name)
			id, text := as.create(`{"label":"CI scripts"}`)
			if len(as.list()) != 1 {
				t.Errorf("%q has the tokens of somebody else too: %v", name, as.list())
			}
			as.bearer(name, text).expect(http.StatusOK, "GET", "/"+id, "")
			as.bearer(strings.Map(upper, name), text).expect(http.StatusOK, "GET", "/"+id, "")
			as.bearer(name+" ", text).expect(http.StatusUnauthorized, "GET", "/"+id, "")
			as.bearer(name, text).expect(http.StatusNoContent, "DELETE", "/"+id, "")
		}
		// The API cannot have these for owners of tokens, so they have none. That is nothing that they did wrong.
		for _, next := range []string{"Ärger", "asp_alice", "name ", "a:b"} {
			if !w.Product.Rename(name, next) {
				t.Fatalf("%q is taken", next)
			}
			name = next
			as := session(t, w, name)
			if refused := as.expect(http.StatusConflict, "POST", "/", `{"label":"CI scripts"}`); !refused.says(t, w, "", "Your user name cannot have API tokens") {
				t.Errorf("%q: %s", name, refused.body)
			}
			if err := wantIDs(as); err != nil {
				t.Error(err)
			}
		}
	})
}

func upper(r rune) rune {
	if 'a' <= r && r <= 'z' {
		return r - 'a' + 'A'
	}
	return r
}

// A site that is not served says so, whoever asks. One that is gone, or never was, is not there.
func TestSitesThatAreNotServed(t *testing.T) {
	w := env.Jira(t)
	alice := session(t, w, "alice")
	_, text := alice.create(`{"label":"CI scripts"}`)
	bearer := alice.bearer("alice", text)
	policy(t, w, func(s *tokensv1alpha1.AtlassianSite) { s.Spec.UpstreamURL = "http://elsewhere.example/jira" })
	for _, as := range []client{alice, bearer, alice.with()} {
		eventually(t, as, http.StatusServiceUnavailable)
		as.expect(http.StatusServiceUnavailable, "POST", "/revoke", `{"token":"x"}`)
		as.expect(http.StatusServiceUnavailable, "GET", "/openapi.json", "")
	}
	for _, seen := range w.Product.Requests() {
		if seen.Path == "/jira/rest/api/2/myself" && seen.User == "" {
			t.Errorf("somebody was asked about at a product that is none: %v", seen)
		}
	}
	if err := env.Admin.Delete(t.Context(), w.Site); err != nil {
		t.Fatal(err)
	}
	for _, as := range []client{alice, bearer, alice.with()} {
		eventually(t, as, http.StatusNotFound)
	}
	// Created anew, with the same name: what was projected of the one before does not count for another product.
	again := kubetest.Site(w.Site.Namespace, "main", func(s *tokensv1alpha1.AtlassianSite) {
		s.Spec.BaseURL, s.Spec.UpstreamURL = w.Site.Spec.BaseURL, "http://other.example/jira"
	})
	if err := env.Admin.Create(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	eventually(t, alice, http.StatusServiceUnavailable)
}

// eventually waits until somebody's list is answered with a status.
func eventually(t *testing.T, as client, status int) answer {
	t.Helper()
	var last answer
	begun := time.Now()
	for last = as.send("GET", "/", ""); last.status != status; last = as.send("GET", "/", "") {
		if time.Since(begun) > 30*time.Second {
			t.Fatalf("%d %s, want %d", last.status, last.body, status)
		}
	}
	return last
}

// A namespace that is being removed takes no new tokens, and says so.
func TestNamespaceIsBeingRemoved(t *testing.T) {
	w := env.Jira(t)
	alice := session(t, w, "alice")
	alice.create(`{"label":"before"}`)
	terminate(t, w.Site.Namespace)
	if refused := alice.expect(http.StatusServiceUnavailable, "POST", "/", `{"label":"after"}`); !refused.says(t, w, "", "is being removed") {
		t.Errorf("%s", refused.body)
	}
	alice.expect(http.StatusNoContent, "DELETE", "/all", "")
}
