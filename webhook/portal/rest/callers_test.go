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

// pat creates a personal access token at the product, as users do in their profile.
func pat(t *testing.T, w *portaltest.World, user string) string {
	t.Helper()
	return makePAT(t, w, user, "my own")
}

// makePAT makes one with a name.
func makePAT(t *testing.T, w *portaltest.World, user, name string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.URL+"/rest/pat/latest/tokens", strings.NewReader(`{"name":"`+name+`"}`))
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

func TestAuthentication(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		alice := session(t, w, "alice")
		id, text := alice.create(`{"label":"CI scripts"}`)
		own := pat(t, w, "alice")
		cookie := w.Product.SignIn("alice").String()
		bobsCookie := w.Product.SignIn("bob").String()
		const accepted, refused = http.StatusOK, http.StatusUnauthorized
		for name, tc := range map[string]struct {
			basicAuth bool
			headers   []string
			query     string
			status    int
		}{
			"a session":                       {false, []string{"Cookie", cookie}, "", accepted},
			"a session among other cookies":   {false, []string{"Cookie", "a=b; " + cookie + "; c=d"}, "", accepted},
			"a session in the second header":  {false, []string{"Cookie", "a=b", "Cookie", cookie}, "", accepted},
			"a password":                      {true, []string{"Authorization", basic("alice", "alices password")}, "", accepted},
			"a password where there are none": {false, []string{"Authorization", basic("alice", "alices password")}, "", refused},
			"a wrong password":                {true, []string{"Authorization", basic("alice", "bobs password")}, "", refused},
			"a personal access token":         {false, []string{"Authorization", "Bearer " + own}, "", accepted},
			"a wrong personal access token":   {false, []string{"Authorization", "Bearer " + own[1:]}, "", refused},
			"an API token":                    {false, []string{"Authorization", basic("alice", text)}, "", accepted},
			"an API token, in upper case":     {false, []string{"Authorization", basic("ALICE", text)}, "", accepted},
			"an API token of another user":    {false, []string{"Authorization", basic("bob", text)}, "", refused},
			"an API token as a bearer's":      {false, []string{"Authorization", "Bearer " + text}, "", refused},
			"an API token as a user name":     {false, []string{"Authorization", basic(text, "")}, "", refused},
			"an API token in the query":       {false, []string{"Cookie", cookie}, "?os_username=alice&os_password=" + text, http.StatusForbidden},
			"a wrong API token and a session": {false, []string{"Cookie", cookie, "Authorization", basic("alice", text+"x")}, "", refused},
			"an API token and bob's session":  {false, []string{"Cookie", bobsCookie, "Authorization", basic("alice", text)}, "", accepted},
			"two credentials":                 {false, []string{"Authorization", basic("alice", text), "Authorization", "Bearer " + own}, "", refused},
			"nothing":                         {false, nil, "", refused},
			"a session that is none":          {false, []string{"Cookie", "JSESSIONID=made-up"}, "", refused},
			"a cookie that means nothing":     {false, []string{"Cookie", "a=b"}, "", refused},
			"a scheme that nobody knows":      {false, []string{"Authorization", "Negotiate abc"}, "", refused},
			"a password in the query":         {true, nil, "?os_username=alice&os_password=alices%20password", refused},
			"names that only proxies may say": {false, []string{"X-Forwarded-User", "alice", "X-Ausername", "alice", "Remote-User", "alice"}, "", refused},
		} {
			w.Product.SetBasicAuth(tc.basicAuth)
			got := alice.with(tc.headers...).send("GET", "/"+tc.query, "")
			if got.status != tc.status {
				t.Errorf("%s: %d %s, want %d", name, got.status, got.body, tc.status)
			}
			if tc.status == accepted && !strings.Contains(got.body, `"id":"`+id+`"`) {
				t.Errorf("%s: taken for somebody else: %s", name, got.body)
			}
			if tc.status == refused && got.header.Get("WWW-Authenticate") != `Basic realm="API token", charset="UTF-8"` {
				t.Errorf("%s: WWW-Authenticate is %q", name, got.header.Get("WWW-Authenticate"))
			}
		}
		w.Product.SetBasicAuth(false)
	})
}

