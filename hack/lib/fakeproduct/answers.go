package fakeproduct

import (
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/url"
)

// unauthorized is Jira's answer to an anonymous request for a resource that
// needs a user.
// The challenge names OAuth whatever the client tried:
// https://github.com/vanHeemstraSystems/requirements-engineering-headstart/blob/HEAD/containers/app/jira/README.md
func unauthorized(w http.ResponseWriter, r *http.Request) {
	challenge(w, r)
	writeErrors(w, http.StatusUnauthorized,
		"You are not authenticated. Authentication required to perform this operation.")
}

// basicFailed is the answer to a wrong password, a page and not JSON:
// https://dev.obss.com.tr/confluence/display/MD/TiS+v4.36+-+Authorization
func basicFailed(w http.ResponseWriter, r *http.Request) {
	challenge(w, r)
	writePage(w, http.StatusUnauthorized, "Unauthorized (401)",
		"Basic Authentication Failure - Reason : "+loginFailed)
}

// basicDisabled is the answer to Basic authentication while it is off. It is
// 403 and not 401, as recorded from Jira 11.3 and described for Jira 8.16:
// https://github.com/kmoneil/jr/blob/HEAD/internal/transport/testdata/basic-refused.datacenter.json
// https://codeclou.io/blog/2021/03/disabling-basic-auth-in-jira-and-allowlisting-customfield-editor-rest-api/
func basicDisabled(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusForbidden, map[string]string{
		"message": "Basic Authentication has been disabled on this instance.",
	})
}

func challenge(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("WWW-Authenticate", fmt.Sprintf("OAuth realm=%q", url.QueryEscape(origin(r))))
}

// writeErrors answers in the format of Jira's own resources.
func writeErrors(w http.ResponseWriter, status int, messages ...string) {
	writeJSON(w, status, map[string]any{"errorMessages": messages, "errors": struct{}{}})
}

// writeStatus answers in the format of the REST framework around them.
func writeStatus(w http.ResponseWriter, status int, message string) {
	writeJSON(w, status, map[string]any{"message": message, "status-code": status})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // fails only if the client has disconnected
}

func writePage(w http.ResponseWriter, status int, title, text string) {
	title, text = html.EscapeString(title), html.EscapeString(text)
	w.Header().Set("Content-Type", "text/html;charset=UTF-8")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<!DOCTYPE html>\n<title>%s</title>\n<h1>%s</h1>\n<p>%s</p>\n", title, title, text)
}
