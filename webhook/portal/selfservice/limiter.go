package selfservice

import (
	"context"
	"sync"
	"time"

	"apitokens.dev/operator/internal/authn"
)

const (
	// maxConcurrent is how many requests one site's product gets at the same time: one for each connection to it.
	maxConcurrent = 4
	// maxWaiting is how many more may wait. Further ones fail at once, because they would wait in vain.
	maxWaiting = 60
	// logPeriod is the shortest time between two log lines about products that do not answer.
	logPeriod = 10 * time.Second
)

// productLimiter bounds the requests to each site's product, so that a product that hangs delays only the users of its own
// site. The zero value is ready for use.
type productLimiter struct {
	mu     sync.Mutex
	queues map[authn.SiteName]*queue
	// logged is when logLimited last allowed a line.
	logged time.Time
}

// queue holds the requests of one site. It exists while any of them runs or waits.
type queue struct {
	slots chan struct{}
	users int
}

// acquire waits for a free slot until ctx is done. The caller must call release. ok is false if there is no slot in time, or
// if too many wait already.
func (l *productLimiter) acquire(ctx context.Context, site authn.SiteName) (release func(), ok bool) {
	q := l.enter(site)
	if q == nil {
		return nil, false
	}
	select {
	case q.slots <- struct{}{}:
		return func() {
			<-q.slots
			l.leave(site, q)
		}, true
	case <-ctx.Done():
		l.leave(site, q)
		return nil, false
	}
}

// enter returns the queue of a site, or nil if it is full.
func (l *productLimiter) enter(site authn.SiteName) *queue {
	l.mu.Lock()
	defer l.mu.Unlock()
	q := l.queues[site]
	switch {
	case q == nil:
		q = &queue{slots: make(chan struct{}, maxConcurrent)}
		if l.queues == nil {
			l.queues = map[authn.SiteName]*queue{}
		}
		l.queues[site] = q
	case q.users == maxConcurrent+maxWaiting:
		return nil
	}
	q.users++
	return q
}

func (l *productLimiter) leave(site authn.SiteName, q *queue) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if q.users--; q.users == 0 {
		delete(l.queues, site)
	}
}

// logLimited reports whether a failed request may be logged now. Anonymous clients can cause any number of them.
func (l *productLimiter) logLimited(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.logged) < logPeriod {
		return false
	}
	l.logged = now
	return true
}
