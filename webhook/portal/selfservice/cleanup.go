package selfservice

import (
	"context"
	"time"
)

// cleanUpTimeout bounds the removal of what a failed request left behind. The controller removes it if this fails.
const cleanUpTimeout = 10 * time.Second

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
