package selfservice

import (
	"context"
	"sync"
	"time"

	"apitokens.dev/operator/internal/authn"
)

const (
	// maxAsking is how many questions the product of a site is asked at once: as many as there are connections to it.
	maxAsking = 4
	// maxWaiting is how many more may wait for their turn. Further ones are told at once: they would only wait in vain.
	maxWaiting = 60
	// complaintPeriod is how often it is logged that products do not answer.
	complaintPeriod = 10 * time.Second
)

// turns bounds what products are asked. One that hangs holds up the users of its own site, and no others. The zero value is
// ready for use.
type turns struct {
	mu sync.Mutex
	of map[authn.SiteName]*queue
	// complained is when it was last logged that a product does not answer.
	complained time.Time
}

// queue is that of one site, for as long as anybody asks or waits.
type queue struct {
	slots chan struct{}
	users int
}

// take waits for a turn, which ends with done. There is none if too many wait already, or the time is over before.
func (t *turns) take(ctx context.Context, site authn.SiteName) (done func(), ok bool) {
	q := t.enter(site)
	if q == nil {
		return nil, false
	}
	select {
	case q.slots <- struct{}{}:
		return func() {
			<-q.slots
			t.leave(site, q)
		}, true
	case <-ctx.Done():
		t.leave(site, q)
		return nil, false
	}
}

func (t *turns) enter(site authn.SiteName) *queue {
	t.mu.Lock()
	defer t.mu.Unlock()
	q := t.of[site]
	switch {
	case q == nil:
		q = &queue{slots: make(chan struct{}, maxAsking)}
		if t.of == nil {
			t.of = map[authn.SiteName]*queue{}
		}
		t.of[site] = q
	case q.users == maxAsking+maxWaiting:
		return nil
	}
	q.users++
	return q
}

func (t *turns) leave(site authn.SiteName, q *queue) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if q.users--; q.users == 0 {
		delete(t.of, site)
	}
}

// complains reports whether it is time to log again that a product does not answer: strangers can make it fail as often as they like.
func (t *turns) complains(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.complained) < complaintPeriod {
		return false
	}
	t.complained = now
	return true
}
