package selfservice

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

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
}

func (p *Problem) Error() string { return p.Message }

func problem(kind Kind, format string, args ...any) *Problem {
	return &Problem{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

func invalid(field, format string, args ...any) *Problem {
	return &Problem{Kind: Invalid, Field: field, Message: fmt.Sprintf(format, args...)}
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
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.Is(err, io.ErrUnexpectedEOF) {
		return true
	}
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		return true
	}
	return apierrors.IsServiceUnavailable(err) || apierrors.IsTooManyRequests(err) || apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err)
}
