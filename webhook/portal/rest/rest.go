// Package rest serves the REST API at `/rest/api-tokens`. It is the API of the plugin "API Tokens for Jira and Confluence" with
// additions.
package rest

import (
	_ "embed"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"apitokens.dev/operator/webhook/portal/selfservice"
)

// document describes the API in OpenAPI 3.1.
//
//go:embed openapi.json
var document []byte

// call is one request.
type call struct {
	*selfservice.Service

	w      http.ResponseWriter
	r      *http.Request
	site   *selfservice.Site
	caller *selfservice.Caller
	// target is the request target below the context path, as the client wrote it. version and id are parts of it.
	target, version, id string
	query               url.Values
}

// operation writes the answer of a call, or returns an error.
type operation func(*call) error

// route is an operation and its path behind the version.
type route struct {
	method, path string
	// anonymous says that the operation needs no authentication.
	anonymous bool
	run       operation
	// parameters are the parameters of the query.
	parameters []string
}

// routes lists all operations. Literal paths come before those with {id}, which would match them.
var routes = []route{
	{method: http.MethodGet, path: "/", run: list},
	{method: http.MethodPost, path: "/", run: create},
	{method: http.MethodGet, path: "/openapi.json", anonymous: true, run: describe},
	{method: http.MethodPost, path: "/revoke", anonymous: true, run: revokePresented},
	{method: http.MethodPost, path: "/verify", anonymous: true, run: verifyPresented},
	{method: http.MethodDelete, path: "/all", run: revokeAll},
	{method: http.MethodGet, path: "/admin", run: search, parameters: []string{"user", "q", "startAt", "maxResults"}},
	{method: http.MethodDelete, path: "/admin/tokens", run: revokeAllOf, parameters: []string{"user"}},
	{method: http.MethodDelete, path: "/admin/{id}", run: revokeOf},
	{method: http.MethodGet, path: "/{id}", run: get},
	{method: http.MethodDelete, path: "/{id}", run: revoke, parameters: []string{"descendants"}},
	{method: http.MethodPost, path: "/{id}/rotate", run: rotate},
}

// NewHandler returns the handler of the APIs of all sites. It expects the path values of selfservice.Mount, and a path that begins
// with selfservice.APIPath.
func NewHandler(s *selfservice.Service) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		selfservice.Protect(w.Header(), selfservice.NothingLoads)
		c := &call{Service: s, w: w, r: r}
		if err := c.serve(); err != nil {
			c.refuse(err)
		}
	})
}

func (c *call) serve() (err error) {
	var name types.NamespacedName
	name, c.target = selfservice.Mounted(c.r)
	if c.site, err = c.Site(name); err != nil {
		return err
	}
	path, _, _ := strings.Cut(c.target, "?")
	route, err := c.route(strings.TrimPrefix(path, selfservice.APIPath))
	if err != nil {
		return err
	}
	if !route.anonymous {
		if err := c.authenticate(); err != nil {
			return err
		}
	}
	if c.query, err = c.parameters(route.parameters); err != nil {
		return err
	}
	return route.run(c)
}

func (c *call) authenticate() (err error) {
	if err := c.site.SameOrigin(c.r); err != nil {
		return err
	}
	if c.caller, err = c.Identify(c.r, c.site, c.target); err != nil {
		return err
	}
	return c.mustBeExpected()
}

// expectedUserHeader names the user whom a page shows that sends a request. Its value is percent-encoded, because names may have any
// character.
const expectedUserHeader = "X-Api-Token-Expected-User"

// mustBeExpected refuses a request that names another user than the caller. Reads too: the answer would be shown as the other user's.
func (c *call) mustBeExpected() error {
	for _, named := range c.r.Header.Values(expectedUserHeader) {
		user, err := url.PathUnescape(named)
		if err != nil {
			return invalid("", "The header %s is not percent-encoded.", expectedUserHeader)
		}
		if err := c.caller.MustBe(user); err != nil {
			return err
		}
	}
	return nil
}

// route returns the route for a path that begins with the version.
func (c *call) route(path string) (route, error) {
	version, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if version != "latest" && version != "1.0" {
		return route{}, &selfservice.Problem{Kind: selfservice.NotFound, Message: "There is no such version of this API. Use latest."}
	}
	c.version = version
	parts := strings.Split(strings.TrimSuffix(rest, "/"), "/")
	var resource string
	var allowed []string
	for _, candidate := range routes {
		id, ok := match(strings.Split(candidate.path[1:], "/"), parts)
		if !ok || resource != "" && candidate.path != resource {
			continue
		}
		if candidate.method == c.r.Method || candidate.method == http.MethodGet && c.r.Method == http.MethodHead {
			c.id = id
			return candidate, nil
		}
		resource, allowed = candidate.path, append(allowed, candidate.method)
		if candidate.method == http.MethodGet {
			allowed = append(allowed, http.MethodHead)
		}
	}
	if resource == "" {
		return route{}, &selfservice.Problem{Kind: selfservice.NotFound, Message: "There is no such resource. See " + selfservice.APIPath + "/latest/openapi.json."}
	}
	return route{}, &refusal{
		status: http.StatusMethodNotAllowed, allow: allowed,
		message: fmt.Sprintf("This resource does not support this method. Use %s.", strings.Join(allowed, " or ")),
	}
}

func match(pattern, parts []string) (id string, ok bool) {
	if len(pattern) != len(parts) {
		return "", false
	}
	for i, p := range pattern {
		switch {
		case p == "{id}" && parts[i] != "":
			id = parts[i]
		case p != parts[i]:
			return "", false
		}
	}
	return id, true
}
