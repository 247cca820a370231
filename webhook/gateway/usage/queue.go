package usage

import (
	"net/netip"
	"sync"
	"time"

	"apitokens.dev/operator/internal/authn"
)

// Use is one use of a token: in which second, and from where if that is known.
type Use struct {
	Token  authn.APITokenName
	Second int64
	From   netip.Addr
}

// queue keeps the newest use of each token until it is written, and says which is to be written next: what waits longest,
// and none that was tried less than a period ago. Nothing that it does takes longer when there are more tokens, because
// requests wait for its lock.
type queue struct {
	wake chan struct{}

	mu      sync.Mutex
	entries map[string]*entry // by UID
	// due are those that may be tried, cooling those that were, in the order of that. One that is in neither is being
	// written right now.
	due, cooling list
	pending      int
}

// entry is a token that was used lately.
type entry struct {
	// use is the newest one, pending says that it is not written yet.
	use     Use
	pending bool
	tried   time.Time
	next    *entry
}

const (
	// period is how often one token is written at most.
	period = time.Minute
	// maxTokens bounds the memory, some 30 MB, should tokens come and go while nothing can be written.
	maxTokens = 1 << 17
	// maxMoved bounds how long requests wait when many tokens may be tried again at once. Only one at a time is.
	maxMoved = 64
)

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1), entries: map[string]*entry{}} }

// put takes a use in, and reports whether there was room for it.
func (q *queue) put(u Use) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	e := q.entries[u.Token.UID]
	switch {
	case e == nil && len(q.entries) >= maxTokens:
		return false
	case e == nil:
		e = &entry{use: u}
		q.entries[u.Token.UID] = e
		q.due.push(e)
		select {
		case q.wake <- struct{}{}:
		default:
		}
	case u == e.use || u.Second < e.use.Second:
		return true
	}
	e.use = u
	q.mark(e, true)
	return true
}

// next returns what is to be written now, or nil and for how long there is nothing. In that time something new may
// come: it wakes.
func (q *queue) next(now time.Time) (*entry, Use, time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for range maxMoved {
		e := q.cooling.head
		if e == nil || now.Sub(e.tried) < period {
			break
		}
		if q.cooling.pop(); e.pending {
			q.due.push(e)
		} else {
			delete(q.entries, e.use.Token.UID)
		}
	}
	if e := q.due.pop(); e != nil {
		q.mark(e, false)
		return e, e.use, 0
	}
	if e := q.cooling.head; e != nil {
		return nil, Use{}, max(0, period-now.Sub(e.tried))
	}
	return nil, Use{}, period
}

// tried says what became of an entry that next returned.
func (q *queue) tried(e *entry, r result, now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch r {
	case failed:
		q.mark(e, true)
	case gone:
		q.mark(e, false)
	case written, refused:
	}
	e.tried = now
	q.cooling.push(e)
}

// takeAll empties the queue, for when nothing comes any more.
func (q *queue) takeAll() []Use {
	q.mu.Lock()
	defer q.mu.Unlock()
	uses := make([]Use, 0, q.pending)
	for _, e := range q.entries {
		if e.pending {
			uses = append(uses, e.use)
		}
	}
	q.entries, q.due, q.cooling, q.pending = map[string]*entry{}, list{}, list{}, 0
	return uses
}

func (q *queue) size() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.pending
}

// mark keeps count of the entries that are pending. The lock is held.
func (q *queue) mark(e *entry, pending bool) {
	switch {
	case pending && !e.pending:
		q.pending++
	case !pending && e.pending:
		q.pending--
	}
	e.pending = pending
}

// list is a queue of entries, each of which is in one list at most.
type list struct{ head, tail *entry }

func (l *list) push(e *entry) {
	if e.next = nil; l.head == nil {
		l.head = e
	} else {
		l.tail.next = e
	}
	l.tail = e
}

func (l *list) pop() *entry {
	e := l.head
	if e != nil {
		l.head, e.next = e.next, nil
	}
	return e
}
