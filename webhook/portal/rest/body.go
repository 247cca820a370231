package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/httpheader"
	"apitokens.dev/operator/webhook/portal/rest/wire"
	"apitokens.dev/operator/webhook/portal/selfservice"
)

// maxBody is larger than every valid body, in bytes.
const maxBody = 64 << 10

func invalid(field, format string, args ...any) error {
	return &selfservice.Problem{Kind: selfservice.Invalid, Field: field, Message: fmt.Sprintf(format, args...)}
}

// refusal is an HTTP error that has no kind of selfservice.Problem.
type refusal struct {
	status  int
	message string
	// allow lists the methods that the resource supports.
	allow []string
}

func (r *refusal) Error() string { return r.message }

var (
	errMediaType = &refusal{status: http.StatusUnsupportedMediaType, message: "Send JSON, with the header Content-Type: application/json."}
	errTooLarge  = &refusal{status: http.StatusRequestEntityTooLarge, message: fmt.Sprintf("Send at most %d bytes.", maxBody)}
)

// read decodes the body, which must be a JSON object.
func (c *call) read(into any) error {
	body, err := c.body()
	if err != nil {
		return err
	}
	return c.decode(body, into)
}

// readOptional decodes the body unless it is empty.
func (c *call) readOptional(into any) error {
	body, err := c.body()
	if err != nil || len(body) == 0 {
		return err
	}
	return c.decode(body, into)
}

func (c *call) body() ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, maxBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, errTooLarge
	}
	if err != nil {
		return nil, invalid("", "The body could not be read.")
	}
	return body, nil
}

// decode requires the media type of JSON, which a page of another origin cannot make a browser send without a CORS preflight.
func (c *call) decode(body []byte, into any) error {
	if media, _, err := mime.ParseMediaType(c.r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return errMediaType
	}
	err := wire.Decode(body, into)
	if malformed := (*wire.Error)(nil); errors.As(err, &malformed) {
		return &selfservice.Problem{Kind: selfservice.Invalid, Field: malformed.Field, Message: malformed.Message}
	}
	return err
}

// answer writes a JSON body.
func (c *call) answer(status int, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encoding an answer: %w", err)
	}
	c.w.Header().Set("Content-Type", "application/json")
	c.w.WriteHeader(status)
	_, _ = c.w.Write(append(text, '\n')) // the client may have disconnected
	return nil
}

// noContent answers 204 if err is nil, and returns err.
func (c *call) noContent(err error) error {
	if err == nil {
		c.w.WriteHeader(http.StatusNoContent)
	}
	return err
}

// reasonHeader has the reason of a refusal, or of one to come, for programs.
const reasonHeader = "X-Api-Token-Reason"

const challenge = `Basic realm="API token", charset="UTF-8"`

var statuses = map[selfservice.Kind]int{
	selfservice.Invalid: http.StatusBadRequest, selfservice.Unauthenticated: http.StatusUnauthorized, selfservice.Forbidden: http.StatusForbidden,
	selfservice.NotFound: http.StatusNotFound, selfservice.Conflict: http.StatusConflict, selfservice.Unavailable: http.StatusServiceUnavailable,
	selfservice.Internal: http.StatusInternalServerError,
}

// refuse writes an error in the format of the product.
func (c *call) refuse(err error) {
	h := c.w.Header()
	if refused := (*refusal)(nil); errors.As(err, &refused) {
		if refused.allow != nil {
			h.Set("Allow", strings.Join(refused.allow, ", "))
		}
		_ = c.answer(refused.status, c.format(refused.status, &selfservice.Problem{Message: refused.message}))
		return
	}
	if expected := (*selfservice.Problem)(nil); !errors.As(err, &expected) && !errors.Is(err, context.Canceled) {
		c.Logger.Error(err, "Request to the REST API failed", "method", c.r.Method, "requestID", httpheader.Only(c.r.Header, "X-Request-Id"))
	}
	p := selfservice.AsProblem(err)
	status := statuses[p.Kind]
	if status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", challenge)
	}
	if status == http.StatusServiceUnavailable {
		selfservice.RetryAfter(h)
	}
	if p.Reason != "" {
		h.Set(reasonHeader, p.Reason)
	}
	_ = c.answer(status, c.format(status, p))
}

// format returns an error body as the product of the site would write it.
func (c *call) format(status int, p *selfservice.Problem) any {
	if c.site != nil && c.site.Spec.Product == tokensv1alpha1.ProductConfluence {
		return struct {
			StatusCode int    `json:"statusCode"`
			Message    string `json:"message"`
		}{status, strings.Join(messages(p), " ")}
	}
	body := struct {
		ErrorMessages []string          `json:"errorMessages"`
		Errors        map[string]string `json:"errors"`
	}{[]string{}, map[string]string{}}
	for _, one := range append([]*selfservice.Problem{p}, p.Also...) {
		if one.Field != "" {
			body.Errors[one.Field] = one.Message
		} else {
			body.ErrorMessages = append(body.ErrorMessages, one.Message)
		}
	}
	return body
}

func messages(p *selfservice.Problem) []string {
	all := []string{p.Message}
	for _, one := range p.Also {
		all = append(all, one.Message)
	}
	return all
}
