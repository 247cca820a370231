package main

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
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
	// usual is the number of tokens of the figures that name none. small and large are those of the others.
	usual, small, large = 100_000, 1_000, 1_000_000
	// changesPerSecond is how often the index changes while many decide.
	changesPerSecond = 500
	// scalingRounds is how many rounds of parallel_scaling there are for each of the others.
	scalingRounds = 4
)

// observer does with a decision what a webhook does.
type observer struct {
	lines *audit.Log
	uses  *usage.Recorder
}

func newObserver() *observer {
	written := func(context.Context, usage.Use) error { return nil }
	return &observer{
		lines: audit.NewLog(io.Discard, prometheus.NewRegistry()),
		uses:  usage.NewRecorder(written, clock.RealClock{}, 0, logr.Discard(), prometheus.NewRegistry()),
	}
}

// serving returns a function that serves a question once.
func (o *observer) serving(w *world, q *authn.Request) func() {
	return func() {
		x := audit.Exchange{Site: jira, Decision: w.Decide(q), Claimed: audit.Claimed{Method: q.Method, Path: q.Target}, Peer: "192.0.2.1:4711", At: time.Now()}
		o.lines.Observe(&x)
		o.uses.Observe(&x)
	}
}

// decision is measured in this process, without a network.
var decision = group{
	name: "decision", quick: true, measure: measureDecision,
	figures: []figure{
		{"decide_ns", atMost(900), "CPU time of a valid request among 100,000 tokens"},
		{"decide_allocs", atMost(1), "allocations of it"},
		{"decide_garbage_ns", atMost(300), "CPU time of a token that fails its checksum"},
		{"decide_garbage_allocs", atMost(0), "allocations of it"},
		{"decide_garbage_vs_valid", atMost(0.4), "the second time over the first"},
		{"parallel_scaling", atLeast(1.8), "decisions on two cores over one, while the index changes"},
		{"index_bytes_per_token", atMost(400), "live heap for each of 100,000 tokens"},
	},
}

func measureDecision(b *bench) (map[string]float64, error) {
	as := newObserver()
	defer as.lines.Close()
	w, err := newWorld(usual)
	if err != nil {
		return nil, err
	}
	if d := w.Decide(w.valid); d.Verdict != authn.Allow {
		return nil, fmt.Errorf("the token is not valid: %s", d.Reason)
	}
	valid, garbage := as.serving(w, w.valid), as.serving(w, ask(basic("alice", "asp_garbage")))
	medians := interleaved(b.rounds, []func() float64{
		func() float64 { return cpu(b.duration, valid) },
		func() float64 { return cpu(b.duration, garbage) },
	})
	// Other machines on the host disturb two cores more than one. With more rounds the median varies less.
	scaling := interleaved(scalingRounds*b.rounds, []func() float64{func() float64 { return w.throughput(b.duration, 2) / w.throughput(b.duration, 1) }})
	return map[string]float64{
		"index_bytes_per_token": w.bytes,
		"decide_allocs":         testing.AllocsPerRun(1000, valid),
		"decide_garbage_allocs": testing.AllocsPerRun(1000, garbage),
		"decide_ns":             medians[0], "decide_garbage_ns": medians[1], "parallel_scaling": scaling[0],
		"decide_garbage_vs_valid": medians[1] / medians[0],
	}, nil
}

// growth compares a decision in a large index with one in a small index, in this process.
var growth = group{
	name: "growth", measure: measureGrowth,
	figures: []figure{
		{"decide_1m_vs_1k", atMost(1.5), "a valid request among 1,000,000 tokens over one among 1,000"},
		{"index_bytes_per_token_1m", atMost(400), "live heap for each of 1,000,000 tokens"},
	},
}

func measureGrowth(b *bench) (map[string]float64, error) {
	as := newObserver()
	defer as.lines.Close()
	few, err := newWorld(small)
	if err != nil {
		return nil, err
	}
	many, err := newWorld(large)
	if err != nil {
		return nil, err
	}
	among, amongFew := as.serving(many, many.valid), as.serving(few, few.valid)
	ratio := interleaved(b.rounds, []func() float64{func() float64 { return cpu(b.duration, among) / cpu(b.duration, amongFew) }})[0]
	return map[string]float64{"decide_1m_vs_1k": ratio, "index_bytes_per_token_1m": many.bytes}, nil
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
