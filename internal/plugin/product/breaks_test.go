package product_test

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"

	"apitokens.dev/operator/internal/atlassian"
)

// breaker answers instead of a product. It reports whether it did.
type breaker func(w *world, answer *httptest.ResponseRecorder, r *http.Request) bool

// during has something broken only for the requests of one check: most behaviours are those of several.
func during(id string, b breaker) breaker {
	return func(w *world, answer *httptest.ResponseRecorder, r *http.Request) bool {
		return strings.Contains(r.UserAgent(), "("+id+")") && b(w, answer, r)
	}
}

// status answers with another status.
func status(code int) breaker {
	return func(_ *world, answer *httptest.ResponseRecorder, _ *http.Request) bool {
		answer.WriteHeader(code)
		return true
	}
}

// on breaks only requests of a method.
func on(method string, b breaker) breaker {
	return func(w *world, answer *httptest.ResponseRecorder, r *http.Request) bool {
		return r.Method == method && b(w, answer, r)
	}
}

// with breaks only requests that send a header, such as a session.
func with(header string, b breaker) breaker {
	return func(w *world, answer *httptest.ResponseRecorder, r *http.Request) bool {
		return r.Header.Get(header) != "" && b(w, answer, r)
	}
}

// answered changes the answer of the product.
func answered(change func(w *world, answer *httptest.ResponseRecorder)) breaker {
	return func(w *world, answer *httptest.ResponseRecorder, r *http.Request) bool {
		whole := httptest.NewRecorder() // its header can still be changed
		w.ServeHTTP(whole, r)
		change(w, whole)
		maps.Copy(answer.Header(), whole.Header())
		answer.WriteHeader(whole.Code)
		_, _ = answer.Write(whole.Body.Bytes())
		return true
	}
}

// served changes the request before the product gets it.
func served(change func(w *world, r *http.Request)) breaker {
	return func(w *world, answer *httptest.ResponseRecorder, r *http.Request) bool {
		change(w, r)
		w.ServeHTTP(answer, r)
		return true
	}
}

// header answers with another header, or without it.
func header(name, value string) breaker {
	return answered(func(_ *world, answer *httptest.ResponseRecorder) {
		answer.Header().Del(name)
		if value != "" {
			answer.Header().Set(name, value)
		}
	})
}

// text replaces a text of the answer.
func text(pattern, with string) breaker {
	of := regexp.MustCompile(pattern)
	return answered(func(_ *world, answer *httptest.ResponseRecorder) {
		answer.Body = bytes.NewBuffer(of.ReplaceAll(answer.Body.Bytes(), []byte(with)))
	})
}

// echo has the product repeat credentials: those of the run in its messages, and in a header those of the request.
func echo(w *world, answer *httptest.ResponseRecorder, r *http.Request) bool {
	repeated, _ := json.Marshal(userPAT + " " + password + " ") // a string
	answer.Header().Set("WWW-Authenticate", r.Header.Get("Authorization"))
	return text(`"message":"`, `"message":`+string(repeated[:len(repeated)-1]))(w, answer, r)
}

// asked replaces a text of the body of the request.
func asked(pattern, with string) breaker {
	of := regexp.MustCompile(pattern)
	return served(func(_ *world, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // of a string
		r.Body = io.NopCloser(bytes.NewReader(of.ReplaceAll(body, []byte(with))))
	})
}

// who is the path of the who-am-I resource.
func (w *world) who() string {
	if w.product == atlassian.Confluence {
		return w.context + "/rest/api/user/current"
	}
	return w.context + "/rest/api/2/myself"
}

// runsWho has every path run the who-am-I resource.
var runsWho = served(func(w *world, r *http.Request) { r.RequestURI = w.who() })

// forgets has a credential not looked at.
func forgets(name string) breaker {
	return served(func(_ *world, r *http.Request) { r.Header.Del(name) })
}

// asBearer has a request without a valid credential served as the user.
var asBearer = served(func(_ *world, r *http.Request) {
	r.Header.Del("Cookie")
	r.Header.Set("Authorization", "Bearer "+userPAT)
})

// leadsElsewhere has redirects lead to another site.
var leadsElsewhere = header("Location", "https://example.com/a")

// from answers as the product does, and breaks from the nth request of a check on.
func from(nth int, b breaker) breaker {
	seen := 0
	return func(w *world, answer *httptest.ResponseRecorder, r *http.Request) bool {
		seen++
		return seen >= nth && b(w, answer, r)
	}
}

// cookies replaces a text in the cookies that are set.
func cookies(pattern, with string) breaker {
	of := regexp.MustCompile(pattern)
	return answered(func(_ *world, answer *httptest.ResponseRecorder) {
		for i, c := range answer.Header()["Set-Cookie"] {
			answer.Header()["Set-Cookie"][i] = of.ReplaceAllString(c, with)
		}
	})
}

