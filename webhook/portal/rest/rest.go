// Package rest is the REST API at `/rest/api-tokens`: that of the plugin "API Tokens for Jira and Confluence", and more.
package rest

import (
	_ "embed"
	"fmt"
	"net/http"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"apitokens.dev/operator/webhook/portal/selfservice"
)

// document is the description of the API, in OpenAPI 3.1.
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
	// target is that of the client, below the context path; version the one of this API in it, and id what stands for {id}.
	target, version, id string
}

// operation answers a call, or says why not.
type operation func(*call) error

// route is one operation, at a path behind the version.
type route struct {
	method, path string
	// open says that it is for everybody: nobody is asked who he is.
	open bool
	run  operation
}

// routes are all there is. A path that is literal is not one with {id}, so it comes before.
var routes = []route{
	{http.MethodGet, "/", false, list},
	{http.MethodPost, "/", false, create},
	{http.MethodGet, "/openapi.json", true, describe},
	{http.MethodPost, "/revoke", true, revokePresented},
	{http.MethodDelete, "/all", false, revokeAll},
	{http.MethodGet, "/admin", false, search},
	{http.MethodDelete, "/admin/tokens", false, revokeAllOf},
	{http.MethodDelete, "/admin/{id}", false, revokeOf},
	{http.MethodGet, "/{id}", false, get},
	{http.MethodDelete, "/{id}", false, revoke},
	{http.MethodPost, "/{id}/rotate", false, rotate},
}

// NewHandler returns the handler of all sites' APIs. It expects what selfservice.Mount names, and a path that begins with selfservice.APIPath.
func NewHandler(p *selfservice.Service) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		selfservice.Protect(w.Header(), selfservice.NothingLoads)
		c := &call{Service: p, w: w, r: r}
		if err := c.serve(); err != nil {
			c.refuse(err)
		}
	})
}

func (c *call) serve() (err error) {
	var name types.NamespacedName
	name, c.target = selfservice.Mounted(c.r)
	if c.site, err = c.Site(c.r.Context(), name); err != nil {
		return err
	}
	path, _, _ := strings.Cut(c.target, "?")
	route, err := c.route(strings.TrimPrefix(path, selfservice.APIPath))
	if err != nil {
		return err
	}
	if route.open {
		return route.run(c)
	}
	if err := c.site.SameOrigin(c.r); err != nil {
		return err
	}
	if c.caller, err = c.Identify(c.r, c.site, c.target); err != nil {
		return err
	}
	return route.run(c)
}

// route finds the operation for a path that begins with the version.
func (c *call) route(path string) (route, error) {
	version, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if version != "latest" && version != "1.0" {
		return route{}, &selfservice.Problem{Kind: selfservice.NotFound, Message: "There is no such version of this API: use latest."}
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
		return route{}, &selfservice.Problem{Kind: selfservice.NotFound, Message: "There is no such resource: see " + selfservice.APIPath + "/latest/openapi.json."}
	}
	return route{}, &refusal{
		status: http.StatusMethodNotAllowed, allow: allowed,
		message: fmt.Sprintf("This resource has no such method: use %s.", strings.Join(allowed, " or ")),
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
