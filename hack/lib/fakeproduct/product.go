package fakeproduct

import (
	"cmp"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// maxBody bounds a request body. The largest ones are attachments, which echo
// reads.
const maxBody = 16 << 20

// User is an account of a fake product.
type User struct {
	Name        string
	Key         string   // Name when empty
	DisplayName string   // Name when empty
	Password    string   // no password login when empty
	PATs        []string // never expire
	Admin       bool     // may search the tokens of all users
}

// Options configure a fake product.
type Options struct {
	// ContextPath is the context path of the product: "/jira", or "" for the
	// root.
	ContextPath string
	Users       []User
	// Version is what the product says is its version: 11.3.0 of Jira and 10.2.0
	// of Confluence when empty. It changes nothing else.
	Version string
	// BasicAuth allows Basic authentication. Jira 11 ships with it off:
	// https://mrrefactoring.github.io/jira.js/guide/data-center
	BasicAuth bool
	// Now is the clock, time.Now when nil.
	Now func() time.Time
	// MaxPATs is the number of personal access tokens that a user may have, 10
	// when 0.
	MaxPATs int
	// MaxPATDays is the longest lifetime of a token in days, 365 when 0.
	MaxPATDays int
	// NoEternalPATs refuses tokens that would never expire, as
	// atlassian.pats.eternal.tokens.enabled does when it is false.
	NoEternalPATs bool
}

// Product is the common part of the fake products: Tomcat's rules judge the path,
// Seraph's the credentials, and every request is remembered.
type Product struct {
	context     string
	version     string
	accounts    accounts
	pats        pats
	patRules    patRules
	now         func() time.Time
	basicAuth   atomic.Bool
	delay       atomic.Int64 // a time.Duration
	unavailable atomic.Bool
	banner      atomic.Value // a template.HTML
	sessions    sessions

	// unauthorized answers an anonymous request for a resource that needs a
	// user. deadLink is the title of the page for a path that does not exist.
	unauthorized http.HandlerFunc
	deadLink     string
	web          web
	endpoints    map[string]endpoint
	latest       map[string]string // path prefixes with "latest", to those with the version

	mu   sync.Mutex
	seen []Seen
}

func (p *Product) set(o Options) {
	p.context, p.version = strings.TrimSuffix(o.ContextPath, "/"), o.Version
	p.latest, p.now = map[string]string{"/rest/pat/latest/": "/rest/pat/1.0/"}, o.Now
	if p.now == nil {
		p.now = time.Now
	}
	p.patRules = patRules{max: cmp.Or(o.MaxPATs, defaultMaxPATs), maxDays: cmp.Or(o.MaxPATDays, defaultMaxPATDays), noEternal: o.NoEternalPATs}
	for _, user := range o.Users {
		key := p.accounts.add(user)
		for i, token := range user.PATs {
			fixed := PAT{Name: "fixed-" + strconv.Itoa(i+1), CreatedAt: p.now()}
			p.pats.add(ownedPAT{PAT: fixed, owner: key, token: token}, math.MaxInt)
		}
	}
	p.SetBasicAuth(o.BasicAuth)
	p.SetBanner("")
}

// SetBasicAuth switches Basic authentication on or off, as an administrator
// does under Authentication methods:
// https://confluence.atlassian.com/enterprise/disabling-basic-authentication-1044776464.html
func (p *Product) SetBasicAuth(on bool) { p.basicAuth.Store(on) }

// ServeHTTP answers as the product does: Tomcat judges the path, Seraph the
// credentials, and only then an endpoint answers.
func (p *Product) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	seen := Seen{Method: r.Method, RequestURI: r.RequestURI, Header: r.Header}
	path, err := tomcatPath(r.RequestURI)
	seen.Path = path
	p.wait(r)
	if p.unavailable.Load() {
		p.record(seen)
		writePage(w, http.StatusServiceUnavailable, "Service Unavailable", "")
		return
	}
	if err != nil {
		p.record(seen)
		writePage(w, http.StatusBadRequest, "Bad Request", "")
		return
	}
	inside, ok := p.inContext(path)
	if !ok {
		p.record(seen)
		writePage(w, http.StatusNotFound, "Not Found", "")
		return
	}

	if forwarded, ok := p.rewritten(r.RequestURI); ok {
		inside, seen.Forwarded = forwarded, forwarded
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	found := p.authenticate(r, inside)
	seen.User = found.by.Name
	p.record(seen)
	defer p.announce(w, found)()
	if found.refuse != nil {
		found.refuse(w, r)
		return
	}
	p.route(w, r, call{seen: seen, path: inside, by: found.by, session: found.session, reason: found.reason})
}
