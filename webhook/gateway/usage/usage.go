// Package usage tells when and from where each token was last used, in the status of its APIToken.
package usage

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	"apitokens.dev/operator/internal/audit"
	"apitokens.dev/operator/internal/authn"
)

const (
	// spacing keeps one replica to 50 writes a second. They follow each other, so an API server that is slow is asked
	// less.
	spacing = 20 * time.Millisecond
	// writeTimeout bounds one write.
	writeTimeout = 10 * time.Second
	// Failures in a row are taken for an API server that is away.
	backoffInitial = time.Second
	backoffCap     = 30 * time.Second
	// flushWriters write at the same time when the process ends, and begin anew on what failed after a flushPause.
	flushWriters = 16
	flushPause   = 200 * time.Millisecond
)

// Recorder keeps the last use of each token until it is written. A request never waits for that.
type Recorder struct {
	write        Writer
	clock        clock.Clock
	flushTimeout time.Duration
	queue        *queue
	metrics      *metrics
	log          logr.Logger
}

// NewRecorder returns a Recorder that writes with write while it runs, and for flushTimeout after that.
func NewRecorder(write Writer, c clock.Clock, flushTimeout time.Duration, log logr.Logger, r prometheus.Registerer) *Recorder {
	q := newQueue()
	return &Recorder{write: write, clock: c, flushTimeout: flushTimeout, queue: q, metrics: newMetrics(r, q), log: log}
}

// Observe remembers the use of a token, if an exchange was one.
func (r *Recorder) Observe(x audit.Exchange) {
	if x.Decision.Verdict != authn.Allow {
		return
	}
	if !r.queue.put(Use{Token: x.Decision.APIToken, Second: r.clock.Now().Unix(), From: x.Decision.Client}) {
		r.metrics.lost.Inc()
	}
}

// Run writes until ctx is done, and then what is left, as fast as it can and for as long as it may.
func (r *Recorder) Run(ctx context.Context) {
	var failures int
	for ctx.Err() == nil {
		e, u, idle := r.queue.next(r.clock.Now())
		if e == nil {
			r.wait(ctx, idle, r.queue.wake)
			continue
		}
		began := r.clock.Now()
		result, err := r.try(ctx, u)
		now := r.clock.Now()
		r.queue.tried(e, result, now)
		switch {
		case result != failed:
			failures = 0
		case ctx.Err() == nil:
			if failures++; failures == 1 {
				r.log.Info("Last accesses are not written for now", "reason", err.Error())
			}
		}
		r.wait(ctx, max(spacing-now.Sub(began), backoff(failures)), nil)
	}
	r.flush(context.WithoutCancel(ctx))
}

// backoff is for how long nothing is written after failures in a row.
func backoff(failures int) time.Duration {
	if failures == 0 {
		return 0
	}
	return min(backoffInitial<<min(failures-1, 10), backoffCap)
}

func (r *Recorder) wait(ctx context.Context, d time.Duration, wake <-chan struct{}) {
	if d <= 0 {
		return
	}
	timer := r.clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C():
	case <-wake:
	}
}

func (r *Recorder) try(ctx context.Context, u Use) (result, error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	err := r.write(ctx, u)
	result := failed
	switch {
	case err == nil:
		result = written
	case errors.Is(err, ErrRefused):
		result = refused
	case errors.Is(err, ErrGone):
		result = gone
	}
	r.metrics.writes.WithLabelValues(string(result)).Inc()
	return result, err
}

// flush writes what is left, without a limit but that of time. What fails is tried again.
func (r *Recorder) flush(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, r.flushTimeout)
	defer cancel()
	left := r.queue.takeAll()
	for len(left) > 0 && ctx.Err() == nil {
		if left = r.writeAll(ctx, left); len(left) > 0 {
			r.wait(ctx, flushPause, nil)
		}
	}
	if len(left) > 0 {
		r.metrics.lost.Add(float64(len(left)))
		r.log.Info("Last accesses were lost: the API server did not take them in time", "count", len(left))
	}
}

// writeAll returns those that could not be written.
func (r *Recorder) writeAll(ctx context.Context, uses []Use) (left []Use) {
	var (
		writers sync.WaitGroup
		mu      sync.Mutex
		queue   = make(chan Use, len(uses))
	)
	for _, u := range uses {
		queue <- u
	}
	close(queue)
	for range flushWriters {
		writers.Go(func() {
			for u := range queue {
				if result, _ := r.try(ctx, u); result == failed {
					mu.Lock()
					left = append(left, u)
					mu.Unlock()
				}
			}
		})
	}
	writers.Wait()
	return left
}
