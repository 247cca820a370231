package selfservice

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Kind is the kind of a Problem. Each face maps it to an HTTP status.
type Kind int

const (
	// Internal means a fault that the caller cannot mend.
	Internal Kind = iota
	// Invalid means that the request is malformed or breaks a rule.
	Invalid
	// Unauthenticated means that the caller is unknown.
	Unauthenticated
	// Forbidden means that the caller is known and lacks the right.
	Forbidden
	// NotFound means that the object does not exist or belongs to somebody else.
	NotFound
	// Conflict means that the request conflicts with the current state.
	Conflict
	// Unavailable means that a dependency does not answer. The caller may try again.
	Unavailable
)

// Problem says why a request failed, in words for the caller.
type Problem struct {
	Kind Kind
	// Field is the request field that is wrong. It is empty if no single field is.
	Field string
	// Reason is machine-readable, as in the answers of the gateway. It may be empty.
	Reason  string
	Message string
	// Also are further problems of the same request, each with a Field of its own.
	Also []*Problem
}

func (p *Problem) Error() string { return p.Message }

func problem(kind Kind, format string, args ...any) *Problem {
	return &Problem{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

func invalid(field, format string, args ...any) *Problem {
	return &Problem{Kind: Invalid, Field: field, Message: fmt.Sprintf(format, args...)}
}

// joined returns several problems as one. There must be at least one.
func joined(all []*Problem) *Problem {
	p := *all[0]
	p.Also = all[1:]
	return &p
}

// AsProblem returns the problem for an error. The details of an unexpected error are not shown to the caller.
func AsProblem(err error) *Problem {
	if p := (*Problem)(nil); errors.As(err, &p) {
		return p
	}
	if isTransient(err) {
		return problem(Unavailable, "This took too long, or Kubernetes does not answer. Check whether it was done, then try again.")
	}
	return problem(Internal, "Something went wrong and was logged. Try again, or ask the administrator of this site.")
}

// isTransient reports whether an error comes from an API server that is away or overloaded, or from the connection to it.
func isTransient(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.Is(err, errConnection) {
		return true
	}
	status := apierrors.APIStatus(nil)
	if !errors.As(err, &status) {
		return false
	}
	code := status.Status().Code
	return code >= http.StatusInternalServerError || code == http.StatusTooManyRequests
}

// errConnection marks every error of a connection to the API server, because the errors of HTTP/2 have no common type.
var errConnection = errors.New("the connection to the API server failed")

type connectionError struct{ error }

func (e connectionError) Unwrap() []error { return []error{e.error, errConnection} }

// MarkConnectionErrors returns a transport to the API server whose errors AsProblem recognises.
func MarkConnectionErrors(next http.RoundTripper) http.RoundTripper { return markingTransport{next} }

type markingTransport struct{ http.RoundTripper }

// RoundTrip sends a request and marks the errors of sending it and of reading the answer.
func (t markingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := t.RoundTripper.RoundTrip(r)
	if err != nil {
		return response, connectionError{err}
	}
	response.Body = markingBody{response.Body}
	return response, nil
}

type markingBody struct{ io.ReadCloser }

func (b markingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = connectionError{err}
	}
	return n, err
}
