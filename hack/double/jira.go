// Package double is a stand-in for Jira Data Center: it judges paths and
// credentials as the documentation says Jira 11 does, and remembers every
// request, so that a demo or a test can show which credential the product saw.
package double

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// maxBody bounds a request body; the largest the double reads is a form.
const maxBody = 1 << 20

// User is an account of the double.
type User struct {
	Name        string
	Key         string // Name when empty
	DisplayName string // Name when empty
	Password    string // no password login when empty
	PATs        []string
}

// Options describe the double to make.
type Options struct {
	// ContextPath is where the product lives on its host: "/jira", or "" for
	// the root.
	ContextPath string
	Users       []User
	// BasicAuth allows Basic authentication. Jira 11 ships with it off:
	// https://mrrefactoring.github.io/jira.js/guide/data-center
	BasicAuth bool
	// Now is the clock, time.Now when nil.
	Now func() time.Time
}

// Jira is the stand-in. It is an http.Handler and safe for concurrent use.
type Jira struct {
	context   string
	users     map[string]User   // by name
	pats      map[string]string // token to user name
	endpoints map[string]endpoint
	now       func() time.Time
	basicAuth atomic.Bool
	sessions  sessions

	mu   sync.Mutex
	seen []Seen
}

// NewJira makes a double with no sessions and no requests seen.
func NewJira(o Options) *Jira {
	j := &Jira{
		context: strings.TrimSuffix(o.ContextPath, "/"),
		users:   map[string]User{},
		pats:    map[string]string{},
		now:     o.Now,
	}
	if j.now == nil {
		j.now = time.Now
	}
	for _, user := range o.Users {
		if user.Key == "" {
			user.Key = user.Name
		}
		if user.DisplayName == "" {
			user.DisplayName = user.Name
		}
		j.users[user.Name] = user
		for _, pat := range user.PATs {
			j.pats[pat] = user.Name
		}
	}
	j.endpoints = j.routes()
	j.SetBasicAuth(o.BasicAuth)
	return j
}

// SetBasicAuth switches Basic authentication on or off, as an administrator
// does under Authentication methods:
// https://confluence.atlassian.com/enterprise/disabling-basic-authentication-1044776464.html
func (j *Jira) SetBasicAuth(on bool) { j.basicAuth.Store(on) }

// ServeHTTP answers as the product does: Tomcat judges the path, Seraph the
// credentials, and only then an endpoint answers.
func (j *Jira) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	seen := Seen{Method: r.Method, RequestURI: r.RequestURI, Header: r.Header}
	path, err := tomcatPath(r.RequestURI)
	if err != nil {
		j.record(seen)
		writePage(w, http.StatusBadRequest, "Bad Request", "")
		return
	}
	seen.Path = path
	inside, ok := j.inContext(path)
	if !ok {
		j.record(seen)
		writePage(w, http.StatusNotFound, "Not Found", "")
		return
	}

	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	found := j.authenticate(r, inside)
	seen.User = found.user
	j.record(seen)
	defer j.announce(w, found)()
	if found.refuse != nil {
		found.refuse(w, r)
		return
	}
	j.serve(w, r, inside, seen)
}
