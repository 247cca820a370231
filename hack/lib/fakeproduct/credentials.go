package fakeproduct

import (
	"net/http"
	"strings"
)

// Values of X-Seraph-LoginReason:
// https://developer.atlassian.com/server/jira/platform/cookie-based-authentication/
const (
	loginOK     = "OK"
	loginFailed = "AUTHENTICATED_FAILED"
)

// finding is the result of judging the credentials of a request.
type finding struct {
	by      User             // the zero value when anonymous
	session string           // id of the session that proved it, when one did
	login   bool             // a credential, not a session, proved the user
	oneShot bool             // the session of that login ends with the request
	reason  string           // value of X-Seraph-LoginReason, "" for none
	refuse  http.HandlerFunc // answers instead of the endpoint, when set
}

// authenticate tries credentials in Seraph's order: request parameters, then
// the session, then the Authorization header. A success ends the search, and
// failed parameters only mean that the next method is tried.
// https://developer.atlassian.com/server/confluence/http-authentication-with-seraph/
func (p *Product) authenticate(r *http.Request, path string) finding {
	byParameters := p.byParameters(r)
	if byParameters.by.Name != "" {
		return byParameters
	}
	if user, id, ok := p.bySession(r); ok {
		return finding{by: user, session: id, reason: byParameters.reason}
	}
	if found, tried := p.byAuthorization(r); tried {
		return found
	}
	switch expected := expectsLogin(r, path); {
	case expected && asksForChallenge(r):
		return finding{reason: byParameters.reason, refuse: p.challenged}
	case expected:
		return finding{reason: byParameters.reason, refuse: p.unauthorized}
	}
	return byParameters
}

// byParameters checks os_username and os_password.
func (p *Product) byParameters(r *http.Request) finding {
	name := parameter(r, "os_username")
	if name == "" {
		return finding{}
	}
	user, ok := p.byPassword(name, parameter(r, "os_password"))
	if !ok {
		return finding{reason: loginFailed}
	}
	return finding{by: user, login: true, reason: loginOK}
}

// bySession finds the session of a cookie. The user must still be allowed to
// sign in.
func (p *Product) bySession(r *http.Request) (user User, id string, ok bool) {
	id, key := p.sessions.find(r)
	user, ok = p.accounts.active(key)
	return user, id, ok
}

// parameter reads a request parameter as a servlet does: the query before the
// body, and the body of a form that was posted only.
// https://jakarta.ee/specifications/servlet/6.0/jakarta-servlet-spec-6.0#http-protocol-parameters
func parameter(r *http.Request, name string) string {
	if query := r.URL.Query(); query.Has(name) {
		return query.Get(name)
	}
	if r.Method != http.MethodPost {
		return ""
	}
	_ = r.ParseForm() // a body that does not parse has no parameters
	return r.PostForm.Get(name)
}

// byAuthorization checks the Authorization header. It ignores a scheme that the
// product does not know.
func (p *Product) byAuthorization(r *http.Request) (found finding, tried bool) {
	scheme, credential, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	switch {
	case strings.EqualFold(scheme, "Bearer"):
		return p.byPAT(strings.TrimSpace(credential)), true
	case strings.EqualFold(scheme, "Basic"):
		return p.byBasic(r), true
	}
	return finding{}, false
}

// byPAT checks a personal access token. The session it opens does not outlive
// the request, the default of atlassian.pats.invalidate.session.enabled:
// https://support.atlassian.com/jira/kb/creating-cookie-based-authentication-for-rest-api-using-pat-tokens
//
// A wrong token is not a failed login, so no X-Seraph-LoginReason:
// https://github.com/BFoerschner/knobas (testenv/README.md)
//
// The answer is the REST framework's, in Jira too, as recorded with an expired
// token:
// https://github.com/carbonscott/slac-jira-search/blob/HEAD/docs/token-setup/getting-a-token.md
func (p *Product) byPAT(token string) finding {
	key, ok := p.pats.use(token, p.now())
	if !ok {
		return finding{refuse: restUnauthorized}
	}
	user, ok := p.accounts.active(key)
	if !ok {
		return finding{refuse: restUnauthorized}
	}
	return finding{by: user, login: true, oneShot: true, reason: loginOK}
}

// byBasic checks Basic authentication. When it is off, every request with Basic
// is refused, even where anonymous access is allowed; see basicDisabled.
func (p *Product) byBasic(r *http.Request) finding {
	if !p.basicAuth.Load() {
		return finding{refuse: basicDisabled}
	}
	name, password, ok := r.BasicAuth()
	if !ok {
		return finding{reason: loginFailed, refuse: basicFailed}
	}
	user, ok := p.byPassword(name, password)
	if !ok {
		return finding{reason: loginFailed, refuse: basicFailed}
	}
	return finding{by: user, login: true, reason: loginOK}
}

func (p *Product) byPassword(name, password string) (User, bool) {
	named, ok := p.accounts.named(name)
	if !ok || password == "" || named.Password != password {
		return User{}, false
	}
	return p.accounts.active(named.Key)
}

// challenged is the 401 of os_authType=basic, with the challenge that clients
// need which send no credential before they are asked. The realm is assumed.
// https://developer.atlassian.com/server/confluence/http-authentication-with-seraph/
func (p *Product) challenged(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("WWW-Authenticate", `Basic realm="protected-area"`)
	writePage(w, http.StatusUnauthorized, "Unauthorized (401)", "Basic Authentication Required")
}

// asksForChallenge reports whether a request has os_authType=basic.
func asksForChallenge(r *http.Request) bool {
	return strings.EqualFold(parameter(r, "os_authType"), "basic")
}

// expectsLogin reports whether a request with no working credential said that
// it brings one. By os_authType "basic" asks for a challenge, "cookie" promises
// a session that works, "any" is all of these, anything else promises nothing.
// Under /rest "any" is the default, so a stale cookie is told so there.
// https://docs.atlassian.com/atlassian-seraph/2.6.1-m1/apidocs/com/atlassian/seraph/auth/AuthType.html
func expectsLogin(r *http.Request, path string) bool {
	authType := parameter(r, "os_authType")
	if authType == "" && strings.HasPrefix(path, "/rest/") {
		authType = "any"
	}
	switch strings.ToLower(authType) {
	case "basic":
		return true
	case "cookie", "any":
		return len(r.CookiesNamed(sessionCookie)) > 0
	}
	return false
}
