// Package selfservice is what owners do with their tokens: list, create, rotate and revoke them, and let the operator act for
// them at the product. The REST API and the page stand on it.
package selfservice

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/audit"
	"apitokens.dev/operator/internal/authn"
)

const (
	// seenTimeout is how long the portal's own watch may take to show what was written, pollPeriod how often it is looked at.
	seenTimeout = 10 * time.Second
	pollPeriod  = 2 * time.Millisecond
	// cleanUpTimeout bounds taking back what could not be finished. What is left then, the controller removes.
	cleanUpTimeout = 5 * time.Second
)

// Product is asked on behalf of owners. It is an *atlassian.Client.
type Product interface {
	WhoAmI(ctx context.Context, u atlassian.Upstream, as atlassian.Credential) (atlassian.User, error)
	CreatePAT(ctx context.Context, u atlassian.Upstream, as atlassian.Credential, name string, days int) (atlassian.PAT, error)
	DeletePAT(ctx context.Context, u atlassian.Upstream, as atlassian.Credential, id int64) error
}

// Log tells what became of tokens, and who brought one. It is an *audit.Log.
type Log interface {
	Observe(x audit.Exchange)
	EmitEvent(e audit.Event)
}

// Service acts for the owners of tokens.
type Service struct {
	// Client reads APITokens, AtlassianSites and what the controller projects of them from a cache, and writes.
	// Live reads records from the API server.
	Client client.Client
	Live   client.Reader
	// Index knows which tokens authenticate.
	Index   *authn.Index
	Product Product
	// Log is for what became of tokens, Logger for what went wrong.
	Log    Log
	Logger logr.Logger
	Clock  clock.PassiveClock
	Random io.Reader
	// Namespace holds the records and what is projected of sites, CredentialsNamespace the upstream credentials.
	Namespace, CredentialsNamespace string

	turns turns
}

// Kind says what kind of problem a Problem is.
type Kind int

const (
	// Internal means that something went wrong that nobody here can help.
	Internal Kind = iota
	// Invalid means that the request asks for something that cannot be.
	Invalid
	// Unauthenticated means that nobody is known to ask.
	Unauthenticated
	// Forbidden means that who asks may not.
	Forbidden
	// NotFound means that there is no such thing, or that it is somebody else's.
	NotFound
	// Conflict means that it cannot be as things are.
	Conflict
	// Unavailable means that it cannot be found out now.
	Unavailable
)

// Problem is why something was not done, in words for who asked for it.
type Problem struct {
	Kind Kind
	// Field is what in the request is wrong, if it is one thing.
	Field string
	// Reason is a word for programs, as in the answers of the webhook, or empty.
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

// AsProblem returns the problem that an error is. All that is none was not foreseen, and is nobody's business.
func AsProblem(err error) *Problem {
	if p := (*Problem)(nil); errors.As(err, &p) {
		return p
	}
	if passes(err) {
		return problem(Unavailable, "This took too long, or Kubernetes does not answer. Look whether it was done, and try again.")
	}
	return problem(Internal, "Something went wrong, and was logged. Try again, or ask the administrator of this site.")
}

// passes reports whether an error is one of the API server, or of the way to it, that will pass by itself.
func passes(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.Is(err, io.ErrUnexpectedEOF) {
		return true
	}
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		return true
	}
	return apierrors.IsServiceUnavailable(err) || apierrors.IsTooManyRequests(err) || apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err)
}

// seen waits until the portal's own watch shows what was written: replicas follow within milliseconds.
func seen(ctx context.Context, done func() bool) error {
	err := wait.PollUntilContextTimeout(ctx, pollPeriod, seenTimeout, true, func(context.Context) (bool, error) { return done(), nil })
	if err != nil {
		return problem(Unavailable, "What was written could not be seen yet. Look whether it is there before trying again.")
	}
	return nil
}
