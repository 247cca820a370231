// Package page serves the page on which people manage their own tokens, at selfservice.PagePath. It works without JavaScript: the
// query says which dialog is open, and forms are posted. A new secret is shown only in the answer to the form that created it.
package page

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"strings"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/webhook/portal/selfservice"
)

// contentSecurityPolicy allows only the page's own script, style sheet and forms.
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; form-action 'self'; " +
	"frame-ancestors 'none'; base-uri 'none'"

// call is one request.
type call struct {
	*selfservice.Service

	w      http.ResponseWriter
	r      *http.Request
	site   *selfservice.Site
	caller *selfservice.Caller
}

// actions maps the paths of forms to their handlers.
var actions = map[string]func(*call) error{
	"/create": create, "/rotate": rotate, "/revoke": revoke, "/revoke-all": revokeAll, "/paste": paste,
}

// NewHandler returns the handler of the pages of all sites. It expects the path values of selfservice.Mount, and a path that
// begins with selfservice.PagePath.
func NewHandler(s *selfservice.Service) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		selfservice.Protect(w.Header(), contentSecurityPolicy)
		c := &call{Service: s, w: w, r: r}
		if err := c.serve(); err != nil {
			c.refuse(err)
		}
	})
}

func (c *call) serve() (err error) {
	name, target := selfservice.Mounted(c.r)
	address, _, _ := strings.Cut(target, "?")
	path := strings.TrimPrefix(address, selfservice.PagePath)
	if file, ok := strings.CutPrefix(path, staticPath); ok {
		return c.serveFile(file)
	}
	if c.site, err = c.Site(name); err != nil {
		return err
	}
	run, err := c.operation(path)
	if err != nil {
		return err
	}
	if err := c.sameOrigin(); err != nil {
		return err
	}
	// The query is left out: an id in it is not a token in the wrong place.
	c.caller, err = c.Identify(c.r, c.site, address)
	switch {
	case errors.Is(err, selfservice.ErrAPIToken):
		return &selfservice.Problem{Kind: selfservice.Forbidden, Message: "This page is for people who are signed in. It does not accept API tokens. " +
			"Programs use the REST API at " + c.site.Spec.BaseURL + selfservice.APIPath + "/latest/."}
	case err != nil && c.reads() && selfservice.AsProblem(err).Kind == selfservice.Unauthenticated:
		c.redirect(http.StatusFound, c.signIn())
		return nil
	case err != nil:
		return err
	}
	return run(c)
}

// operation returns the handler of a path below that of the page.
func (c *call) operation(path string) (func(*call) error, error) {
	if path == "" || path == "/" {
		if !c.reads() {
			return nil, notAllowed(http.MethodGet, http.MethodHead)
		}
		return show, nil
	}
	run := actions[path]
	switch {
	case run == nil:
		return nil, &selfservice.Problem{Kind: selfservice.NotFound, Message: "There is no such page."}
	case c.r.Method != http.MethodPost:
		return nil, notAllowed(http.MethodPost)
	}
	return run, nil
}

func (c *call) reads() bool { return c.r.Method == http.MethodGet || c.r.Method == http.MethodHead }

// sameOrigin is stricter than that of the REST API: forms come from browsers, and all of them send an origin.
func (c *call) sameOrigin() error {
	h := c.r.Header
	if !c.reads() && cmp.Or(h.Get("Origin"), h.Get("Sec-Fetch-Site")) == "" {
		return &selfservice.Problem{Kind: selfservice.Forbidden, Message: "Your browser does not send the origin of this form. Use another browser, or the REST API."}
	}
	return c.site.SameOrigin(c.r)
}

// home returns the path of the page.
func (c *call) home() string { return c.site.Base.Path + selfservice.PagePath }

// logins are the paths of the products' login pages.
var logins = map[tokensv1alpha1.Product]string{tokensv1alpha1.ProductJira: "/login.jsp", tokensv1alpha1.ProductConfluence: "/login.action"}

// signIn returns the path of the product's login page, which leads back to this page. os_destination is relative to the context
// path.
func (c *call) signIn() string {
	back := selfservice.PagePath
	if query := c.r.URL.Query(); c.reads() && query.Has("dialog") {
		kept := url.Values{"dialog": {query.Get("dialog")}}
		if query.Has("id") {
			kept.Set("id", query.Get("id"))
		}
		back += "?" + kept.Encode()
	}
	return c.site.Base.Path + logins[c.site.Spec.Product] + "?" + url.Values{"os_destination": {back}}.Encode()
}

// redirect redirects to another path of the same origin.
func (c *call) redirect(status int, to string) {
	c.w.Header().Set("Location", to)
	c.w.WriteHeader(status)
}