// newerLogin is a product without a form: parameters do not sign in, and a resource does.
func newerLogin(w *world, answer *httptest.ResponseRecorder, r *http.Request) bool {
	if !strings.HasSuffix(r.URL.Opaque, "/rest/tsv/1.0/authenticate") {
		if r.Method == http.MethodPost && r.Header.Get("Content-Type") != "application/json" {
			return asked("os_username", "username")(w, answer, r)
		}
		return during("login-form", text("os_", "login_"))(w, answer, r)
	}
	var sent struct{ Username, Password string }
	if json.NewDecoder(r.Body).Decode(&sent) != nil || sent.Username != user || sent.Password != password {
		answer.WriteHeader(http.StatusUnauthorized)
		return true
	}
	http.SetCookie(answer, w.SignIn(user))
	answer.WriteHeader(http.StatusOK)
	return true
}

const singleSignOnTicket = "a ticket of single sign-on, which is long"

// singleSignOn leads pages to another site, with a ticket, and speaks of hosts.
func singleSignOn(w *world, answer *httptest.ResponseRecorder, r *http.Request) bool {
	if strings.Contains(r.RequestURI, "/rest/") {
		return text(`"message":"`, `"message":"client 10.11.12.13 at https://node-3.secret-corp.net:8444/x: `)(w, answer, r)
	}
	to := "https://sso.secret-corp.net/" + url.PathEscape(singleSignOnTicket) + "?SAMLRequest=" + url.QueryEscape(singleSignOnTicket)
	if r.Method == http.MethodPost {
		to = "/plugins/sso?ticket=" + url.QueryEscape(singleSignOnTicket)
	}
	answer.Header().Set("Location", to)
	answer.Header().Set("Content-Security-Policy", "script-src 'self' 'nonce-"+singleSignOnTicket+"' https://cdn.secret-corp.net; report-uri https://csp.secret-corp.net/r")
	answer.WriteHeader(http.StatusFound)
	return true
}

