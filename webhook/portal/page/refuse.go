package page

import (
	"errors"
	"net/http"
	"strings"

	"apitokens.dev/operator/internal/httpheader"
	"apitokens.dev/operator/webhook/portal/selfservice"
)

// failure is an HTTP error that has no kind of selfservice.Problem.
type failure struct {
	status  int
	message string
	// allow lists the methods that the address supports.
	allow string
}

func (f *failure) Error() string { return f.message }

func notAllowed(instead ...string) *failure {
	return &failure{http.StatusMethodNotAllowed, "This address does not support this method.", strings.Join(instead, ", ")}
}

var statuses = map[selfservice.Kind]int{
	selfservice.Invalid: http.StatusBadRequest, selfservice.Unauthenticated: http.StatusUnauthorized, selfservice.Forbidden: http.StatusForbidden,
	selfservice.NotFound: http.StatusNotFound, selfservice.Conflict: http.StatusConflict, selfservice.Unavailable: http.StatusServiceUnavailable,
	selfservice.Internal: http.StatusInternalServerError,
}

// headings are the headings of error pages.
var headings = map[int]string{
	http.StatusBadRequest: "This form is not valid", http.StatusUnauthorized: "You are no longer signed in",
	http.StatusForbidden: "Not allowed", http.StatusNotFound: "Not found", http.StatusMethodNotAllowed: "Not possible",
	http.StatusConflict: "Not possible now", http.StatusRequestEntityTooLarge: "Too large", http.StatusUnsupportedMediaType: "Not a form",
	http.StatusServiceUnavailable: "Not available right now", http.StatusInternalServerError: "Something went wrong",
}

// refuse shows an error page. A 401 has no challenge, because browsers would ask for a password.
func (c *call) refuse(err error) {
	var status int
	var message, heading string
	if f := (*failure)(nil); errors.As(err, &f) {
		status, message = f.status, f.message
		if f.allow != "" {
			c.w.Header().Set("Allow", f.allow)
		}
	} else {
		p := c.problem(err)
		status, message = statuses[p.Kind], p.Message
		if status == http.StatusConflict && p.Field == selfservice.FieldNonce {
			heading = "Already done"
		}
	}
	if heading == "" {
		heading = headings[status]
	}
	v := view{Title: heading, Refusal: &refusal{Heading: heading, Message: message}}
	if c.site != nil {
		c.address(&v)
		v.Refusal.Retry = status == http.StatusServiceUnavailable && c.reads()
		if status == http.StatusUnauthorized {
			v.Refusal.SignIn = c.signIn()
		}
	}
	if err := c.write(status, v); err != nil {
		c.Logger.Error(err, "Rendering an error page failed")
		c.w.WriteHeader(http.StatusInternalServerError)
	}
}

// problem returns the problem for an error. It logs unexpected errors.
func (c *call) problem(err error) *selfservice.Problem {
	p := selfservice.AsProblem(err)
	if p.Kind == selfservice.Internal {
		c.Logger.Error(err, "Request to the page failed", "method", c.r.Method, "requestID", httpheader.Only(c.r.Header, "X-Request-Id"))
	}
	return p
}
