package webhook

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"apitokens.dev/operator/webhook/feed"
)

// serving is a port and the feed that its answers rest on.
//
// Told to end, it says that it is not ready and goes on as before, for as long as gateways may take to notice; then it
// lets the requests in flight finish. The feed outlives them all: the last answer is as fresh as the first. So does what runs
// in the background, such as the recorder of last accesses, which then writes what is left.
type serving struct {
	server *http.Server
	feed   *feed.Feed
	// background runs for as long as the feed does. There may be none.
	background func(context.Context)
	// drainDelay is for how long gateways may take to notice, shutdownTimeout for how long requests may be in flight.
	drainDelay, shutdownTimeout time.Duration

	draining atomic.Bool
}

// NeedLeaderElection is false: every replica serves.
func (s *serving) NeedLeaderElection() bool { return false }

// Ready fails until the feed is ready, and again from the moment on that the process is told to end.
func (s *serving) Ready(r *http.Request) error {
	if s.draining.Load() {
		return errors.New("ending: gateways should ask another replica")
	}
	return s.feed.Ready(r)
}

// Start serves until ctx is done and everything that was asked by then is answered.
func (s *serving) Start(ctx context.Context) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", s.server.Addr)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	afterCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.feed.Start(afterCtx) })
	if s.background != nil {
		group.Go(func() error {
			s.background(afterCtx)
			return nil
		})
	}
	group.Go(func() error {
		if err := s.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serving: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		defer stop()
		<-ctx.Done()
		return s.drain(context.WithoutCancel(ctx))
	})
	return group.Wait()
}

func (s *serving) drain(ctx context.Context) error {
	s.draining.Store(true)
	<-time.After(s.drainDelay)
	ctx, cancel := context.WithTimeout(ctx, s.shutdownTimeout)
	defer cancel()
	if err := s.server.Shutdown(ctx); err != nil {
		return fmt.Errorf("waiting for requests in flight: %w", err)
	}
	return nil
}
