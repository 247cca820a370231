package fakeproduct

import (
	"html/template"
	"net/http"
	"strings"
)

// web is the paths of a product's pages, inside the context path, and the ids of
// the fields and buttons on them:
// https://github.com/atlassian/dc-app-performance-toolkit (app/selenium_ui/*/pages/selectors.py)
type web struct {
	dashboard, login, form, logout, userProfile string
	UserID, PasswordID, SubmitID, LogOutID      string
}

// login serves the login form and receives it. os_username and os_password are
// judged before, as on any other page; login decides only where to go next.
func (p *Product) login(w http.ResponseWriter, r *http.Request, in call) {
	wanted := parameter(r, "os_destination")
	if !in.anonymous() {
		http.Redirect(w, r, p.destination(wanted), http.StatusFound)
		return
	}
	form := map[string]any{"Action": p.context + p.web.form, "Web": p.web, "Destination": wanted, "Version": p.version}
	switch {
	case in.reason == loginFailed:
		form["Message"] = "Sorry, your username and password are incorrect."
	case parameter(r, "logout") == "true":
		form["Goodbye"] = "You have been logged out."
	}
	writeTemplate(w, loginPage, form)
}

// destination returns where a login leads: to os_destination if that is a path
// inside the context path, else to the dashboard. It never leads to another
// host or out of the context path.
// https://docs.atlassian.com/atlassian-seraph/2.6.1-m1/apidocs/com/atlassian/seraph/config/RedirectPolicy.html
// The context path is not part of os_destination:
// https://docs.atlassian.com/atlassian-seraph/latest/configuration.html
func (p *Product) destination(wanted string) string {
	_, err := tomcatPath(wanted)
	elsewhere := !strings.HasPrefix(wanted, "/") || strings.HasPrefix(wanted, "//") ||
		strings.ContainsFunc(wanted, func(c rune) bool { return c <= ' ' || c == '\\' })
	if err != nil || elsewhere {
		return p.context + p.web.dashboard
	}
	return p.context + wanted
}

// dashboard shows who is signed in, with a link to log in or out.
func (p *Product) dashboard(w http.ResponseWriter, _ *http.Request, in call) {
	page := map[string]any{"Who": "anonymous", "Web": p.web, "LogIn": p.context + p.web.login}
	if !in.anonymous() {
		page["Who"] = in.by.DisplayName + " (" + in.by.Name + ")"
	}
	if in.session != "" {
		page["LogOut"] = p.context + p.web.logout + "?atl_token=" + p.sessions.xsrf(in.session)
	}
	writeTemplate(w, dashboardPage, page)
}

// logout is Confluence's. It ends the session without a question.
// https://wiki.geant.org/pages/diffpagesbyversion.action?pageId=15466607&selectedPageVersions=36&selectedPageVersions=37
func (c *Confluence) logout(w http.ResponseWriter, r *http.Request, in call) {
	c.sessions.close(in.session)
	http.Redirect(w, r, c.context+c.web.login+"?logout=true", http.StatusFound)
}

// logout is Jira's. Without the atl_token of the session, which the link on
// every page contains, it asks first: https://developer.atlassian.com/server/jira/platform/form-token-handling/
// The form of the question is assumed, except the id of its button.
func (j *Jira) logout(w http.ResponseWriter, r *http.Request, in call) {
	token := j.sessions.xsrf(in.session)
	if in.session != "" && parameter(r, "atl_token") != token {
		writeTemplate(w, logoutPage, map[string]any{"Action": j.context + j.web.logout, "Token": token})
		return
	}
	j.sessions.close(in.session)
	http.Redirect(w, r, j.context+loggedOutPath, http.StatusFound)
}

// loggedOut is the page that Jira shows after a logout.
func loggedOut(w http.ResponseWriter, _ *http.Request, _ call) {
	writePage(w, http.StatusOK, "Logout", "You are now logged out.")
}

func writeTemplate(w http.ResponseWriter, page *template.Template, data map[string]any) {
	w.Header().Set("Content-Type", "text/html;charset=UTF-8")
	_ = page.Execute(w, data) // fails only if the client has disconnected
}

var (
	loginPage = template.Must(template.New("login").Parse(`<!DOCTYPE html>
<html lang="en">
<meta name="ajs-version-number" content="{{.Version}}">
<title>Log in</title>
<h1>Log in</h1>
{{with .Message}}<p role="alert">{{.}}</p>
{{end}}{{with .Goodbye}}<p id="logout-message">{{.}}</p>
{{end}}<form method="post" action="{{.Action}}">
<p><label for="{{.Web.UserID}}">Username</label> <input id="{{.Web.UserID}}" name="os_username" type="text" autocomplete="username"></p>
<p><label for="{{.Web.PasswordID}}">Password</label> <input id="{{.Web.PasswordID}}" name="os_password" type="password" autocomplete="current-password"></p>
<input name="os_destination" type="hidden" value="{{.Destination}}">
<p><input id="{{.Web.SubmitID}}" name="login" type="submit" value="Log In"></p>
</form>
`))
	dashboardPage = template.Must(template.New("dashboard").Parse(`<!DOCTYPE html>
<html lang="en">
<title>Dashboard</title>
<h1>Dashboard</h1>
<p>You are {{.Who}}.</p>
{{if .LogOut}}<p><a id="{{.Web.LogOutID}}" href="{{.LogOut}}">Log Out</a></p>
{{else}}<p><a class="login-link" href="{{.LogIn}}">Log In</a></p>
{{end}}`))
	logoutPage = template.Must(template.New("logout").Parse(`<!DOCTYPE html>
<html lang="en">
<title>Logout</title>
<h1>Logout</h1>
<form id="confirm-logout" method="post" action="{{.Action}}">
<input name="atl_token" type="hidden" value="{{.Token}}">
<p><input id="confirm-logout-submit" type="submit" value="Log Out"></p>
</form>
`))
)
