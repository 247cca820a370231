package fakeproduct

import (
	"crypto/rand"
	"encoding/json"
	"maps"
	"net/http"
	"sync"
)

const sessionCookie = "JSESSIONID"

// sessions are the open sessions. The zero value is ready for use.
type sessions struct {
	mu   sync.Mutex
	open map[string]session // by id
}

type session struct {
	key  string // the user's
	xsrf string // atl_token of its pages
}

func (s *sessions) start(key string) (id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = map[string]session{}
	}
	id = rand.Text()
	s.open[id] = session{key: key, xsrf: rand.Text()}
	return id
}

// find returns the first session cookie that is valid, as Tomcat picks among
// several, and its user's key. Both are "" when there is none.
func (s *sessions) find(r *http.Request) (id, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, cookie := range r.CookiesNamed(sessionCookie) {
		if found, ok := s.open[cookie.Value]; ok {
			return cookie.Value, found.key
		}
	}
	return "", ""
}

func (s *sessions) xsrf(id string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open[id].xsrf
}

func (s *sessions) close(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, id)
}

// closeAll ends the sessions of one user.
func (s *sessions) closeAll(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.open, func(_ string, one session) bool { return one.key == key })
}

// SignIn opens a session for a user, as a login in a browser does, and returns
// its cookie. It returns nil if the user does not exist or may not sign in.
func (p *Product) SignIn(name string) *http.Cookie {
	user, _ := p.accounts.named(name)
	if _, ok := p.accounts.active(user.Key); !ok {
		return nil
	}
	return p.cookie(p.sessions.start(user.Key))
}

// announce writes the headers that name the user, and returns a function to call
// at the end of the request. Every login opens a session and sets its cookie. The
// session of a login by token ends with the request.
func (p *Product) announce(w http.ResponseWriter, found finding) (end func()) {
	name := found.by.Name
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
	id := p.startSession(w, found.by.Key)
	if !found.oneShot {
		return func() {}
	}
	return func() { p.sessions.close(id) }
}

func (p *Product) startSession(w http.ResponseWriter, key string) (id string) {
	id = p.sessions.start(key)
	http.SetCookie(w, p.cookie(id))
	return id
}

func (p *Product) cookie(id string) *http.Cookie {
	path := p.context
	if path == "" {
		path = "/"
	}
	return &http.Cookie{Name: sessionCookie, Value: id, Path: path, HttpOnly: true}
}

// session is /rest/auth/1/session: who is signed in, sign in, sign out.
// https://developer.atlassian.com/server/jira/platform/cookie-based-authentication/
func (j *Jira) session(w http.ResponseWriter, r *http.Request, in call) {
	switch {
	case r.Method == http.MethodPost:
		j.signIn(w, r)
	case in.anonymous():
		unauthorized(w, r)
	case r.Method == http.MethodDelete:
		for _, cookie := range r.CookiesNamed(sessionCookie) {
			j.sessions.close(cookie.Value)
		}
		w.WriteHeader(http.StatusNoContent)
	default:
		writeJSON(w, http.StatusOK, map[string]any{
			"self":      j.userURL(r, in.by.Name),
			"name":      in.by.Name,
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
	user, ok := j.byPassword(login.Username, login.Password)
	if !ok {
		w.Header().Set("X-Seraph-LoginReason", loginFailed)
		writeErrors(w, http.StatusUnauthorized, "Login failed")
		return
	}
	w.Header().Set("X-Seraph-LoginReason", loginOK)
	id := j.startSession(w, user.Key)
	writeJSON(w, http.StatusOK, map[string]any{
		"session":   map[string]string{"name": sessionCookie, "value": id},
		"loginInfo": j.loginInfo(),
	})
}

func (j *Jira) loginInfo() map[string]any {
	return map[string]any{"loginCount": 1, "previousLoginTime": j.now().Format(jiraTime)}
}
