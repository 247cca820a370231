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
	"golang.org/x/time/rate"

	"apitokens.dev/operator/webhook/authn"
	"apitokens.dev/operator/webhook/contract"
)

const (
	// queueLength holds a second of 16,000 authentications while the writer waits for a slow disk.
	queueLength = 16_384
	// flushPeriod is how long a line may lie in the buffer.
	flushPeriod = 200 * time.Millisecond
	bufferSize  = 64 << 10
)

// Log writes lines without ever making a request wait. It is lossless until its queue is full, and counts what it loses.
type Log struct {
	metrics *metrics
	queue   chan contract.Exchange
	closed  sync.Once
	done    chan struct{}
	// undecided limits the lines about callers that are not the site's ingress: anyone inside the cluster can cause them.
	undecided *rate.Limiter
}

// NewLog starts a log that writes to out until it is closed.
func NewLog(out io.Writer, r prometheus.Registerer) *Log {
	l := &Log{
		metrics:   newMetrics(r),
		queue:     make(chan contract.Exchange, queueLength),
		done:      make(chan struct{}),
		undecided: rate.NewLimiter(1, 10),
	}
	go l.write(out)
	return l
}

// Observe counts an exchange and queues its line. It never blocks.
func (l *Log) Observe(x contract.Exchange) {
	l.metrics.observe(x)
	if x.Decision.Verdict == authn.Forward || x.Decision.Verdict == authn.CannotDecide && !l.undecided.Allow() {
		return
	}
	select {
	case l.queue <- x:
	default:
		l.metrics.dropped.Inc()
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
	flush := time.NewTicker(flushPeriod)
	defer flush.Stop()
	for {
		select {
		case x, open := <-l.queue:
			if !open {
				_ = buffer.Flush()
				return
			}
			lines.LogAttrs(context.Background(), level(x), message(x), attributes(x)...)
		case <-flush.C:
			_ = buffer.Flush()
		}
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
