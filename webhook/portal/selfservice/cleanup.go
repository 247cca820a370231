package selfservice

import (
	"context"
	"errors"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

const (
	// cleanUpTimeout bounds the removal of what a failed request left behind. The controller removes it if this fails.
	cleanUpTimeout = 10 * time.Second
	// cleanUpPeriod is how often it is tried.
	cleanUpPeriod = 500 * time.Millisecond
)

// cleanUp runs a function that removes what a failed request left behind. It waits for the function while the request lasts.
// The function continues after that, so that an answer never waits for it.
func (s *Service) cleanUp(ctx context.Context, run func(context.Context)) {
	own, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpTimeout)
	done := make(chan struct{})
	s.cleanUps.Go(func() {
		defer close(done)
		defer cancel()
		run(own)
	})
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// insist calls try until it returns no error, for cleanUpTimeout at most, and then calls giveUp with the last error. It waits for the
// first try while the request lasts, and returns its error. try runs on another goroutine after that.
func (s *Service) insist(ctx context.Context, try func(context.Context) error, giveUp func(last error)) error {
	own, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpTimeout)
	first := make(chan error, 1)
	s.cleanUps.Go(func() {
		defer cancel()
		var last error
		err := wait.PollUntilContextCancel(own, cleanUpPeriod, true, func(ctx context.Context) (bool, error) {
			last = try(ctx)
			select {
			case first <- last:
			default: // this is not the first one
			}
			return last == nil, nil
		})
		if err != nil {
			giveUp(last)
		}
	})
	select {
	case err := <-first:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// takeBack calls try until it has removed what a failed request left behind, for cleanUpTimeout at most. It waits for the first try
// while the request lasts. gone reports whether that removed it.
func (s *Service) takeBack(ctx context.Context, try func(context.Context) error) (gone bool) {
	return s.insist(ctx, try, func(last error) {
		if !errors.Is(last, errUnclear) {
			s.Logger.Error(last, "Taking back failed; the controller will retry")
		}
	}) == nil
}

// errUnclear means that the API server gave no clear answer to a change.
var errUnclear = errors.New("the API server gave no clear answer")

// isUnclear reports whether nobody knows whether a change was done, or whether the portal sees it.
func isUnclear(err error) bool {
	return errors.Is(err, errUnclear) || errors.Is(err, errUnseen) || isTransient(err)
}

// AwaitCleanUps waits until all clean-ups have ended, which takes at most cleanUpTimeout. Call it after the last request.
func (s *Service) AwaitCleanUps() { s.cleanUps.Wait() }

// connected returns a context that ends when ctx times out, but not when the client disconnects.
func connected(ctx context.Context) (context.Context, context.CancelFunc) {
	own := context.WithoutCancel(ctx)
	if deadline, ok := ctx.Deadline(); ok {
		return context.WithDeadline(own, deadline)
	}
	return context.WithCancel(own)
}
