// Package audit writes the audit lines, one JSON line for each authentication and refusal, and counts them in metrics.
package audit

import (
	"bufio"
	"io"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"apitokens.dev/operator/internal/authn"
)

const (
	// queueLength is enough for one second at 16,000 authentications a second, while the writer waits for a slow disk.
	queueLength = 16_384
	// flushPeriod is the longest time that a line stays in the buffer.
	flushPeriod = 200 * time.Millisecond
	// sumPeriod is the time between two sums of the refusals of a flood.
	sumPeriod = time.Second
	// bufferSize is in bytes.
	bufferSize = 64 << 10
)

// Log writes lines and never makes a request wait.
//
// Each authentication gets a line. If the queue is full, the line is lost, and counted. Each refusal gets a line too, until
// there are too many, and so does each request that a site observes. Then the log counts them exactly and writes sums.
type Log struct {
	metrics *metrics
	floods  *floods
	queue   chan Exchange
	events  chan Event
	closed  sync.Once
	done    chan struct{}
}

// NewLog starts a log that writes to out until Close.
func NewLog(out io.Writer, r prometheus.Registerer) *Log {
	l := &Log{
		metrics: newMetrics(r), floods: newFloods(),
		queue: make(chan Exchange, queueLength), events: make(chan Event), done: make(chan struct{}),
	}
	go l.write(out)
	return l
}

// Observe counts an exchange and queues its line. It never blocks.
func (l *Log) Observe(x Exchange) {
	l.metrics.observe(x)
	switch {
	case x.Decision.Reason == authn.ReasonNoToken, x.Decision.Reason == authn.ReasonChallenge:
	case x.Decision.Verdict == authn.Allow:
		if !l.enqueue(x) {
			l.metrics.dropped.Inc()
		}
	default:
		if c := classOf(x); l.floods.admit(c, x.Decision.Claimed) && !l.enqueue(x) {
			l.floods.count(c)
		}
	}
}

func (l *Log) enqueue(x Exchange) bool {
	select {
	case l.queue <- x:
		return true
	default:
		return false
	}
}

// Close writes the queued lines and ends the log. Do not call Observe after it.
func (l *Log) Close() {
	l.closed.Do(func() { close(l.queue) })
	<-l.done
}

func (l *Log) write(out io.Writer) {
	defer close(l.done)
	buffer := bufio.NewWriterSize(&countingWriter{out: out, failed: l.metrics.writeErrors.Inc}, bufferSize)
	var line []byte // its memory is used for the next one
	flush, sum := time.NewTicker(flushPeriod), time.NewTicker(sumPeriod)
	defer flush.Stop()
	defer sum.Stop()
	for {
		select {
		case x, open := <-l.queue:
			if !open {
				l.writeSums(buffer, line)
				_ = buffer.Flush()
				return
			}
			line = x.appendTo(line[:0], time.Now())
			_, _ = buffer.Write(line)
		case e := <-l.events:
			line = e.appendTo(line[:0], time.Now())
			_, _ = buffer.Write(line)
			_ = buffer.Flush()
		case <-sum.C:
			line = l.writeSums(buffer, line)
		case <-flush.C:
			_ = buffer.Flush()
		}
	}
}

// writeSums writes the sums of floods. It returns the memory of line, in which it makes each.
func (l *Log) writeSums(buffer *bufio.Writer, line []byte) []byte {
	for _, t := range l.floods.take() {
		line = t.appendTo(line[:0], time.Now())
		_, _ = buffer.Write(line)
	}
	return line
}

// countingWriter counts failed writes and hides them. A bufio.Writer would refuse all writes after a failed one.
type countingWriter struct {
	out    io.Writer
	failed func()
}

func (w *countingWriter) Write(p []byte) (int, error) {
	if _, err := w.out.Write(p); err != nil {
		w.failed()
	}
	return len(p), nil
}
