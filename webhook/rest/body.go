package rest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"

	kjson "sigs.k8s.io/json"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/webhook/portal"
)

// maxBody is more than the largest wish has.
const maxBody = 64 << 10

func invalid(field, format string, args ...any) error {
	return &portal.Problem{Kind: portal.Invalid, Field: field, Message: fmt.Sprintf(format, args...)}
}

var (
	errMediaType = errors.New("send JSON, with the header Content-Type: application/json")
	errTooLarge  = fmt.Errorf("send at most %d bytes", maxBody)
)

// read reads the JSON object that was sent, to the letter: what is not known, of another type or there twice is refused by name.
func (c *call) read(into any) error {
	if media, _, err := mime.ParseMediaType(c.r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return errMediaType
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, maxBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return errTooLarge
	}
	if err != nil {
		return invalid("", "The request could not be read to its end.")
	}
	strict, err := kjson.UnmarshalStrict(body, into)
	if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) {
		return invalid(wrong.Field, "%s must not be a %s.", named(wrong.Field), wrong.Value)
	}
	if err != nil {
		return invalid("", "The request is not a JSON object: %v.", err)
	}
	for _, err := range strict {
		field := ""
		if of, ok := err.(kjson.FieldError); ok { //nolint:errorlint // they are not wrapped
			field = of.FieldPath()
		}
		return invalid(field, "The request has an %v.", err)
	}
	return nil
}

func named(field string) string {
	if field == "" {
		return "The request"
	}
	return field
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

var statuses = map[portal.Kind]int{
	portal.Invalid: http.StatusBadRequest, portal.Unauthenticated: http.StatusUnauthorized, portal.Forbidden: http.StatusForbidden,
	portal.NotFound: http.StatusNotFound, portal.Conflict: http.StatusConflict, portal.Unavailable: http.StatusServiceUnavailable,
	portal.Internal: http.StatusInternalServerError,
}

// refuse answers why something was not done, as the product would.
func (c *call) refuse(err error) {
	h := c.w.Header()
	status, p := http.StatusInternalServerError, &portal.Problem{Message: err.Error()}
	method := (*notAllowed)(nil)
	switch {
	case errors.As(err, &method):
		status = http.StatusMethodNotAllowed
		h["Allow"] = method.methods
	case errors.Is(err, errMediaType):
		status = http.StatusUnsupportedMediaType
	case errors.Is(err, errTooLarge):
		status = http.StatusRequestEntityTooLarge
	default:
		if p = portal.AsProblem(err); p.Kind == portal.Internal {
			c.Logger.Error(err, "Answering a request", "method", c.r.Method, "requestID", c.r.Header.Get("X-Request-Id"))
		}
		status = statuses[p.Kind]
	}
	if status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", challenge)
	}
	if p.Reason != "" {
		h.Set("X-Api-Token-Reason", p.Reason)
	}
	_ = c.answer(status, c.format(status, p))
}

// format is the form of the product's own errors.
func (c *call) format(status int, p *portal.Problem) any {
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
