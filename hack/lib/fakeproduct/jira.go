// Package fakeproduct has stand-ins for Jira and Confluence Data Center: they judge
// paths and credentials as the documentation says the products do, and remember
// every request, so that a demo or a test can show which credential the product
// saw.
package fakeproduct

import "maps"

// Jira is the stand-in for Jira 11. It is an http.Handler and safe for
// concurrent use.
type Jira struct {
	Product

	issues issues
}

// NewJira makes a double with no issues, no sessions and no requests seen.
func NewJira(o Options) *Jira {
	j := &Jira{}
	j.set(o)
	j.endpoints = j.routes()
	maps.Copy(j.endpoints, j.patEndpoints())
	j.web = web{
		dashboard: dashboardPath, login: "/login.jsp", form: "/login.jsp", logout: "/logout",
		UserID: "login-form-username", PasswordID: "login-form-password", SubmitID: "login-form-submit", LogOutID: "log_out",
	}
	j.latest["/rest/api/latest/"] = "/rest/api/2/"
	j.unauthorized, j.deadLink = unauthorized, "Oops, you've found a dead link."
	return j
}
