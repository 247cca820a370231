package page_test

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/hack/lib/portaltest"
)

// Users who are not signed in are redirected to the product's login page, and from there to the page that they asked for.
func TestLogin(t *testing.T) {
	for _, tc := range []struct {
		world       *portaltest.World
		login, form string
	}{{env.Jira(t), "/jira/login.jsp", "/login.jsp"}, {env.Confluence(t), "/jira/login.action", "/dologin.action"}} {
		anonymous := signedIn(t, tc.world, "alice").anonymous()
		for below, back := range map[string]string{
			"": pagePath, "/": pagePath, "?note=revoked": pagePath, "?dialog=create": pagePath + "?dialog=create",
			"?id=asp_x&dialog=revoke&next=//evil.example": pagePath + "?dialog=revoke&id=asp_x", "?dialog=%2f%2fevil": pagePath + "?dialog=%2F%2Fevil",
		} {
			for _, who := range []browser{anonymous, anonymous.with("Cookie", "JSESSIONID=ended"), anonymous.with("Authorization", "Bearer nobodys")} {
				a := who.send(http.MethodGet, below, nil).expect(http.StatusFound, "GET "+below)
				to, err := url.Parse(a.header.Get("Location"))
				if err != nil || to.Path != tc.login || to.Host != "" || to.Query().Get("os_destination") != back || len(to.Query()) != 1 {
					t.Errorf("%s leads to %s (%v), want %s and back to %s", below, a.header.Get("Location"), err, tc.login, back)
				}
				if a.body != "" {
					t.Errorf("%s: %q", below, a.body)
				}
			}
		}
		anonymous.send(http.MethodHead, "", nil).expect(http.StatusFound, "HEAD")
		// The product redirects to the page, below its context path.
		form := strings.NewReader("os_username=alice&os_password=alices+password&os_destination=" + url.QueryEscape(pagePath+"?dialog=create"))
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, anonymous.URL+tc.form, form)
		must(t, err)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		response, err := http.DefaultTransport.RoundTrip(r)
		must(t, err)
		must(t, response.Body.Close())
		if to := response.Header.Get("Location"); to != "/jira"+pagePath+"?dialog=create" {
			t.Errorf("%s leads to %s (%d)", tc.login, to, response.StatusCode)
		}
	}
}

// A form is not redirected when the session has ended, because its input would be lost. The page offers to sign in.
func TestSessionEnded(t *testing.T) {
	anonymous := signedIn(t, env.Jira(t), "alice").anonymous()
	for _, below := range []string{"/create", "/rotate", "/revoke", "/revoke-all", "/paste"} {
		a := anonymous.post(http.StatusUnauthorized, below, url.Values{"label": {"x"}, "id": {"x"}})
		a.shows("You are no longer signed in", "Sign in to Jira")
		if !strings.Contains(a.body, `href="/jira/login.jsp?os_destination=%2Fplugins%2Fservlet%2Fapi-tokens"`) || a.header.Get("WWW-Authenticate") != "" {
			t.Errorf("%s: %v\n%s", below, a.header, a.body)
		}
	}
}

// The page refuses API tokens. The answer does not tell whether they are valid.
func TestAPITokenAsCaller(t *testing.T) {
	alice := signedIn(t, env.Jira(t), "alice")
	text := alice.post(http.StatusOK, "/create", alice.filled("CI")).secret()
	var first string
	for _, script := range []browser{
		alice.basic("alice", text), alice.basic("bob", text), alice.basic("alice", text[:len(text)-1]), alice.basic(text, ""),
		alice.anonymous().with("Authorization", "Bearer "+text),
		alice.with("Authorization", alice.basic("alice", text).as.Get("Authorization")), // also beside a session
	} {
		a := script.get(http.StatusForbidden, "")
		a.shows("for people who are signed in", alice.URL+"/rest/api-tokens/latest/", "!CI", "!Alice")
		script.post(http.StatusForbidden, "/revoke", url.Values{"id": {text[:20]}})
		if first == "" {
			first = a.body
		}
		if a.body != first {
			t.Errorf("%s\nis not\n%s", a.body, first)
		}
	}
	alice.get(http.StatusOK, "").shows("CI")
}

