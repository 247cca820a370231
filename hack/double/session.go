package double

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"sync"
)

const sessionCookie = "JSESSIONID"

// sessions are the signed-in sessions; the zero value is ready for use.
type sessions struct {
	mu    sync.Mutex
	users map[string]string // session id to user name
}

func (s *sessions) open(user string) (id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users == nil {
		s.users = map[string]string{}
	}
	id = rand.Text()
	s.users[id] = user
	return id
}

// user returns the user of the first session cookie that is valid, as Tomcat
// picks among several, or "".
func (s *sessions) user(r *http.Request) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, cookie := range r.CookiesNamed(sessionCookie) {
		if user, ok := s.users[cookie.Value]; ok {
			return user
		}
	}
	return ""
}

func (s *sessions) close(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.users, id)
}

// announce writes the headers that tell the client who it is and returns what
// to do when the request is over. Every login opens a session and hands out
// its cookie, even a login by token, whose session then dies with the request.
func (p *Product) announce(w http.ResponseWriter, found finding) (end func()) {
	name := found.user
	if name == "" {
		name = "anonymous"
	}
	w.Header().Set("X-AUSERNAME", name)
	if found.reason != "" {
		w.Header().Set("X-Seraph-LoginReason", found.reason)
	}
	if !found.login {
		return func() {}
	}
	id := p.startSession(w, found.user)
	if !found.oneShot {
		return func() {}
	}
	return func() { p.sessions.close(id) }
}

func (p *Product) startSession(w http.ResponseWriter, user string) (id string) {
	id = p.sessions.open(user)
	path := p.context
	if path == "" {
		path = "/"
	}
	http.SetCookie(w, &http.Cookie{Name: sessionCookie, Value: id, Path: path, HttpOnly: true})
	return id
}

// session is /rest/auth/1/session: who is signed in, sign in, sign out.
// https://developer.atlassian.com/server/jira/platform/cookie-based-authentication/
func (j *Jira) session(w http.ResponseWriter, r *http.Request, seen Seen) {
	switch {
	case r.Method == http.MethodPost:
		j.signIn(w, r)
	case seen.User == "":
		unauthorized(w, r)
	case r.Method == http.MethodDelete:
		for _, cookie := range r.CookiesNamed(sessionCookie) {
			j.sessions.close(cookie.Value)
		}
		w.WriteHeader(http.StatusNoContent)
	default:
		writeJSON(w, http.StatusOK, map[string]any{
			"self":      j.userURL(r, seen.User),
			"name":      seen.User,
			"loginInfo": j.loginInfo(),
		})
	}
}

// signIn is refused while Basic authentication is off:
// https://mrrefactoring.github.io/jira.js/guide/data-center
func (j *Jira) signIn(w http.ResponseWriter, r *http.Request) {
	if !j.basicAuth.Load() {
		basicDisabled(w, r)
		return
	}
	var login struct{ Username, Password string }
	if err := json.NewDecoder(r.Body).Decode(&login); err != nil {
		writeErrors(w, http.StatusBadRequest, "The request body is not a JSON object with username and password.")
		return
	}
	if !j.passwordIs(login.Username, login.Password) {
		w.Header().Set("X-Seraph-LoginReason", loginFailed)
		writeErrors(w, http.StatusUnauthorized, "Login failed")
		return
	}
	w.Header().Set("X-Seraph-LoginReason", loginOK)
	id := j.startSession(w, login.Username)
	writeJSON(w, http.StatusOK, map[string]any{
		"session":   map[string]string{"name": sessionCookie, "value": id},
		"loginInfo": j.loginInfo(),
	})
}

func (j *Jira) loginInfo() map[string]any {
	return map[string]any{"loginCount": 1, "previousLoginTime": j.now().Format(jiraTime)}
}

// login is the login form. Its os_username and os_password were judged like
// those on any other page; what is left is where to go next.
func (j *Jira) login(w http.ResponseWriter, r *http.Request, seen Seen) {
	if seen.User == "" {
		writePage(w, http.StatusOK, "Log in", "Please post os_username and os_password.")
		return
	}
	http.Redirect(w, r, j.context+dashboardPath, http.StatusFound)
}
