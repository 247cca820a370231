package fakeproduct

import (
	"html"
	"io"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// browser follows links and redirects, and keeps cookies.
type browser struct {
	*http.Client
	server string
}

// visited is the page that a browser shows.
type visited struct {
	path, body string
	header     http.Header
}

func newBrowser(t *testing.T, server string) browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return browser{&http.Client{Jar: jar}, server}
}

func (b browser) visit(t *testing.T, method, path string, form url.Values) visited {
	t.Helper()
	r := request(t, method, b.server+path, form.Encode())
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	response, err := b.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return visited{response.Request.URL.RequestURI(), string(body), response.Header}
}

var (
	attribute = regexp.MustCompile(`([a-z]+)="([^"]*)"`)
	element   = regexp.MustCompile(`<(form|input|label|a) ([^>]*)>`)
)

// elements are the elements of a page by name, id or class.
func (v visited) elements() map[string]map[string]string {
	all := map[string]map[string]string{}
	for _, found := range element.FindAllStringSubmatch(v.body, -1) {
		attributes := map[string]string{}
		for _, a := range attribute.FindAllStringSubmatch(found[2], -1) {
			attributes[a[1]] = html.UnescapeString(a[2])
		}
		if found[1] == "form" {
			all["form"] = attributes
		}
		if labelled := attributes["for"]; labelled != "" {
			all["label of "+labelled] = attributes
		}
		for _, key := range []string{"name", "id", "class"} {
			if attributes[key] != "" {
				all[attributes[key]] = attributes
			}
		}
	}
	return all
}

// submit fills in the form of the page and clicks on its button.
func (b browser) submit(t *testing.T, on visited, filled url.Values) visited {
	t.Helper()
	form := url.Values{}
	for name, attributes := range on.elements() {
		if attributes["type"] == "hidden" && attributes["name"] == name {
			form.Set(name, attributes["value"])
		}
	}
	maps.Copy(form, filled)
	return b.visit(t, strings.ToUpper(on.elements()["form"]["method"]), on.elements()["form"]["action"], form)
}

// A person signs in with a browser, is led where they wanted to go, and signs
// out.
func TestBrowserSessions(t *testing.T) {
	const wanted = "/rest/double/1.0/echo?a=b&c=<d>"
	jira := NewJira(Options{ContextPath: "/jira", Users: twoUsers()})
	confluence := NewConfluence(Options{ContextPath: "/wiki", Users: twoUsers()})
	for product, test := range map[string]struct {
		handler                                      http.Handler
		context, login, user, password, submit, exit string
	}{
		"Jira":       {jira, "/jira", "/login.jsp", "login-form-username", "login-form-password", "login-form-submit", "log_out"},
		"Confluence": {confluence, "/wiki", "/login.action", "os_username", "os_password", "loginButton", "logout-link"},
	} {
		t.Run(product, func(t *testing.T) {
			server := httptest.NewServer(test.handler)
			defer server.Close()
			b := newBrowser(t, server.URL)
			form := b.visit(t, "GET", test.context+test.login+"?os_destination="+url.QueryEscape(wanted), nil)
			on := form.elements()
			if on[test.user]["name"] != "os_username" || on[test.password]["name"] != "os_password" || on[test.password]["type"] != "password" ||
				on[test.submit]["type"] != "submit" || on["os_destination"]["type"] != "hidden" || on["os_destination"]["value"] != wanted ||
				on["label of "+test.user] == nil || on["label of "+test.password] == nil {
				t.Fatalf("the form is %s", form.body)
			}
			again := b.submit(t, form, url.Values{"os_username": {"alice"}, "os_password": {"wrong"}})
			if again.header.Get("X-Seraph-LoginReason") != loginFailed || !strings.Contains(again.body, `role="alert"`) || again.elements()["os_destination"]["value"] != wanted {
				t.Fatalf("a wrong password leads to %s %s", again.path, again.body)
			}
			in := b.submit(t, again, url.Values{"os_username": {"alice"}, "os_password": {"alice-password"}})
			if in.path != test.context+wanted || !strings.Contains(in.body, `"user":"alice"`) {
				t.Fatalf("the right password leads to %s %s", in.path, in.body)
			}
			dashboard := b.visit(t, "GET", test.context+test.login, nil)
			if !strings.Contains(dashboard.body, "You are Alice (alice).") || dashboard.elements()[test.exit] == nil {
				t.Fatalf("who is signed in is led to %s %s", dashboard.path, dashboard.body)
			}
			b.visit(t, "GET", dashboard.elements()[test.exit]["href"], nil)
			out := b.visit(t, "GET", dashboard.path, nil)
			if !strings.Contains(out.body, "You are anonymous.") || out.elements()["login-link"]["href"] != test.context+test.login {
				t.Errorf("after that: %s %s", out.path, out.body)
			}
		})
	}
}

