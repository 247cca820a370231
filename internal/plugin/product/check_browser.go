package product

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"apitokens.dev/operator/internal/atlassian"
)

// The pages that both products have, at other paths.
const (
	loginPage = iota
	loginForm
	logoutPage
	dashboard
	profilePage
)

var pages = map[atlassian.Product][5]string{
	atlassian.Jira:       {"/login.jsp", "/login.jsp", "/logout", "/secure/Dashboard.jspa", "/secure/ViewProfile.jspa"},
	atlassian.Confluence: {"/login.action", "/dologin.action", "/logout.action", "/dashboard.action", "/users/viewmysettings.action"},
}

func (k *kit) page(which int) string { return pages[k.product][which] }

// login is a session of the user in a browser.
type login struct{ cookies option }

// session returns the session of the run.
func (k *kit) session() (*login, error) {
	if k.login != nil {
		return k.login, nil
	}
	l, err := k.signIn()
	if err == nil {
		k.keep(l)
	}
	return l, err
}

// keep makes a session the one of the run. It ends with the run.
func (k *kit) keep(l *login) {
	k.login = l
	k.undo = append(k.undo, undo{"a session of the user", func() error { return k.signOut(l) }})
}

// signOut ends a session as browsers do, unless it has ended.
func (k *kit) signOut(l *login) error {
	to := k.base.EscapedPath() + k.page(logoutPage)
	if k.product == atlassian.Jira {
		link, err := k.link(l)
		if err != nil {
			return k.notSignedIn(k.get(k.who(), l.cookies))
		}
		to = link
	}
	k.send(to, l.cookies)
	return k.notSignedIn(k.get(k.who(), l.cookies))
}

// signIn signs the user in as a browser does: by the form, or as the login page of newer versions does.
func (k *kit) signIn() (*login, error) {
	if err := k.password(); err != nil {
		return nil, err
	}
	for _, send := range []func() *answer{func() *answer { return k.submit("") }, k.authenticate} {
		cookies := send().cookies()
		l := &login{cookies: func(r *request) {
			for _, c := range cookies {
				cookie(c.Name, c.Value)(r)
			}
		}}
		if len(cookies) > 0 && k.signedIn(k.get(k.who(), l.cookies)) == nil {
			return l, nil
		}
	}
	return nil, notTriedError("no login signed the user in: is there a second step, or single sign-on?")
}

// authenticate is the login of versions that can ask for a second step. Clients of them published what it reads.
func (k *kit) authenticate() *answer {
	return k.get("/rest/tsv/1.0/authenticate?os_authType=none", sends(map[string]any{
		"username": k.User, "password": k.Password, "rememberMe": false, "targetUrl": "", "captchaId": "",
	}))
}

// submit posts the login form.
func (k *kit) submit(destination string) *answer {
	fields := parameters(k.User, k.Password)
	fields.Set("os_destination", destination)
	fields.Set("login", "Log In")
	return k.get(k.page(loginForm), form(fields))
}

// ids are those of the fields and of the button of the login form.
var ids = map[atlassian.Product][]string{
	atlassian.Jira:       {`id="login-form-username"`, `id="login-form-password"`, `id="login-form-submit"`},
	atlassian.Confluence: {`id="os_username"`, `id="os_password"`, `id="loginButton"`},
}

// to returns where a login leads that was to lead there.
func (k *kit) to(destination string) *answer {
	return k.get(k.page(loginPage)+"?os_destination="+url.QueryEscape(destination), bearer(k.pat))
}

// anchors are the elements behind which the block of API tokens is drawn.
var anchors = map[atlassian.Product]string{atlassian.Jira: `id="details-profile-fragment"`, atlassian.Confluence: `name="editUser"`}

// profile asks for the profile, with a session as browsers do.
func (k *kit) profile() (*answer, error) {
	l, err := k.session()
	if err != nil {
		return &answer{err: err}, err
	}
	return k.get(k.page(profilePage), l.cookies), nil
}

