package fakeproduct

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

const (
	dashboardPath = "/secure/Dashboard.jspa"
	loggedOutPath = "/secure/Logout!default.jspa"
	// jiraTime is the format of times in Jira's JSON.
	jiraTime = "2006-01-02T15:04:05.000-0700"
)

// routes are the paths inside the context path. Resources and fields follow
// https://developer.atlassian.com/server/jira/platform/rest/ except echo, which
// only the fake has.
func (j *Jira) routes() map[string]endpoint {
	read := []string{http.MethodGet, http.MethodHead}
	session := []string{http.MethodGet, http.MethodPost, http.MethodDelete}
	return map[string]endpoint{
		"/rest/api/2/myself":        {methods: read, refuse: unauthorized, answer: j.myself},
		"/rest/api/2/configuration": {methods: read, refuse: unauthorized, answer: configuration},
		"/rest/api/2/serverInfo":    {methods: read, answer: j.serverInfo},
		issuePath:                   {methods: []string{http.MethodPost}, refuse: unauthorized, answer: j.createIssue},
		issuePath + "/*":            {methods: append(read, http.MethodDelete), refuse: unauthorized, answer: j.oneIssue},
		"/rest/auth/1/session":      {methods: session, answer: j.session},
		"/rest/double/1.0/echo":     {answer: echo},
		"/login.jsp":                {answer: j.login},
		"/logout":                   {answer: j.logout},
		"/logoutconfirm.jsp":        {answer: j.logout},
		loggedOutPath:               {answer: loggedOut},
		dashboardPath:               {answer: j.dashboard},
		jiraProfile:                 {methods: read, answer: j.userProfile},
	}
}

func (j *Jira) myself(w http.ResponseWriter, r *http.Request, in call) {
	writeJSON(w, http.StatusOK, j.person(r, in.by))
}

// person returns Jira's description of a user.
func (j *Jira) person(r *http.Request, user User) map[string]any {
	_, active := j.accounts.active(user.Key)
	return map[string]any{
		"self":         j.userURL(r, user.Name),
		"key":          user.Key,
		"name":         user.Name,
		"emailAddress": user.Name + "@example.com",
		"displayName":  user.DisplayName,
		"active":       active,
	}
}

func configuration(w http.ResponseWriter, _ *http.Request, _ call) {
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

// serverInfo answers anonymous callers too. It names no build: the fake has none.
func (j *Jira) serverInfo(w http.ResponseWriter, r *http.Request, _ call) {
	writeJSON(w, http.StatusOK, map[string]any{
		"baseUrl":        origin(r) + j.context,
		"version":        j.version,
		"versionNumbers": versionNumbers(j.version),
		"deploymentType": "Server",
		"serverTime":     j.now().Format(jiraTime),
		"serverTitle":    "Jira (fake product)",
	})
}

func versionNumbers(version string) []int {
	var numbers []int
	for part := range strings.SplitSeq(version, ".") {
		number, _ := strconv.Atoi(part) // the versions of a test are numbers
		numbers = append(numbers, number)
	}
	return numbers
}

func (j *Jira) userURL(r *http.Request, name string) string {
	return origin(r) + j.context + "/rest/api/2/user?username=" + url.QueryEscape(name)
}
