package fakeproduct

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
)

const (
	contentPath         = "/rest/api/content"
	confluenceDashboard = "/dashboard.action"
	// firstContent is the id of the first page. It is as long as in Confluence.
	firstContent = 393219
)

// Confluence is a fake Confluence. It is an http.Handler and safe for concurrent
// use.
type Confluence struct {
	Product

	mu    sync.Mutex
	pages []page
}

type page struct {
	id, title, space, body, creator string // creator is a key
	deleted                         bool
}

// NewConfluence makes a fake Confluence with no pages, no sessions and no requests seen.
func NewConfluence(o Options) *Confluence {
	c := &Confluence{}
	o.Version = cmp.Or(o.Version, "10.2.0")
	c.set(o)
	read := []string{http.MethodGet, http.MethodHead}
	c.endpoints = map[string]endpoint{
		// Both answer anonymous requests too:
		// https://docs.atlassian.com/atlassian-confluence/6.2.1/com/atlassian/confluence/plugins/restapi/resources/UserResource.html
		"/rest/api/user/current":   {methods: read, answer: c.current},
		"/rest/api/user/anonymous": {methods: read, answer: c.anonymous},
		contentPath:                {methods: append(read, http.MethodPost), answer: c.content},
		contentPath + "/*":         {methods: append(read, http.MethodDelete), answer: c.one},
		"/rest/double/1.0/echo":    {answer: echo},
		"/login.action":            {methods: read, answer: c.login},
		"/dologin.action":          {methods: []string{http.MethodPost}, answer: c.login},
		"/logout.action":           {methods: read, answer: c.logout},
		confluenceDashboard:        {methods: read, answer: c.dashboard},
		confluenceProfile:          {methods: read, answer: c.userProfile},
	}
	c.web = web{
		dashboard: confluenceDashboard, login: "/login.action", form: "/dologin.action", logout: "/logout.action", userProfile: confluenceProfile,
		UserID: "os_username", PasswordID: "os_password", SubmitID: "loginButton", LogOutID: "logout-link",
	}
	maps.Copy(c.endpoints, c.patEndpoints())
	c.unauthorized, c.deadLink = restUnauthorized, "Page Not Found"
	return c
}

// restUnauthorized is the REST framework's own answer.
func restUnauthorized(w http.ResponseWriter, r *http.Request) {
	challenge(w, r)
	writeStatus(w, http.StatusUnauthorized, "Client must be authenticated to access this resource.")
}

// writeContentError answers in the format of Confluence's own resources, as
// recorded in https://github.com/chaoss/grimoirelab-perceval/issues/180
func writeContentError(w http.ResponseWriter, status int, authorized bool, message string) {
	writeJSON(w, status, map[string]any{
		"statusCode": status,
		"data":       map[string]any{"authorized": authorized, "valid": true, "errors": []string{}, "successful": false},
		"message":    message,
		"reason":     http.StatusText(status),
	})
}

// current is the who-am-I call. The fields of a user are those of
// https://github.com/docToolchain/docToolchain/issues/1458
func (c *Confluence) current(w http.ResponseWriter, r *http.Request, in call) {
	if in.anonymous() {
		c.anonymous(w, r, in)
		return
	}
	user := in.by
	writeJSON(w, http.StatusOK, map[string]any{
		"type":           "known",
		"username":       user.Name,
		"userKey":        user.Key,
		"profilePicture": picture("default"),
		"displayName":    user.DisplayName,
		"_links":         c.links(r, "/rest/api/user?key="+url.QueryEscape(user.Key)),
		"_expandable":    map[string]string{"status": ""},
	})
}

func (c *Confluence) anonymous(w http.ResponseWriter, r *http.Request, _ call) {
	writeJSON(w, http.StatusOK, map[string]any{
		"type":           "anonymous",
		"profilePicture": picture("anonymous"),
		"displayName":    "Anonymous",
		"_links":         c.links(r, "/rest/api/user/anonymous"),
	})
}

func picture(name string) map[string]any {
	return map[string]any{"path": "/images/icons/profilepics/" + name + ".svg", "width": 48, "height": 48, "isDefault": true}
}

func (c *Confluence) links(r *http.Request, self string) map[string]string {
	return map[string]string{"base": origin(r) + c.context, "context": c.context, "self": origin(r) + c.context + self}
}

// content lists pages, or creates one. Anonymous callers find no page, as in
// spaces that they may not see.
// https://developer.atlassian.com/server/confluence/confluence-rest-api-examples/
func (c *Confluence) content(w http.ResponseWriter, r *http.Request, in call) {
	if r.Method == http.MethodPost {
		c.create(w, r, in)
		return
	}
	results := []any{}
	if !in.anonymous() {
		c.mu.Lock()
		for _, p := range c.pages {
			if p.deleted {
				continue
			}
			results = append(results, c.shown(r, p))
		}
		c.mu.Unlock()
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"results": results, "start": 0, "limit": 25, "size": len(results), "_links": c.links(r, contentPath),
	})
}

func (c *Confluence) create(w http.ResponseWriter, r *http.Request, in call) {
	if in.anonymous() {
		// https://github.com/atlassian-api/atlassian-python-api/issues/1010
		writeContentError(w, http.StatusForbidden, false, "Could not create content with type page")
		return
	}
	var sent struct {
		Type, Title string
		Space       struct{ Key string }
		Body        struct{ Storage struct{ Value string } }
	}
	if err := json.NewDecoder(r.Body).Decode(&sent); err != nil || sent.Type != "page" || sent.Title == "" || sent.Space.Key == "" {
		writeContentError(w, http.StatusBadRequest, true, "A page needs type, title and space.key.")
		return
	}
	c.mu.Lock()
	made := page{id: strconv.Itoa(firstContent + len(c.pages)), title: sent.Title, space: sent.Space.Key, body: sent.Body.Storage.Value, creator: in.by.Key}
	c.pages = append(c.pages, made)
	c.mu.Unlock()
	writeJSON(w, http.StatusOK, c.shown(r, made))
}

// one returns a page by its id, or deletes it. A page that the caller may not see is 404.
func (c *Confluence) one(w http.ResponseWriter, r *http.Request, in call) {
	id := in.last()
	c.mu.Lock()
	i := slices.IndexFunc(c.pages, func(p page) bool { return p.id == id && !p.deleted })
	var found page
	if i >= 0 {
		found = c.pages[i]
		c.pages[i].deleted = r.Method == http.MethodDelete && !in.anonymous()
	}
	c.mu.Unlock()
	switch {
	case i < 0 || in.anonymous():
		writeContentError(w, http.StatusNotFound, false, "No content found with id: ContentId{id="+id+"}")
	case r.Method == http.MethodDelete:
		w.WriteHeader(http.StatusNoContent)
	default:
		writeJSON(w, http.StatusOK, c.shown(r, found))
	}
}

func (c *Confluence) shown(r *http.Request, p page) map[string]any {
	links := c.links(r, contentPath+"/"+p.id)
	links["webui"] = "/display/" + url.PathEscape(p.space) + "/" + url.QueryEscape(p.title)
	return map[string]any{
		"id": p.id, "type": "page", "status": "current", "title": p.title, "_links": links,
		"space":   map[string]string{"key": p.space},
		"body":    map[string]any{"storage": map[string]string{"value": p.body, "representation": "storage"}},
		"history": map[string]any{"latest": true, "createdBy": map[string]string{"type": "known", "username": c.accounts.known(p.creator).Name}},
	}
}
