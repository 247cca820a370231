package selfservice

import "slices"

const (
	// maxConcurrent is how many requests one site's product gets at the same time: one for each connection to it.
	maxConcurrent = 4
	// maxUnknown and maxKnown are how many of those unknown and known sessions may have: neither can take all of them.
	maxUnknown = 2
	maxKnown   = 3
	// maxWaiting is how many more may wait in each lane. Further ones would wait in vain.
	maxWaiting = 64
)

// queue shares the slots of one site's product. Known sessions come first, unknown ones second, and in each lane the flows take
// turns. It is not safe for concurrent use. The zero value is ready for use.
type queue struct{ known, unknown lane }

// lane holds the requests of one kind of asker.
type lane struct {
	running, waiting int
	// flows are those that wait, in the order in which they come next.
	flows []*flow
}

// flow holds the waiting requests of one known session, or of the unknown ones in one network, oldest first.
type flow struct {
	name    string
	waiters []*waiter
}

// waiter is a request that waits for a slot. decided is closed once it has one, or is dropped.
type waiter struct {
	asker

	decided chan struct{}
	granted bool
}

// enter adds a request. It gets a slot at once if one is free.
func (q *queue) enter(as asker) *waiter {
	w := &waiter{asker: as, decided: make(chan struct{})}
	if q.lane(w).add(w) {
		q.grant()
	} else {
		close(w.decided)
	}
	return w
}

func (q *queue) lane(w *waiter) *lane {
	if w.known {
		return &q.known
	}
	return &q.unknown
}

// release gives back the slot of a request.
func (q *queue) release(w *waiter) {
	q.lane(w).running--
	q.grant()
}

// withdraw removes a request that waits no longer.
func (q *queue) withdraw(w *waiter) { q.lane(w).remove(w) }

func (q *queue) empty() bool {
	return q.known.running+q.known.waiting+q.unknown.running+q.unknown.waiting == 0
}

// grant gives the free slots to those whose turn it is.
func (q *queue) grant() {
	for q.known.running+q.unknown.running < maxConcurrent {
		switch {
		case q.known.running < maxKnown && q.known.waiting > 0:
			q.known.next()
		case q.unknown.running < maxUnknown && q.unknown.waiting > 0:
			q.unknown.next()
		default:
			return
		}
	}
}

// add adds a request. If the lane is full, the newest request of the longest flow is dropped for it. It returns false if the
// request's own flow is as long.
func (l *lane) add(w *waiter) bool {
	own := l.flow(w.flow)
	if l.waiting == maxWaiting {
		longest := slices.MaxFunc(l.flows, func(a, b *flow) int { return len(a.waiters) - len(b.waiters) })
		if own != nil && len(own.waiters) == len(longest.waiters) || len(longest.waiters) == 1 {
			return false
		}
		dropped := longest.waiters[len(longest.waiters)-1]
		l.remove(dropped)
		close(dropped.decided)
	}
	if own == nil {
		own = &flow{name: w.flow}
		l.flows = append(l.flows, own)
	}
	own.waiters = append(own.waiters, w)
	l.waiting++
	return true
}

// flow returns the waiting requests of a flow, or nil if there are none.
func (l *lane) flow(name string) *flow {
	if i := slices.IndexFunc(l.flows, func(f *flow) bool { return f.name == name }); i >= 0 {
		return l.flows[i]
	}
	return nil
}

// remove removes a request if it waits.
func (l *lane) remove(w *waiter) {
	f := l.flow(w.flow)
	if f == nil {
		return
	}
	i := slices.Index(f.waiters, w)
	if i < 0 {
		return
	}
	f.waiters = slices.Delete(f.waiters, i, i+1)
	l.waiting--
	if len(f.waiters) == 0 {
		l.flows = slices.DeleteFunc(l.flows, func(o *flow) bool { return o == f })
	}
}

// next gives a slot to the oldest request of the flow whose turn it is. That flow's next turn comes after all others.
func (l *lane) next() {
	f := l.flows[0]
	w := f.waiters[0]
	l.remove(w)
	if len(f.waiters) > 0 {
		l.flows = append(l.flows[1:], f)
	}
	l.running++
	w.granted = true
	close(w.decided)
}
