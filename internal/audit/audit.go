// Package audit writes the audit lines, one JSON line for each authentication and refusal, and counts them in metrics.
package audit

import (
	"io"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"apitokens.dev/operator/internal/authn"
)

const (
	// maxPending is enough for one second at 16,000 authentications a second, while a disk is slow. In bytes.
	maxPending = 8 << 20
	// writeSize is how much is worth a write. Less waits for writePeriod.
	writeSize   = 64 << 10
	writePeriod = 200 * time.Millisecond
	// sumPeriod is the time between two sums of the refusals of a flood.
	sumPeriod = time.Second
	// usualLine is longer than most lines.
	usualLine = 1024
)

// Log writes lines and never makes a request wait.
//
// Each authentication gets a line. If too many lines are pending, the line is lost, and counted. Each refusal gets a line too, until
// there are too many, and so does each request that a site observes. Then the log counts them exactly and writes sums.
type Log struct {
	out     io.Writer
	metrics *metrics
	events  chan Event
	// enough receives a value when the pending lines are worth a write.
	enough chan struct{}
	closed sync.Once
	ending chan struct{}
	done   chan struct{}

	mu sync.Mutex
	// pending are lines, one after the other, and written is the memory of those that were pending before.
	pending, written []byte
}

// NewLog starts a log that writes to out until Close.
func NewLog(out io.Writer, r prometheus.Registerer) *Log {
	l := &Log{
		out: out, metrics: newMetrics(r), events: make(chan Event),
		enough: make(chan struct{}, 1), ending: make(chan struct{}), done: make(chan struct{}),
	}
	go l.run()
	return l
}

// Observe counts an exchange and makes its line. It never blocks.
func (l *Log) Observe(x Exchange) {
	of := l.metrics.observe(&x)
	switch {
	case x.Decision.Reason == authn.ReasonNoToken, x.Decision.Reason == authn.ReasonChallenge:
	case x.Decision.Verdict == authn.Allow:
		if !l.add(&x) {
			l.metrics.dropped.Inc()
		}
	default:
		if of.admit(x.Decision.Claimed) && !l.add(&x) {
			of.count()
		}
	}
}

// add makes the line of an exchange. It returns false if there is no room. The request makes its line itself: to wake another
// goroutine for each would take longer.
func (l *Log) add(x *Exchange) bool {
	var memory [usualLine]byte
	line := x.appendTo(memory[:0], time.Now())
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.pending)+len(line) > maxPending {
		return false
	}
	if l.pending = append(l.pending, line...); len(l.pending) >= writeSize {
		select {
		case l.enough <- struct{}{}:
		default:
		}
	}
	return true
}

// Close writes the pending lines and ends the log. Do not call Observe after it.
func (l *Log) Close() {
	l.closed.Do(func() { close(l.ending) })
	<-l.done
}

// run writes until Close.
func (l *Log) run() {
	defer close(l.done)
	write, sum := time.NewTicker(writePeriod), time.NewTicker(sumPeriod)
	defer write.Stop()
	defer sum.Stop()
	for {
		select {
		case <-l.ending:
			l.writeSums()
			return
		case e := <-l.events:
			l.writePending()
			l.write(e.appendTo(nil, time.Now()))
		case <-sum.C:
			l.writeSums()
		case <-l.enough:
			l.writePending()
		case <-write.C:
			l.writePending()
		}
	}
}

// writePending writes the pending lines.
func (l *Log) writePending() {
	l.mu.Lock()
	lines := l.pending
	l.pending, l.written = l.written[:0], nil
	l.mu.Unlock()
	l.write(lines)
	if cap(lines) <= 4*writeSize { // the memory of a jam is freed
		l.written = lines
	}
}

// writeSums writes the pending lines, and the sums of floods.
func (l *Log) writeSums() {
	l.writePending()
	var lines []byte
	for _, t := range l.metrics.take() {
		lines = t.appendTo(lines, time.Now())
	}
	l.write(lines)
}

func (l *Log) write(lines []byte) {
	if len(lines) == 0 {
		return
	}
	if _, err := l.out.Write(lines); err != nil {
		l.metrics.writeErrors.Inc()
	}
}
