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
	// writeSize is how much one write takes.
	writeSize   = 64 << 10
	writePeriod = 200 * time.Millisecond
	// enoughPieces of writeSize are written at once. Less waits for writePeriod: to wake the writer takes as long as to make ten lines.
	enoughPieces = 8
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
	// enough receives a value when enoughPieces are pending.
	enough chan struct{}
	closed sync.Once
	ending chan struct{}
	done   chan struct{}

	mu sync.Mutex
	pending
}

// pending are the lines that are not written yet, in pieces of up to writeSize. A piece never grows: to copy what it has takes longer than
// to make its lines.
type pending struct {
	// full are pieces with no room for another line, and last is the one that lines are added to. size is that of all of them.
	full [][]byte
	last []byte
	size int
	// free are pieces that were written.
	free [][]byte
}

// maxFree is how many pieces are kept for later lines. The memory of a jam is freed.
const maxFree = enoughPieces

// append appends a line. It reports whether this has made enough pieces full.
func (p *pending) append(line []byte) (enough bool) {
	if len(p.last)+len(line) > cap(p.last) && len(p.last) > 0 {
		p.full, p.last = append(p.full, p.last), nil
		enough = len(p.full) >= enoughPieces
	}
	if p.last == nil {
		p.last = p.piece()
	}
	p.last = append(p.last, line...)
	p.size += len(line)
	return enough
}

// piece returns an empty piece.
func (p *pending) piece() []byte {
	end := len(p.free) - 1
	if end < 0 {
		return make([]byte, 0, writeSize)
	}
	empty := p.free[end]
	p.free = p.free[:end]
	return empty
}

// take returns all pieces, which are no longer pending.
func (p *pending) take() [][]byte {
	all := p.full
	if len(p.last) > 0 {
		all = append(all, p.last)
	}
	p.full, p.last, p.size = nil, nil, 0
	return all
}

// put keeps the memory of a piece that was written.
func (p *pending) put(written []byte) {
	if len(p.free) < maxFree && cap(written) == writeSize {
		p.free = append(p.free, written[:0])
	}
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

// Observe counts an exchange and makes its line. It never blocks, and does not keep the exchange.
func (l *Log) Observe(x *Exchange) {
	of := l.metrics.observe(x)
	switch {
	case x.Decision.Reason == authn.ReasonNoToken, x.Decision.Reason == authn.ReasonChallenge:
	case x.Decision.Verdict == authn.Allow:
		if !l.add(x, of) {
			l.metrics.dropped.Inc()
		}
	default:
		if of.admit(x.Decision.Claimed) && !l.add(x, of) {
			of.count()
		}
	}
}

// add makes the line of an exchange. It returns false if there is no room. The request makes its line itself: to wake another
// goroutine for each would take longer.
func (l *Log) add(x *Exchange, of *counted) bool {
	var memory [usualLine]byte
	line := x.appendTo(memory[:0], &of.words)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size+len(line) > maxPending {
		return false
	}
	if l.append(line) {
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
	pieces := l.take()
	l.mu.Unlock()
	for _, lines := range pieces {
		l.write(lines)
		l.mu.Lock()
		l.put(lines)
		l.mu.Unlock()
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
