package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	"apitokens.dev/operator/internal/audit"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/webhook/gateway/usage"
)

const (
	// usual is the number of tokens of the figures that name none, and small that of the smallest index.
	usual, small = 100_000, 1_000
	// changesPerSecond is how often the index changes while many decide.
	changesPerSecond = 500
)

// settings are how long to measure. large is the size of the largest index, or 0.
type settings struct {
	rounds   int
	duration time.Duration
	large    int
}

// server does with a decision what a webhook does.
type server struct {
	lines *audit.Log
	uses  *usage.Recorder
}

func newServer() *server {
	written := func(context.Context, usage.Use) error { return nil }
	return &server{
		lines: audit.NewLog(io.Discard, prometheus.NewRegistry()),
		uses:  usage.NewRecorder(written, clock.RealClock{}, 0, logr.Discard(), prometheus.NewRegistry()),
	}
}

// serving returns a function that serves a question once.
func (s *server) serving(w *world, q *authn.Request) func() {
	return func() {
		x := audit.Exchange{Site: jira, Decision: w.Decide(q), Claimed: audit.Claimed{Method: q.Method, Path: q.Target}, Peer: "192.0.2.1:4711"}
		s.lines.Observe(x)
		s.uses.Observe(x)
	}
}

// measure returns the figures.
func measure(s settings) (map[string]float64, error) {
	as := newServer()
	defer as.lines.Close()
	w, err := newWorld(usual)
	if err != nil {
		return nil, err
	}
	if d := w.Decide(w.valid); d.Verdict != authn.Allow {
		return nil, fmt.Errorf("the token is not valid: %s", d.Reason)
	}
	valid, garbage := as.serving(w, w.valid), as.serving(w, ask("alice", "asp_garbage"))
	figures := map[string]float64{
		"index_bytes_per_token": w.bytes, "decide_allocs": testing.AllocsPerRun(1000, valid), "decide_garbage_allocs": testing.AllocsPerRun(1000, garbage),
	}
	medians := interleaved(s.rounds, []func() float64{
		func() float64 { return cpu(s.duration, valid) },
		func() float64 { return cpu(s.duration, garbage) },
		func() float64 { return w.throughput(s.duration, 2) / w.throughput(s.duration, 1) },
	})
	figures["decide_ns"], figures["decide_garbage_ns"], figures["parallel_scaling"] = medians[0], medians[1], medians[2]
	figures["decide_garbage_vs_valid"] = medians[1] / medians[0]
	if s.large > 0 {
		figures["decide_1m_vs_1k"], err = as.growth(s)
	}
	return figures, err
}

// growth returns by how much a decision takes longer in the largest index than in a small one.
func (s *server) growth(of settings) (float64, error) {
	few, err := newWorld(small)
	if err != nil {
		return 0, err
	}
	many, err := newWorld(of.large)
	if err != nil {
		return 0, err
	}
	among, amongFew := s.serving(many, many.valid), s.serving(few, few.valid)
	return interleaved(of.rounds, []func() float64{func() float64 { return cpu(of.duration, among) / cpu(of.duration, amongFew) }})[0], nil
}

// interleaved measures each in turn, for so many rounds, and returns the medians.
func interleaved(rounds int, tried []func() float64) []float64 {
	results := make([][]float64, len(tried))
	for range rounds {
		for i, try := range tried {
			results[i] = append(results[i], try())
		}
	}
	medians := make([]float64, len(tried))
	for i, r := range results {
		slices.Sort(r)
		medians[i] = r[len(r)/2]
	}
	return medians
}

// cpu returns the CPU time of a call in nanoseconds, with the work that it leaves to other goroutines.
func cpu(duration time.Duration, call func()) float64 {
	const batch = 1000
	calls, begun, before := 0, time.Now(), used()
	for time.Since(begun) < duration {
		for range batch {
			call()
		}
		calls += batch
	}
	return float64(used()-before) / float64(calls)
}

// used returns the CPU time of this process so far.
func used() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0 // it fails only for wrong arguments
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// throughput returns the decisions in a second of so many goroutines, while the index changes.
func (w *world) throughput(duration time.Duration, goroutines int) float64 {
	var over atomic.Bool
	var decided atomic.Int64
	var group sync.WaitGroup
	for range goroutines {
		group.Go(func() {
			n := int64(0)
			for ; !over.Load(); n++ {
				w.Decide(w.valid)
			}
			decided.Add(n)
		})
	}
	ticker := time.NewTicker(time.Second / changesPerSecond)
	defer ticker.Stop()
	begun := time.Now()
	for time.Since(begun) < duration {
		<-ticker.C
		w.change()
	}
	over.Store(true)
	took := time.Since(begun)
	group.Wait()
	return float64(decided.Load()) / took.Seconds()
}
