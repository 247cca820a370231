package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"apitokens.dev/operator/hack/lib/rig"
)

// Two webhooks behind nginx are restarted in turn, under load: no request fails.
func TestRollingRestart(t *testing.T) { rollingRestart(t, 3) }

func rollingRestart(t *testing.T, restarts int) {
	r, err := rig.Start(t.Context(), t.Output())
	t.Cleanup(func() {
		if err := r.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &story{Rig: r, out: t.Output()}
	replicas := s.startReplicas(t)
	ctx, cancel := context.WithCancel(t.Context())
	load := s.load(ctx)
	for i := range restarts {
		replica := replicas[i%len(replicas)]
		if err := replica.Stop(); err != nil {
			t.Error(err)
		}
		if err := replica.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	load.wait()
	t.Logf("%d restarts, %d requests, %d failed", restarts, load.requests.Load(), load.failed.Load())
	if load.failed.Load() > 0 || load.requests.Load() < int64(100*restarts) {
		t.Errorf("%d of %d requests failed, the first: %v", load.failed.Load(), load.requests.Load(), load.first)
	}
}

// startReplicas makes nginx ask two more webhooks in turn, instead of the rig's own.
func (s *story) startReplicas(t *testing.T) []*rig.Replica {
	t.Helper()
	if err := s.declareSite(t.Context()); err != nil {
		t.Fatal(err)
	}
	var replicas []*rig.Replica
	var addresses []string
	for _, name := range []string{"webhook-a", "webhook-b"} {
		replica, err := s.StartReplica(t.Context(), name, 500*time.Millisecond)
		if replica != nil && replica.Process != nil {
			t.Cleanup(func() { _ = replica.Stop() })
		}
		if err != nil {
			t.Fatal(err)
		}
		replicas = append(replicas, replica)
		addresses = append(addresses, strings.TrimPrefix(replica.URL, "http://"))
	}
	authURL, err := s.authURL(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	gateway, err := s.Gateway(authURL)
	if err != nil {
		t.Fatal(err)
	}
	gateway.Webhooks = addresses
	if err := s.StartGateway(t.Context(), gateway); err != nil {
		t.Fatal(err)
	}
	for _, step := range []func(context.Context) error{s.declareToken, s.readDelivered} {
		if err := step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return replicas
}

// load sends requests with a valid token through nginx until it is told to end.
type load struct {
	group            sync.WaitGroup
	requests, failed atomic.Int64
	once             sync.Once
	first            error
}

func (s *story) load(ctx context.Context) *load {
	l := &load{}
	for range 4 {
		l.group.Go(func() {
			for ctx.Err() == nil {
				status, body, _, err := s.curl(context.WithoutCancel(ctx), "/rest/api/2/myself", "alice", s.token)
				l.requests.Add(1)
				if err != nil || status != http.StatusOK {
					l.failed.Add(1)
					l.once.Do(func() { l.first = fmt.Errorf("HTTP %d %s, %w", status, body, err) })
				}
			}
		})
	}
	return l
}

func (l *load) wait() { l.group.Wait() }
