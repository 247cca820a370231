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
	"apitokens.dev/operator/webhook/portal/rest/wire"
	"apitokens.dev/operator/webhook/portal/selfservice"
)

// maxBody is more than the largest wish has.
const maxBody = 64 << 10

func invalid(field, format string, args ...any) error {
	return &selfservice.Problem{Kind: selfservice.Invalid, Field: field, Message: fmt.Sprintf(format, args...)}
}

// refusal is an answer of HTTP's own, that no selfservice.Problem stands for.
type refusal struct {
	status  int
	message string
	// allow are the methods that there are instead.
	allow []string
}

func (r *refusal) Error() string { return r.message }

var (
	errMediaType = &refusal{status: http.StatusUnsupportedMediaType, message: "Send JSON, with the header Content-Type: application/json."}
	errTooLarge  = &refusal{status: http.StatusRequestEntityTooLarge, message: fmt.Sprintf("Send at most %d bytes.", maxBody)}
)

// read reads the JSON object that was sent.
func (c *call) read(into any) error {
	body, err := c.body()
	if err != nil {
		return err
	}
	return c.decode(body, into)
}

// readIfAny does so if anything was sent.
func (c *call) readIfAny(into any) error {
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
		return nil, invalid("", "The request could not be read to its end.")
	}
	return body, nil
}

// decode asks for the media type of JSON: a page of another origin cannot have a browser send it unasked.
func (c *call) decode(body []byte, into any) error {
	if media, _, err := mime.ParseMediaType(c.r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return errMediaType
	}
	err := wire.Decode(body, into)
	if wrong := (*wire.Error)(nil); errors.As(err, &wrong) {
		return &selfservice.Problem{Kind: selfservice.Invalid, Field: wrong.Field, Message: wrong.Message}
	}
	return err
}

// answer writes JSON.
func (c *call) answer(status int, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("writing an answer: %w", err)
	}
	c.w.Header().Set("Content-Type", "application/json")
	c.w.WriteHeader(status)
	_, _ = c.w.Write(append(text, '\n')) // to somebody who has left, nothing can be said
	return nil
}

// done answers that it was done, unless it was not.
func (c *call) done(err error) error {
	if err == nil {
		c.w.WriteHeader(http.StatusNoContent)
	}
	return err
}

const challenge = `Basic realm="API token", charset="UTF-8"`

var statuses = map[selfservice.Kind]int{
	selfservice.Invalid: http.StatusBadRequest, selfservice.Unauthenticated: http.StatusUnauthorized, selfservice.Forbidden: http.StatusForbidden,
	selfservice.NotFound: http.StatusNotFound, selfservice.Conflict: http.StatusConflict, selfservice.Unavailable: http.StatusServiceUnavailable,
	selfservice.Internal: http.StatusInternalServerError,
}

// refuse answers why something was not done, as the product would.
func (c *call) refuse(err error) {
	h := c.w.Header()
	if of := (*refusal)(nil); errors.As(err, &of) {
		if of.allow != nil {
			h.Set("Allow", strings.Join(of.allow, ", "))
		}
		_ = c.answer(of.status, c.format(of.status, &selfservice.Problem{Message: of.message}))
		return
	}
	if foreseen := (*selfservice.Problem)(nil); !errors.As(err, &foreseen) && !errors.Is(err, context.Canceled) {
		c.Logger.Error(err, "Answering a request", "method", c.r.Method, "requestID", c.r.Header.Get("X-Request-Id"))
	}
	p := selfservice.AsProblem(err)
	status := statuses[p.Kind]
	if status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", challenge)
	}
	if p.Reason != "" {
		h.Set("X-Api-Token-Reason", p.Reason)
	}
	_ = c.answer(status, c.format(status, p))
}

// format is the form of the product's own errors.
func (c *call) format(status int, p *selfservice.Problem) any {
	if c.site != nil && c.site.Spec.Product == tokensv1alpha1.ProductConfluence {
		return struct {
			StatusCode int    `json:"statusCode"`
			Message    string `json:"message"`
		}{status, p.Message}
	}
	of := struct {
		ErrorMessages []string          `json:"errorMessages"`
		Errors        map[string]string `json:"errors"`
	}{[]string{}, map[string]string{}}
	if p.Field != "" {
		of.Errors[p.Field] = p.Message
	} else {
		of.ErrorMessages = append(of.ErrorMessages, p.Message)
	}
	return of
}