// logoutLink is the link with which a page signs out.
var logoutLink = regexp.MustCompile(`href="([^"]*logout[^"]*atl_token=([^"&]*)[^"]*)"`)

// link returns the target of the logout link on a page that a session sees.
func (k *kit) link(l *login) (string, error) {
	a := k.get(k.page(dashboard), l.cookies)
	found := logoutLink.FindStringSubmatch(string(a.body))
	if found == nil {
		return "", all(a.err, must(false, "the page has no link to log out with an atl_token"))
	}
	k.hide.secret(html.UnescapeString(found[2]), "ATL-TOKEN")
	to, err := url.Parse(html.UnescapeString(found[1]))
	if err != nil {
		return "", must(false, "the link to log out cannot be read")
	}
	return to.RequestURI(), nil
}

var browserChecks = []check{
	{id: "login-form", says: "The login page is a form with `os_username`, `os_password` and `os_destination`, with the ids that are known.",
		run: func(k *kit) error {
			a := k.get(k.page(loginPage) + "?os_destination=%2Fa")
			want := append([]string{`name="os_username"`, `name="os_password"`, `name="os_destination"`}, ids[k.product]...)
			return all(a.is(http.StatusOK), a.shows(append(want, k.base.Path+k.page(loginForm))...))
		}},
	{id: "login-by-form", says: "The form signs in, and leads to `os_destination`, a path after the context path.", run: func(k *kit) error {
		if err := k.password(); err != nil {
			return err
		}
		a := k.submit("/apitoken-doctor?a=b")
		return all(a.leadsTo(k, "/apitoken-doctor?a=b"), must(len(a.cookies()) > 0, "it sets no cookie"))
	}},
	{id: "login-again", says: "The login page leads users who are signed in already to `os_destination`.", run: func(k *kit) error {
		return k.to("/apitoken-doctor?a=b").leadsTo(k, "/apitoken-doctor?a=b")
	}},
	{id: "login-elsewhere", says: "An `os_destination` on another host leads to the dashboard.", run: func(k *kit) error {
		return all(k.to("//example.com/a").leadsTo(k, k.page(dashboard)), k.to("https://example.com/a").leadsTo(k, k.page(dashboard)))
	}},
	{id: "login-malformed", says: "So does one with a backslash, a fragment or a control character, and one out of the context path.",
		run: func(k *kit) error {
			var errs []error
			for _, destination := range []string{`/\example.com`, "/a#b", "/a\tb", "/../a"} {
				errs = append(errs, k.to(destination).leadsTo(k, k.page(dashboard)))
			}
			return all(errs...)
		}},
	{id: "profile", says: "The profile has the element behind which the block of API tokens is drawn, and names its user in `ajs-remote-user`.",
		run: func(k *kit) error {
			a, err := k.profile()
			return all(err, a.is(http.StatusOK), a.shows(anchors[k.product], `name="ajs-remote-user" content="`+html.EscapeString(k.User)+`"`))
		}},
	{id: "profile-policy", says: "No content security policy of the profile forbids scripts of the own origin.", run: func(k *kit) error {
		a, err := k.profile()
		for _, policy := range a.header.Values("Content-Security-Policy") {
			_, sources, found := strings.Cut(policy, "script-src ")
			sources, _, _ = strings.Cut(sources, ";")
			if found && !strings.Contains(sources, "'self'") {
				err = all(err, must(false, "it allows scripts from %s", sources))
			}
		}
		return all(err, a.err)
	}},
	{id: "profile-anonymous", says: "Anonymous callers of the profile are led to the login page, and from there back.", run: func(k *kit) error {
		return k.get(k.page(profilePage)).leadsTo(k, k.page(loginPage)+"?os_destination="+url.QueryEscape(k.page(profilePage)))
	}},
	{id: "logout-asks", says: "`/logout` without the session's `atl_token` asks first, with a button, and leaves the session.", of: atlassian.Jira,
		run: func(k *kit) error {
			l, err := k.session()
			if err != nil {
				return err
			}
			a := k.get(k.page(logoutPage), l.cookies)
			return all(a.is(http.StatusOK), a.shows(`id="confirm-logout-submit"`, "atl_token"), k.signedIn(k.get(k.who(), l.cookies)))
		}},
	{id: "logout", says: "The link `log_out` on a page has the `atl_token`, and ends the session.", of: atlassian.Jira, run: func(k *kit) error {
		l, err := k.signIn()
		if err != nil {
			return err
		}
		to, err := k.link(l)
		if err != nil {
			return err
		}
		k.send(to, l.cookies)
		return k.notSignedIn(k.get(k.who(), l.cookies))
	}},
	{id: "logout-leads", says: "It leads to `/secure/Logout!default.jspa`.", of: atlassian.Jira, run: func(k *kit) error {
		l, err := k.signIn()
		if err != nil {
			return err
		}
		to, err := k.link(l)
		if err != nil {
			return err
		}
		return k.send(to, l.cookies).leadsTo(k, "/secure/Logout!default.jspa")
	}},
	{id: "logout-confluence", says: "`/logout.action` ends the session without asking, also if another site sent the browser there.", of: atlassian.Confluence,
		run: func(k *kit) error {
			l, err := k.signIn()
			if err != nil {
				return err
			}
			k.get(k.page(logoutPage), l.cookies, header("Referer", "https://example.com/"))
			return k.notSignedIn(k.get(k.who(), l.cookies))
		}},
	{id: "logout-confluence-leads", says: "It leads to `/login.action?logout=true`.", of: atlassian.Confluence, run: func(k *kit) error {
		l, err := k.signIn()
		if err != nil {
			return err
		}
		return k.get(k.page(logoutPage), l.cookies).leadsTo(k, "/login.action?logout=true")
	}},
}

