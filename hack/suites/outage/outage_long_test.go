//go:build long

package outage_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/hack/lib/rig"
)

// Every outage again, long enough for every backoff to reach its maximum.
func TestLongOutage(t *testing.T) {
	t.Parallel()
	for name, prepare := range outages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := prepare(t)
			newScene(t, o.kubeconfig, 2).survives(o, time.Minute)
		})
	}
}

// During a long outage every answer is right, and the webhook needs no more memory.
func TestLongOutageUnderLoad(t *testing.T) {
	const (
		lasts  = 3 * time.Minute
		points = 9
		rate   = 200 // per second
	)
	o := stopped(t)
	s := newScene(t, o.kubeconfig, 2)
	s.revoke(s.revoked)
	s.awaitRevoked(time.Now(), s.revoked)
	ctx, stop := context.WithTimeout(t.Context(), lasts+time.Minute)
	defer stop()
	load := s.load(ctx, rate)
	defer load.Wait()
	s.logMemory("before")

	o.begin()
	begun := time.Now()
	s.revoke(s.during)
	ticker := time.NewTicker(lasts / points)
	defer ticker.Stop()
	for range points {
		<-ticker.C
		s.expectUnimpaired()
		for _, r := range s.replicas {
			s.expectStale(r, begun)
		}
		s.logMemory(time.Since(begun).Round(time.Second).String())
	}
	o.end()
	ended := time.Now()
	s.revoke(s.after)
	s.awaitRevoked(ended, s.during, s.after)
	s.logMemory("after")
	s.logNoise()

	stop()
	load.Wait()
	t.Logf("%d requests, %d wrong answers", load.requests.Load(), load.wrong.Load())
	if load.wrong.Load() > 0 || load.requests.Load() == 0 {
		t.Errorf("%d of %d answers were wrong", load.wrong.Load(), load.requests.Load())
	}
}

// load sends requests with known answers to every replica in turn.
type load struct {
	sync.WaitGroup
	requests, wrong atomic.Int64
}

func (s *scene) load(ctx context.Context, rate int) *load {
	type question struct {
		replica *rig.Replica
		token   *kubetest.IssuedToken
		want    int
	}
	var round []question
	for _, r := range s.replicas {
		round = append(round, question{r, s.live, http.StatusOK}, question{r, s.revoked, http.StatusUnauthorized})
	}
	l, questions := &load{}, make(chan question)
	l.Go(func() {
		defer close(questions)
		ticker := time.NewTicker(time.Second / time.Duration(rate))
		defer ticker.Stop()
		for i := 0; ; i++ {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				questions <- round[i%len(round)]
			}
		}
	})
	for range 4 {
		l.Go(func() {
			for q := range questions {
				l.requests.Add(1)
				if got := s.ask(q.replica, q.token); got != q.want {
					l.wrong.Add(1)
					s.Errorf("the token %s was answered %d, want %d", q.token.Name, got, q.want)
				}
			}
		})
	}
	return l
}

func (s *scene) logMemory(when string) {
	s.Helper()
	for i, r := range s.replicas {
		bytes, err := r.Memory()
		must(s.T, err)
		s.Logf("%s: replica %d has %.1f MiB", when, i, float64(bytes)/(1<<20))
	}
}

// logNoise counts the log lines of a replica about the outage.
func (s *scene) logNoise() {
	s.Helper()
	for i, r := range s.replicas {
		log, err := r.Log()
		must(s.T, err)
		lines := 0
		for line := range strings.Lines(log) {
			if !strings.Contains(line, `"verdict"`) {
				lines++
			}
		}
		s.Logf("replica %d logged %d lines besides its answers", i, lines)
	}
}
