package selfservice

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"apitokens.dev/operator/internal/authn"
)

// logPeriod is the shortest time between two log lines about products that do not answer.
const logPeriod = 10 * time.Second

// asker is the sender of a request to the product: a known session, which the product accepted in the last minutes, or an unknown
// one.
type asker struct {
	known bool
	// flow is the keyed hash of a known session, or the network of an unknown one. Flows take turns.
	flow string
}

// unknownAt returns the asker at an address. A host with IPv6 has a network of 64 bits for itself.
func unknownAt(address netip.Addr) asker {
	if !address.Is6() {
		return asker{flow: address.String()}
	}
	network, _ := address.Prefix(64) // an address of IPv6 always has that many bits
	return asker{flow: network.String()}
}

// productLimiter bounds the requests to each site's product, so that a product that hangs delays only the users of its own
// site, and unknown sessions do not delay known ones. The zero value is ready for use.
type productLimiter struct {
	mu     sync.Mutex
	queues map[authn.SiteName]*queue
	// logged is when logLimited last allowed a line.
	logged time.Time
}

// acquire waits for a slot until ctx is done. The caller must call release. ok is false if there is no slot in time, or if too
// many wait already.
func (l *productLimiter) acquire(ctx context.Context, site authn.SiteName, as asker) (release func(), ok bool) {
	q, w := l.enter(site, as)
	select {
	case <-w.decided:
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !w.granted {
		q.withdraw(w)
		l.tidy(site, q)
		return nil, false
	}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		q.release(w)
		l.tidy(site, q)
	}, true
}

// enter joins the queue of a site.
func (l *productLimiter) enter(site authn.SiteName, as asker) (*queue, *waiter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	q := l.queues[site]
	if q == nil {
		q = &queue{}
		if l.queues == nil {
			l.queues = map[authn.SiteName]*queue{}
		}
		l.queues[site] = q
	}
	return q, q.enter(as)
}

// tidy forgets a queue that is empty. The caller holds the lock.
func (l *productLimiter) tidy(site authn.SiteName, q *queue) {
	if q.empty() && l.queues[site] == q {
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
