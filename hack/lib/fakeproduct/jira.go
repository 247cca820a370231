// Package fakeproduct has a fake Jira and a fake Confluence Data Center. They judge
// paths and credentials as the products are documented to do, and remember every
// request, so that a test can check which credential the product received.
package fakeproduct

import (
	"cmp"
	"maps"
)

// Jira is a fake Jira 11. It is an http.Handler and safe for concurrent use.
type Jira struct {
	Product

	issues issues
}

// NewJira makes a fake Jira with no issues, no sessions and no requests seen.
func NewJira(o Options) *Jira {
	j := &Jira{}
	o.Version = cmp.Or(o.Version, "11.3.0")
	j.set(o)
	j.endpoints = j.routes()
	maps.Copy(j.endpoints, j.patEndpoints())
	j.web = web{
		dashboard: dashboardPath, login: "/login.jsp", form: "/login.jsp", logout: "/logout", userProfile: jiraProfile,
		UserID: "login-form-username", PasswordID: "login-form-password", SubmitID: "login-form-submit", LogOutID: "log_out",
	}
	j.latest["/rest/api/latest/"] = "/rest/api/2/"
	j.unauthorized, j.deadLink = unauthorized, "Oops, you've found a dead link."
	return j
}
