package double

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

const (
	dashboardPath = "/secure/Dashboard.jspa"
	// jiraTime is how Jira writes a time in JSON.
	jiraTime = "2006-01-02T15:04:05.000-0700"
)

// endpoint is one page or resource of the double.
type endpoint struct {
	methods  []string // any when empty
	signedIn bool     // anonymous is refused
	answer   func(w http.ResponseWriter, r *http.Request, seen Seen)
}

// routes are the paths inside the context path. Resources and fields follow
// https://developer.atlassian.com/server/jira/platform/rest/ except echo, which
// is the double's own.
func (j *Jira) routes() map[string]endpoint {
	read := []string{http.MethodGet, http.MethodHead}
	session := []string{http.MethodGet, http.MethodPost, http.MethodDelete}
	return map[string]endpoint{
		"/rest/api/2/myself":        {methods: read, signedIn: true, answer: j.myself},
		"/rest/api/2/configuration": {methods: read, signedIn: true, answer: configuration},
		"/rest/api/2/serverInfo":    {methods: read, answer: j.serverInfo},
		"/rest/auth/1/session":      {methods: session, answer: j.session},
		"/rest/double/1.0/echo":     {answer: echo},
		"/login.jsp":                {answer: j.login},
		dashboardPath:               {answer: j.dashboard},
	}
}

func (j *Jira) answer(w http.ResponseWriter, r *http.Request, path string, seen Seen) {
	e, ok := j.endpoints[resource(path)]
	switch {
	case !ok && strings.HasPrefix(path, "/rest/"):
		// https://github.com/qoomon/Jira-Issue-Card-Printer/issues/48
		writeStatus(w, http.StatusNotFound, "null for uri: "+origin(r)+r.URL.RequestURI())
	case !ok:
		writePage(w, http.StatusNotFound, "Oops, you've found a dead link.", "")
	case len(e.methods) > 0 && !slices.Contains(e.methods, r.Method):
		w.Header().Set("Allow", strings.Join(e.methods, ", "))
		writeStatus(w, http.StatusMethodNotAllowed, "HTTP 405 Method Not Allowed")
	case e.signedIn && seen.User == "":
		unauthorized(w, r)
	default:
		e.answer(w, r, seen)
	}
}

// resource is the key of a path in the routes. "latest" is the current API
// version, and JAX-RS ignores a slash at the end.
func resource(path string) string {
	if name, ok := strings.CutPrefix(path, "/rest/api/latest/"); ok {
		path = "/rest/api/2/" + name
	}
	if strings.HasPrefix(path, "/rest/") {
		path = strings.TrimSuffix(path, "/")
	}
	return path
}

func (j *Jira) myself(w http.ResponseWriter, r *http.Request, seen Seen) {
	user := j.users[seen.User]
	writeJSON(w, http.StatusOK, map[string]any{
		"self":         j.userURL(r, user.Name),
		"key":          user.Key,
		"name":         user.Name,
		"emailAddress": user.Name + "@example.com",
		"displayName":  user.DisplayName,
		"active":       true,
	})
}

func configuration(w http.ResponseWriter, _ *http.Request, _ Seen) {
	writeJSON(w, http.StatusOK, map[string]any{
		"votingEnabled":           true,
		"watchingEnabled":         true,
		"unassignedIssuesAllowed": false,
		"subTasksEnabled":         true,
		"issueLinkingEnabled":     true,
		"timeTrackingEnabled":     true,
		"attachmentsEnabled":      true,
		"timeTrackingConfiguration": map[string]any{
			"workingHoursPerDay": 8,
			"workingDaysPerWeek": 5,
			"timeFormat":         "pretty",
			"defaultUnit":        "minute",
		},
	})
}

// serverInfo answers anonymous callers too. It names no build, since there is
// none behind it.
func (j *Jira) serverInfo(w http.ResponseWriter, r *http.Request, _ Seen) {
	writeJSON(w, http.StatusOK, map[string]any{
		"baseUrl":        origin(r) + j.context,
		"version":        "11.3.0",
		"versionNumbers": []int{11, 3, 0},
		"deploymentType": "Server",
		"serverTime":     j.now().Format(jiraTime),
		"serverTitle":    "Jira (product double)",
	})
}

// echo answers what the product received, credentials included, which is the
// point of a double and a reason to give it made-up ones only.
func echo(w http.ResponseWriter, _ *http.Request, seen Seen) {
	writeJSON(w, http.StatusOK, seen)
}

func (j *Jira) dashboard(w http.ResponseWriter, _ *http.Request, seen Seen) {
	who := "anonymous"
	if user, ok := j.users[seen.User]; ok {
		who = user.DisplayName + " (" + user.Name + ")"
	}
	writePage(w, http.StatusOK, "Dashboard", "You are "+who+".")
}

func (j *Jira) userURL(r *http.Request, name string) string {
	return origin(r) + j.context + "/rest/api/2/user?username=" + url.QueryEscape(name)
}

// origin is the scheme and host the client asked for. The product has a
// configured base URL instead.
func origin(r *http.Request) string {
	if r.TLS != nil {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}