// byHand has a person do a step.
func (k *kit) byHand(s Step) error {
	if k.Hand == nil {
		return notTriedError("it needs --by-hand")
	}
	if !k.Hand(s) {
		return notTriedError("nobody did the step")
	}
	return nil
}

// handChecks are those for which a person changes the user.
var handChecks = []check{
	{id: "renamed", says: "A renamed user keeps their key, their PATs and their session.", run: func(k *kit) error {
		l, noSession := k.session()
		if err := k.byHand(Rename); err != nil {
			return err
		}
		a := k.get(k.who(), bearer(k.pat))
		var me struct{ Key, UserKey string }
		found := []error{a.is(http.StatusOK), a.json(&me), must(me.Key+me.UserKey == k.key, "the key is another"),
			must(k.product.Named(a.body) == k.User+"-renamed", "the PAT does not sign them in by the new name")}
		if noSession == nil {
			found = append(found, k.get(k.who(), l.cookies).is(http.StatusOK))
		}
		if err := k.byHand(RenameBack); err != nil {
			k.undo = append(k.undo, undo{"the name of the user", func() error { return err }})
		}
		return all(found...)
	}},
	{id: "deactivated", says: "A PAT of a deactivated user is answered with 401 at once.", run: func(k *kit) error {
		return k.whileDeactivated(func() error { return k.get(k.who(), bearer(k.pat)).is(http.StatusUnauthorized) })
	}},
	{id: "deactivated-session", says: "A session of a deactivated user is answered with 401 at once.", run: func(k *kit) error {
		l, err := k.session()
		if err != nil {
			return err
		}
		return k.whileDeactivated(func() error { return k.get(k.who(), l.cookies).is(http.StatusUnauthorized) })
	}},
}

// whileDeactivated runs a part of a check while the user is deactivated.
func (k *kit) whileDeactivated(run func() error) error {
	if err := k.byHand(Deactivate); err != nil {
		return err
	}
	found := run()
	if err := k.byHand(Activate); err != nil {
		k.undo = append(k.undo, undo{"the user is deactivated", func() error { return err }})
	}
	return found
}