// Only pages of the site's own origin may send forms.
func TestCrossSite(t *testing.T) {
	alice := signedIn(t, env.Jira(t), "alice")
	own := alice.origin()
	https := strings.Replace(own, "http://", "https://", 1)
	for _, fetch := range []string{"cross-site", "same-site", "none", "same-origin", "", "something new"} {
		for _, origin := range []string{"", "null", own, https, "https://evil.example", "http://127.0.0.1:1", own + ".evil.example", "http://sub." + strings.TrimPrefix(own, "http://")} {
			allowed := fetch == "same-origin" || fetch == "none" || fetch == "" && (origin == own || origin == https)
			want := http.StatusForbidden
			if allowed {
				want = http.StatusNotFound // of the token that is to be revoked
			}
			who := alice.with("Sec-Fetch-Site", fetch, "Origin", origin, "X-Atlassian-Token", "no-check", "X-Requested-With", "XMLHttpRequest")
			if a := who.sendForm("/revoke", url.Values{"id": {"x"}}); a.status != want {
				t.Errorf("Sec-Fetch-Site %q, Origin %q: %d, want %d\n%s", fetch, origin, a.status, want, a.body)
			}
			// Links from other sites work, and change nothing.
			who.send(http.MethodGet, "?dialog=revoke-all", nil).expect(http.StatusOK, "a link from elsewhere")
		}
	}
}

func TestForms(t *testing.T) {
	alice := signedIn(t, env.Jira(t), "alice").with("Origin", "")
	alice = alice.from(alice.origin())
	const form = "user=alice&id=x"
	for media, want := range map[string]int{
		"application/x-www-form-urlencoded": http.StatusNotFound, "application/x-www-form-urlencoded; charset=UTF-8": http.StatusNotFound,
		"": http.StatusUnsupportedMediaType, "text/plain": http.StatusUnsupportedMediaType, "application/json": http.StatusUnsupportedMediaType,
		"multipart/form-data; boundary=x": http.StatusUnsupportedMediaType, "application/x-www-form-urlencoded; =": http.StatusUnsupportedMediaType,
		"application/x-www-form-urlencoded, text/plain": http.StatusUnsupportedMediaType,
	} {
		alice.with("Content-Type", media).send(http.MethodPost, "/revoke", strings.NewReader(form)).expect(want, "as "+media)
	}
	urlencoded := alice.with("Content-Type", "application/x-www-form-urlencoded")
	for body, want := range map[string]int{
		"%zz": http.StatusBadRequest, "user=alice&id=x;a=b": http.StatusBadRequest, "user=alice": http.StatusNotFound,
		"id=" + strings.Repeat("x", 64<<10): http.StatusRequestEntityTooLarge, form + strings.Repeat("x", 64<<10-len(form)): http.StatusNotFound,
	} {
		urlencoded.send(http.MethodPost, "/revoke", strings.NewReader(body)).expect(want, "POST "+body[:min(len(body), 20)])
	}
	// Without Content-Length.
	urlencoded.send(http.MethodPost, "/revoke", io.MultiReader(strings.NewReader("id="+strings.Repeat("x", 64<<10)))).
		expect(http.StatusRequestEntityTooLarge, "POST in chunks")
	// The query is not part of the form.
	id := alice.create("CI")
	urlencoded.send(http.MethodPost, "/revoke?id="+id, strings.NewReader("user=alice")).expect(http.StatusNotFound, "POST with a query")
	alice.get(http.StatusOK, "").shows("CI")
}

func TestAddresses(t *testing.T) {
	alice := signedIn(t, env.Jira(t), "alice")
	alice = alice.from(alice.origin()).with("Content-Type", "application/x-www-form-urlencoded",
		"X-HTTP-Method-Override", "POST", "X-Method-Override", "POST", "X-HTTP-Method", "POST")
	for _, tc := range []struct {
		method, below string
		status        int
		allow         string
	}{
		{"GET", "/nothing", http.StatusNotFound, ""},
		{"POST", "/nothing", http.StatusNotFound, ""},
		{"POST", "/create/", http.StatusNotFound, ""},
		{"POST", "/Create", http.StatusNotFound, ""},
		{"GET", "/static/", http.StatusNotFound, ""},
		{"GET", "/static/nothing.css", http.StatusNotFound, ""},
		{"GET", "/static/page.css/", http.StatusNotFound, ""},
		{"POST", "/static/page.css", http.StatusMethodNotAllowed, "GET, HEAD"},
		{"POST", "", http.StatusMethodNotAllowed, "GET, HEAD"},
		{"DELETE", "", http.StatusMethodNotAllowed, "GET, HEAD"},
		{"PUT", "/", http.StatusMethodNotAllowed, "GET, HEAD"},
		{"OPTIONS", "", http.StatusMethodNotAllowed, "GET, HEAD"},
		{"GET", "/create", http.StatusMethodNotAllowed, "POST"},
		{"GET", "/revoke-all?_method=POST", http.StatusMethodNotAllowed, "POST"},
		{"HEAD", "/revoke-all", http.StatusMethodNotAllowed, "POST"},
		{"DELETE", "/revoke", http.StatusMethodNotAllowed, "POST"},
		{"PATCH", "/paste", http.StatusMethodNotAllowed, "POST"},
	} {
		a := alice.send(tc.method, tc.below, strings.NewReader("id=x&_method=POST")).expect(tc.status, tc.method+" "+tc.below)
		if got := a.header.Get("Allow"); got != tc.allow {
			t.Errorf("%s %s: Allow is %q, want %q", tc.method, tc.below, got, tc.allow)
		}
		if tc.method != "HEAD" && (!strings.Contains(a.body, "<h1>") || a.header.Get("Content-Type") != "text/html; charset=utf-8") {
			t.Errorf("%s %s is no page: %v\n%s", tc.method, tc.below, a.header, a.body)
		}
	}
	if a := alice.send(http.MethodHead, "", nil).expect(http.StatusOK, "HEAD"); a.body != "" {
		t.Errorf("HEAD has a body: %q", a.body)
	}
}