// API tokens never reach the product. The answer does not tell why one is not valid.
func TestProductNeverSeesTokens(t *testing.T) {
	w := env.Confluence(t)
	alice := session(t, w, "alice")
	_, text := alice.create(`{"label":"CI scripts"}`)
	before := len(w.Product.Requests())
	want := alice.withToken("alice", text[:60]).expect(http.StatusUnauthorized, "GET", "/", "")
	for _, as := range []client{
		alice.withToken("bob", text), alice.withToken("nobody", text), alice.withToken("alice", text[:66]+"_"), alice.withToken("", text),
		alice.with("Authorization", "Bearer "+text), alice.with("Authorization", "Token "+text, "Cookie", "JSESSIONID=x"),
	} {
		if got := as.expect(http.StatusUnauthorized, "GET", "/", ""); got.body != want.body {
			t.Errorf("%s, want %s", got.body, want.body)
		}
	}
	alice.withToken("alice", text).expect(http.StatusOK, "GET", "/", "")
	if after := len(w.Product.Requests()); after != before {
		t.Errorf("the product received %d requests", after-before)
	}
}

// A deactivated user is refused with every credential of the product. The product refuses their API tokens.
func TestDeactivated(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		bob := session(t, w, "bob")
		bob.create(`{"label":"CI scripts"}`)
		own := pat(t, w, "bob")
		w.Product.SetBasicAuth(true)
		w.Product.Deactivate("bob")
		for _, as := range []client{bob, bob.with("Authorization", "Bearer "+own), bob.with("Authorization", basic("bob", "bobs password"))} {
			as.expect(http.StatusUnauthorized, "GET", "/", "")
			as.expect(http.StatusUnauthorized, "POST", "/", `{"label":"after they left"}`)
			as.expect(http.StatusUnauthorized, "DELETE", "/all", "")
		}
	})
}

// User names may contain everything that directories allow. Only ASCII is folded.
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
			as.withToken(name, text).expect(http.StatusOK, "GET", "/"+id, "")
			as.withToken(strings.Map(upper, name), text).expect(http.StatusOK, "GET", "/"+id, "")
			as.withToken(name+" ", text).expect(http.StatusUnauthorized, "GET", "/"+id, "")
			as.withToken(name, text).expect(http.StatusNoContent, "DELETE", "/"+id, "")
		}
		// The schema of APITokens does not allow these names, so these users can have no tokens.
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

// A site that is not served answers 503 to everybody. A deleted site answers 404.
func TestSiteNotServed(t *testing.T) {
	w := env.Jira(t)
	alice := session(t, w, "alice")
	_, text := alice.create(`{"label":"CI scripts"}`)
	owner := alice.withToken("alice", text)
	policy(t, w, func(s *tokensv1alpha1.AtlassianSite) { s.Spec.UpstreamURL = "http://elsewhere.example/jira" })
	for _, as := range []client{alice, owner, alice.with()} {
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
	for _, as := range []client{alice, owner, alice.with()} {
		eventually(t, as, http.StatusNotFound)
	}
	// A new site of the same name does not use the projection of the deleted one.
	again := kubetest.Site(w.Site.Namespace, "main", func(s *tokensv1alpha1.AtlassianSite) {
		s.Spec.BaseURL, s.Spec.UpstreamURL = w.Site.Spec.BaseURL, "http://other.example/jira"
	})
	if err := env.Admin.Create(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	eventually(t, alice, http.StatusServiceUnavailable)
}

// eventually waits until the list is answered with a status.
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

// A terminating namespace accepts no new tokens.
func TestNamespaceTerminating(t *testing.T) {
	w := env.Jira(t)
	alice := session(t, w, "alice")
	alice.create(`{"label":"before"}`)
	terminate(t, w.Site.Namespace)
	if refused := alice.expect(http.StatusServiceUnavailable, "POST", "/", `{"label":"after"}`); !refused.says(t, w, "", "is being removed") {
		t.Errorf("%s", refused.body)
	}
	alice.expect(http.StatusNoContent, "DELETE", "/all", "")
}
