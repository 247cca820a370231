// Package audit says what happened: one JSON line for each authentication and each refusal, and the metrics.
package audit

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"apitokens.dev/operator/internal/authn"
)

const (
	// queueLength holds a second of 16,000 authentications while the writer waits for a slow disk.
	queueLength = 16_384
	// flushPeriod is how long a line may lie in the buffer.
	flushPeriod = 200 * time.Millisecond
	// sumPeriod is how often the refusals of a flood are told in sum.
	sumPeriod  = time.Second
	bufferSize = 64 << 10
)

// Log writes lines without ever making a request wait. Authentications are told one by one: those that the queue has no
// room for are lost, and counted. Refusals are told one by one too, until they are too many: then they are counted
// exactly, and told in sum.
type Log struct {
	metrics *metrics
	floods  *floods
	queue   chan Exchange
	events  chan Event
	closed  sync.Once
	done    chan struct{}
}

// NewLog starts a log that writes to out until it is closed.
func NewLog(out io.Writer, r prometheus.Registerer) *Log {
	l := &Log{metrics: newMetrics(r), floods: newFloods(), queue: make(chan Exchange, queueLength), events: make(chan Event), done: make(chan struct{})}
	go l.write(out)
	return l
}

// Observe counts an exchange and queues its line. It never blocks.
func (l *Log) Observe(x Exchange) {
	l.metrics.observe(x)
	switch x.Decision.Verdict {
	case authn.Forward:
	case authn.Allow:
		if !l.enqueue(x) {
			l.metrics.dropped.Inc()
		}
	default:
		if c := classOf(x); l.floods.admit(c) && !l.enqueue(x) {
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

// Close writes what is queued and ends the log. Nothing may be observed after it.
func (l *Log) Close() {
	l.closed.Do(func() { close(l.queue) })
	<-l.done
}

func (l *Log) write(out io.Writer) {
	defer close(l.done)
	buffer := bufio.NewWriterSize(&countingWriter{out: out, failed: l.metrics.writeErrors.Inc}, bufferSize)
	lines := slog.New(slog.NewJSONHandler(buffer, nil))
	flush, sum := time.NewTicker(flushPeriod), time.NewTicker(sumPeriod)
	defer flush.Stop()
	defer sum.Stop()
	for {
		select {
		case x, open := <-l.queue:
			if !open {
				l.writeSums(lines)
				_ = buffer.Flush()
				return
			}
			lines.LogAttrs(context.Background(), level(x.Decision.Verdict), message(x), attributes(x)...)
		case e := <-l.events:
			e.write(lines)
			_ = buffer.Flush()
		case <-sum.C:
			l.writeSums(lines)
		case <-flush.C:
			_ = buffer.Flush()
		}
	}
}

func (l *Log) writeSums(lines *slog.Logger) {
	for _, t := range l.floods.take() {
		lines.LogAttrs(context.Background(), level(t.verdict), "Further requests have been refused", t.attributes()...)
	}
}

// countingWriter counts failed writes instead of keeping them: a bufio.Writer would refuse to write ever after.
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
