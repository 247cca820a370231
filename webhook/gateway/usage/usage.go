// Package usage writes when and from where each token was last used into the status of its APIToken.
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
	// spacing limits one replica to 50 writes a second. Writes do not overlap, so a slow API server gets fewer.
	spacing = 20 * time.Millisecond
	// writeTimeout bounds one write.
	writeTimeout = 10 * time.Second
	// backoffInitial and backoffCap bound the pause after failures in a row: then the API server is probably away.
	backoffInitial = time.Second
	backoffCap     = 30 * time.Second
	// flushWriters is the number of parallel writers at the end of the process. They try failed writes again after
	// flushPause.
	flushWriters = 16
	flushPause   = 200 * time.Millisecond
)

// Recorder keeps the last use of each token until it is written. Requests never wait for a write.
type Recorder struct {
	write        Writer
	clock        clock.Clock
	flushTimeout time.Duration
	queue        *queue
	metrics      *metrics
	log          logr.Logger
}

// NewRecorder returns a Recorder that calls write while it runs, and for flushTimeout after that.
func NewRecorder(write Writer, c clock.Clock, flushTimeout time.Duration, log logr.Logger, r prometheus.Registerer) *Recorder {
	q := newQueue()
	return &Recorder{write: write, clock: c, flushTimeout: flushTimeout, queue: q, metrics: newMetrics(r, q), log: log}
}

// Observe records the use of a token. It ignores exchanges that used none, and keeps none.
func (r *Recorder) Observe(x *audit.Exchange) {
	if x.Decision.Verdict != authn.Allow {
		return
	}
	if !r.queue.put(Use{Token: x.Decision.APIToken, Second: x.At.Unix(), From: x.Decision.Client}) {
		r.metrics.lost.Inc()
	}
}

// Run writes until ctx is done. Then it writes the rest as fast as possible, for at most flushTimeout.
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
		if r.queue.tried(e, result, now) {
			r.log.Info("The last access of a token cannot be written", "namespace", u.Token.Namespace, "name", u.Token.Name, "reason", err.Error())
		}
		switch {
		case result != failed:
			failures = 0
		case ctx.Err() == nil:
			if failures++; failures == 1 {
				r.log.Info("Last accesses cannot be written for now", "reason", err.Error())
			}
		}
		r.wait(ctx, max(spacing-now.Sub(began), backoff(failures)), nil)
	}
	r.flush(context.WithoutCancel(ctx))
}

// backoff returns the pause after a number of failures in a row.
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
	case errors.Is(err, ErrRejected):
		result = rejected
	}
	r.metrics.writes.WithLabelValues(string(result)).Inc()
	return result, err
}

// flush writes the remaining uses, without the limit of writes a second. It tries failed writes again.
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

// writeAll writes uses and returns those that failed.
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
				switch result, _ := r.try(ctx, u); result {
				case rejected:
					r.metrics.lost.Inc()
				case failed:
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