// broken has, for each assumption, a product that breaks it and no other.
func broken() map[string]breaker {
	ok, never := status(http.StatusOK), `"expiringAt":null`
	b := map[string]breaker{
		"path-decoded-once": runsWho, "path-context": runsWho, "path-rewriting-raw": runsWho,
		"path-encoded-slash": runsWho, "path-backslash": runsWho, "path-encoded-backslash": runsWho, "path-null": runsWho, "path-unescaped": runsWho, "path-above-root": runsWho,
		"path-unknown-page": header("Content-Type", "application/json"), "path-unknown-resource": text("null for uri", "not found"), "path-method": status(http.StatusNotFound),

		"user-header": header("X-AUSERNAME", "somebody"), "user-header-anonymous": header("X-AUSERNAME", ""), "login-reason": header("X-Seraph-LoginReason", ""),
		"challenge": header("WWW-Authenticate", `Basic realm="a"`), "session-cookie": cookies("; HttpOnly", ""), "pat-session-ends": with("Cookie", asBearer),

		"bearer-resource": text("JIRAUSER10042", "JIRAUSER1"), "bearer-page": forgets("Authorization"), "bearer-case": forgets("Authorization"),
		"pat-wrong": forgets("Authorization"), "pat-wrong-page": forgets("Authorization"), "pat-wrong-form": text(`"status-code"`, `"code"`),
		"pat-wrong-reason":   header("X-Seraph-LoginReason", "AUTHENTICATED_FAILED"),
		"parameters-sign-in": asked("os_username", "username"), "parameters-first": asked("os_username", "username"),
		"parameters-query-first": served(func(_ *world, r *http.Request) { r.URL.RawQuery = "" }),
		"parameters-fail":        status(http.StatusUnauthorized), "session-first": with("Authorization", forgets("Cookie")), "stale-session": forgets("Cookie"),
		"stale-session-page": status(http.StatusUnauthorized), "auth-type-none": status(http.StatusUnauthorized), "auth-type-cookie": forgets("Cookie"),
		"auth-type-basic": header("WWW-Authenticate", `OAuth realm="protected-area"`), "auth-type-basic-realm": text("^", ""),

		"basic-off": forgets("Authorization"), "basic-off-words": text("disabled", "switched off"), "basic-off-page": forgets("Authorization"),
		"basic-off-right": asBearer, "basic-on-wrong": header("Content-Type", "application/json"), "basic-on-reason": header("X-Seraph-LoginReason", "AUTHENTICATION_DENIED"),
		"basic-on-right": status(http.StatusUnauthorized),

		"pat-made": text(`"expiringAt":"[^"]*",`, ""), "pat-id": text(`"id":(\d+)`, `"id":"$1"`), "pat-form": text(`"rawToken":"`, `"rawToken":"p_`),
		"pat-time": text(`\+00:00`, "+0000"), "pat-days": asked(`"expirationDuration":2`, `"expirationDuration":3`), "pat-never": text(never, `"expiringAt":"9999-12-31T23:59:59.999+00:00"`),
		"pat-same-name": on(http.MethodPost, from(2, status(http.StatusConflict))), "pat-version": status(http.StatusNotFound), "pat-anonymous": text("^", ""),
		"pat-list": on(http.MethodGet, text(`(?s).*`, "[]")), "pat-list-secret": on(http.MethodGet, text(`"id"`, `"rawToken":"a","id"`)),
		"pat-list-used": on(http.MethodGet, text(`"lastAccessedAt"`, `"lastUsed"`)), "pat-list-unused": on(http.MethodGet, text(`"createdAt"`, `"lastAccessedAt":"2026-01-01T00:00:00.000+00:00","createdAt"`)),
		"pat-expired": asBearer, "pat-expired-listed": text(`(?s)\{[^{}]*"name":"old"\},`, ""),
		"pat-deleted": on(http.MethodDelete, answered(func(_ *world, a *httptest.ResponseRecorder) { a.Code = http.StatusOK })), "pat-deletes-itself": on(http.MethodDelete, status(http.StatusForbidden)),
		"pat-unknown": status(http.StatusNoContent), "pat-of-others": on(http.MethodDelete, status(http.StatusForbidden)),
		"pat-name": asked(`"name":" "`, `"name":"a"`), "pat-name-length": asked("x{41}", "x"), "pat-name-longest": asked("x{40}", strings.Repeat("x", 41)),
		"pat-days-most": asked("366", "365"), "pat-days-none": asked(`"expirationDuration":0`, `"expirationDuration":1`), "pat-errors": text("errorMessages", "errors"),
		"pat-most": on(http.MethodPost, from(3, status(http.StatusBadRequest))), "pat-most-expired": on(http.MethodPost, from(3, status(http.StatusBadRequest))),

		"search": text(`"userProfileResource"`, `"owner"`), "search-part": asked("TOKEN DOCTOR", "token doctors"), "search-pages": asked(`"page":10`, `"page":0`),
		"search-most": text(`"values":\[`, `"values":[{},`), "search-never": text(`"expiringAt":"9999-[^"]*"`, never), "search-others": ok,
		"search-xsrf": served(func(_ *world, r *http.Request) { r.Header.Set("X-Atlassian-Token", "no-check") }),

		"login-form": text("os_destination", "destination"), "login-by-form": leadsElsewhere, "login-again": leadsElsewhere, "login-elsewhere": leadsElsewhere, "login-malformed": leadsElsewhere,
		"profile": text("ajs-remote-user", "ajs-user"), "profile-policy": header("Content-Security-Policy", "default-src 'self'; script-src 'nonce-1'; img-src 'self'"),
		"profile-anonymous": status(http.StatusUnauthorized),
		"logout-asks":       text("confirm-logout-submit", "confirm"), "logout": text("atl_token=", "token="), "logout-leads": leadsElsewhere,
		"logout-confluence": with("Referer", status(http.StatusForbidden)), "logout-confluence-leads": leadsElsewhere,

		"renamed": text("JIRAUSER10042", "JIRAUSER1"), "deactivated": status(http.StatusOK), "deactivated-session": status(http.StatusOK),

		"jira-other": ok, "jira-myself": text(`"emailAddress"`, `"email"`), "jira-anonymous": asBearer, "jira-latest": status(http.StatusNotFound),
		"jira-configuration": text("votingEnabled", "voting"), "jira-server-info": status(http.StatusUnauthorized), "jira-session-anonymous": text("^", ""), "jira-session": text(`"name"`, `"username"`),
		"jira-session-delete": on(http.MethodDelete, status(http.StatusNoContent)), "jira-session-off": status(http.StatusUnauthorized), "jira-session-wrong": status(http.StatusForbidden),
		"jira-session-made": text(`"session"`, `"cookie"`), "jira-issue-anonymous": status(http.StatusForbidden), "jira-issue-fields": text(`"project"`, `"projects"`),
		"jira-issue-unknown": text("Issue Does Not Exist", "No Issue"), "jira-issue": on(http.MethodPost, text(`"self"`, `"url"`)),

		"confluence-other": ok, "confluence-current": text(`"known"`, `"user"`), "confluence-current-anonymous": status(http.StatusUnauthorized), "confluence-anonymous": status(http.StatusForbidden),
		"confluence-errors": text(`"reason"`, `"why"`), "confluence-create-anonymous": status(http.StatusUnauthorized), "confluence-list": text(`"results"`, `"values"`),
		"confluence-content": on(http.MethodPost, text(`"_links"`, `"links"`)),
	}
	for _, id := range []string{
		"path-parameters", "path-decoded", "path-slashes", "path-dots", "path-rewriting", "path-rewriting-case", "path-rewriting-normalised", "path-slash-at-the-end",
	} {
		b[id] = status(http.StatusNotFound)
	}
	for _, id := range []string{"pat-anonymous", "jira-session-anonymous"} {
		b[id] = status(http.StatusForbidden)
	}
	b["auth-type-basic-realm"] = header("WWW-Authenticate", `Basic realm="Jira"`)
	for id, one := range b {
		b[id] = during(id, one)
	}
	b["basic-default"] = func(w *world, _ *httptest.ResponseRecorder, _ *http.Request) bool {
		w.SetBasicAuth(!w.basic)
		return false
	}
	return b
}
