package page

import (
	"errors"
	"net/http"
	"strings"

	"apitokens.dev/operator/webhook/portal/selfservice"
)

// failure is what is wrong with a request before anybody looks at what it is about.
type failure struct {
	status  int
	message string
	// allow are the methods that there are instead.
	allow string
}

func (f *failure) Error() string { return f.message }

func notAllowed(instead ...string) *failure {
	return &failure{http.StatusMethodNotAllowed, "There is nothing at this address for a request of this kind.", strings.Join(instead, ", ")}
}

var statuses = map[selfservice.Kind]int{
	selfservice.Invalid: http.StatusBadRequest, selfservice.Unauthenticated: http.StatusUnauthorized, selfservice.Forbidden: http.StatusForbidden,
	selfservice.NotFound: http.StatusNotFound, selfservice.Conflict: http.StatusConflict, selfservice.Unavailable: http.StatusServiceUnavailable,
	selfservice.Internal: http.StatusInternalServerError,
}

// headings say in a few words what a status means here.
var headings = map[int]string{
	http.StatusBadRequest: "This form cannot be used", http.StatusUnauthorized: "You are not signed in any more",
	http.StatusForbidden: "This is not possible here", http.StatusNotFound: "Not found", http.StatusMethodNotAllowed: "Not possible",
	http.StatusConflict: "Not done", http.StatusRequestEntityTooLarge: "Too large", http.StatusUnsupportedMediaType: "Not a form",
	http.StatusServiceUnavailable: "Not available right now", http.StatusInternalServerError: "Something went wrong",
}

// refuse answers with a page that says why something was not done. A 401 has no challenge: a browser would ask for a password.
func (c *call) refuse(err error) {
	var status int
	var message string
	if f := (*failure)(nil); errors.As(err, &f) {
		status, message = f.status, f.message
		if f.allow != "" {
			c.w.Header().Set("Allow", f.allow)
		}
	} else {
		p := c.problem(err)
		status, message = statuses[p.Kind], p.Message
	}
	v := view{Title: headings[status], Refusal: &refusal{Heading: headings[status], Message: message}}
	if c.site != nil {
		c.address(&v)
		v.Refusal.Retry = status == http.StatusServiceUnavailable && c.reads()
		if status == http.StatusUnauthorized {
			v.Refusal.SignIn = c.signIn()
		}
	}
	if err := c.write(status, v); err != nil {
		c.Logger.Error(err, "Refusing a request to the page")
		c.w.WriteHeader(http.StatusInternalServerError)
	}
}

// problem is what an error is for people. What nobody foresaw is logged.
func (c *call) problem(err error) *selfservice.Problem {
	p := selfservice.AsProblem(err)
	if p.Kind == selfservice.Internal {
		c.Logger.Error(err, "Answering a request to the page", "method", c.r.Method, "requestID", c.r.Header.Get("X-Request-Id"))
	}
	return p
}