// The files are public, and are sent again only after a change.
func TestStatic(t *testing.T) {
	anonymous := signedIn(t, env.Jira(t), "alice").anonymous()
	page := signedIn(t, anonymous.World, "alice").get(http.StatusOK, "")
	script := "text/javascript; charset=utf-8"
	for name, media := range map[string]string{"page.css": "text/css; charset=utf-8", "page.js": script, "profile.js": script} {
		below := "/static/" + name
		if loads := strings.Contains(page.body, `="/jira`+pagePath+below+`"`); loads != (name != "profile.js") {
			t.Errorf("the page loads %s: %t", name, loads)
		}
		a := anonymous.send(http.MethodGet, below, nil).expect(http.StatusOK, "GET "+below)
		tag := a.header.Get("ETag")
		if a.header.Get("Content-Type") != media || len(a.body) < 100 || len(tag) != 34 {
			t.Errorf("%s: %v", name, a.header)
		}
		anonymous.with("If-None-Match", tag).send(http.MethodGet, below, nil).expect(http.StatusNotModified, "once more")
		anonymous.with("If-None-Match", `"old"`).send(http.MethodGet, below, nil).expect(http.StatusOK, "after a change")
		if head := anonymous.send(http.MethodHead, below, nil).expect(http.StatusOK, "HEAD"); head.body != "" {
			t.Error("HEAD has a body")
		}
	}
	for _, inline := range []string{"style=", "<style", " onclick", "javascript:", "https://", "//cdn"} {
		if strings.Contains(page.body, inline) {
			t.Errorf("the page has %q in it", inline)
		}
	}
}

// The script that runs on pages of the product makes no markup of texts, runs no text, and has no handler in an attribute.
func TestProfileScriptMakesNoMarkup(t *testing.T) {
	script := signedIn(t, env.Jira(t), "alice").anonymous().send(http.MethodGet, "/static/profile.js", nil).expect(http.StatusOK, "GET").body
	for _, sink := range []string{
		"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "createContextualFragment", "srcdoc", "eval(", "Function(", "setTimeout('", "import(",
		"onclick", "onerror", "javascript:", "http:", "https:", "localStorage", "sessionStorage", "document.cookie", "console.",
	} {
		if strings.Contains(script, sink) {
			t.Errorf("the script has %q in it", sink)
		}
	}
}

func TestUnavailable(t *testing.T) {
	alice := signedIn(t, env.Jira(t), "alice")
	alice.create("CI")
	form := alice.filled("unmade")
	alice.Product.SetUnavailable(true)
	alice.get(http.StatusServiceUnavailable, "").shows("Jira does not answer in time", "Try again", "!CI")
	alice.post(http.StatusServiceUnavailable, "/create", form).shows("Jira does not answer in time")
	alice.Product.SetUnavailable(false)
	alice.get(http.StatusOK, "").shows("CI", "!unmade")
}

func TestNoSite(t *testing.T) {
	alice := signedIn(t, env.Jira(t), "alice")
	must(t, env.Admin.Delete(t.Context(), alice.Site))
	kubetest.Eventually(t, func() error {
		if a := alice.send(http.MethodGet, "", nil); a.status != http.StatusNotFound {
			return fmt.Errorf("still there: %d", a.status)
		}
		return nil
	})
	alice.get(http.StatusNotFound, "").shows("There is no such site", "!Go to your API tokens")
}