// A link from another site does not log a user out of Jira. The form does.
func TestJiraAsksBeforeItLogsOut(t *testing.T) {
	jira, server := start(t, Options{ContextPath: "/jira"})
	for _, path := range []string{"/jira/logout", "/jira/logout?atl_token=x", "/jira/logoutconfirm.jsp"} {
		b := newBrowser(t, server)
		address, err := url.Parse(server + "/jira/")
		if err != nil {
			t.Fatal(err)
		}
		b.Jar.SetCookies(address, []*http.Cookie{jira.SignIn("alice")})
		question := b.visit(t, "GET", path, nil)
		if question.elements()["confirm-logout-submit"]["type"] != "submit" {
			t.Errorf("%s: no question: %s %s", path, question.path, question.body)
		}
		if still := b.visit(t, "GET", "/jira"+dashboardPath, nil); !strings.Contains(still.body, "(alice)") {
			t.Errorf("%s logs out unasked: %s", path, still.body)
		}
		if out := b.submit(t, question, nil); out.path != "/jira"+loggedOutPath || !strings.Contains(out.body, "logged out") {
			t.Errorf("%s: the answer leads to %s %s", path, out.path, out.body)
		}
		if out := b.visit(t, "GET", "/jira"+dashboardPath, nil); !strings.Contains(out.body, "You are anonymous.") {
			t.Errorf("%s: after the answer: %s", path, out.body)
		}
	}
	if out := newBrowser(t, server).visit(t, "GET", "/jira/logout", nil); out.path != "/jira"+loggedOutPath {
		t.Errorf("who was not signed in is led to %s", out.path)
	}
}

func TestConfluenceSaysGoodbye(t *testing.T) {
	_, server := startConfluence(t, false)
	out := newBrowser(t, server).visit(t, "GET", "/wiki/logout.action", nil)
	if out.path != "/wiki/login.action?logout=true" || !strings.Contains(out.body, `id="logout-message"`) {
		t.Errorf("led to %s %s", out.path, out.body)
	}
}

func TestLoginLeadsNowhereElse(t *testing.T) {
	for _, context := range []string{"", "/jira"} {
		p := &NewJira(Options{ContextPath: context}).Product
		home := context + dashboardPath
		for wanted, want := range map[string]string{
			"": home, "//evil": home, "///evil": home, "https://evil/": home, "evil": home, "javascript:alert(1)": home,
			`/\evil`: home, `\\evil`: home, `/x?\`: home, "/%5cevil": home, "/%2fevil": home, "/\t/evil": home, "/x\r\nLocation: //evil": home, " //evil": home,
			"/../evil": home, "/x/../../evil": home, "/%2e%2e/evil": home, "/..;/evil": home, "/x#y": home,
			"/": context + "/", "/browse/DEMO-1": context + "/browse/DEMO-1", "/a/../b": context + "/a/../b", "/a//b": context + "/a//b",
			"/secure/ViewProfile.jspa?selectedTab=a:b&u=https://x//y": context + "/secure/ViewProfile.jspa?selectedTab=a:b&u=https://x//y",
		} {
			if got := p.destination(wanted); got != want {
				t.Errorf("at %q: %q leads to %q, want %q", context, wanted, got, want)
			}
		}
	}
}

// Location is below the context path, also when Go wrote it.
func TestLoginRedirects(t *testing.T) {
	for context, wants := range map[string]map[string]string{
		"":      {"//evil": dashboardPath, "/.//evil": "/evil", "/browse/DEMO-1?a=b": "/browse/DEMO-1?a=b"},
		"/jira": {"//evil": "/jira" + dashboardPath, "/.//evil": "/jira/evil", "/browse/DEMO-1?a=b": "/jira/browse/DEMO-1?a=b"},
	} {
		_, server := start(t, Options{ContextPath: context})
		for wanted, want := range wants {
			r := request(t, "GET", server+context+"/login.jsp?os_username=alice&os_password=alice-password&os_destination="+url.QueryEscape(wanted), "")
			if got := do(t, r); got.StatusCode != http.StatusFound || got.Header.Get("Location") != want {
				t.Errorf("at %q, %q: %d %s, want %s", context, wanted, got.StatusCode, got.Header.Get("Location"), want)
			}
		}
	}
}
