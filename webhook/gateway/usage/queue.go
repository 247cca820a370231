package usage

import (
	"net/netip"
	"sync"
	"time"

	"apitokens.dev/operator/internal/authn"
)

// Use is one use of a token. Second is in Unix time. From is the zero Addr if unknown.
type Use struct {
	Second int64
	From   netip.Addr
	Token  authn.APITokenName
}

// queue keeps the newest use of each token until it is written. The next one to write is the one that has waited longest and
// was not tried within the last period. After each rejection in a row, the period of a token doubles, up to 16 minutes.
//
// Requests wait for its lock, so no operation takes longer when there are more tokens.
type queue struct {
	// wake receives a value when a new entry is due.
	wake chan struct{}
	// repeats has the last use of busy tokens, so that the same use again does not take the lock.
	repeats *repeats

	mu      sync.Mutex
	entries map[string]*entry // by UID
	// due has the entries that may be tried. cooling has those that were tried, oldest first, by the number of rejections in
	// a row. An entry in no list is being written.
	due     list
	cooling [maxRejections + 1]list
	// pending is the number of entries that are pending.
	pending int
}

// entry is a token that was used lately.
type entry struct {
	// use is the newest use. pending says that it is not written yet.
	use     Use
	pending bool
	tried   time.Time
	// rejections counts rejections in a row, up to maxRejections.
	rejections int
	next       *entry
}

const (
	// period is the minimum time between two writes of one token.
	period = time.Minute
	// maxRejections bounds the pause after rejections: period, doubled so many times.
	maxRejections = 4
	// maxTokens bounds the memory to about 30 MB, in case many tokens are used while nothing can be written.
	maxTokens = 1 << 17
	// maxMoved bounds the time for which requests wait when many entries have cooled.
	maxMoved = 64
)

func newQueue() *queue {
	return &queue{wake: make(chan struct{}, 1), repeats: newRepeats(), entries: map[string]*entry{}}
}

// put adds a use. It returns false if there is no room.
func (q *queue) put(u Use) bool {
	last, use := q.repeats.of(&u)
	if last.Load() == use {
		return true
	}
	ok := q.putNew(u)
	if ok {
		last.Store(use)
	}
	return ok
}

// putNew adds a use that repeats does not know.
func (q *queue) putNew(u Use) bool {
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
	case u.Second < e.use.Second, u.Second == e.use.Second && u.From == e.use.From: // a UID has one name
		return true
	}
	e.use = u
	q.mark(e, true)
	return true
}

// next returns the entry to write now. If there is none, it returns nil and the time until the next one. A new use may come
// before that, and sends to wake.
func (q *queue) next(now time.Time) (*entry, Use, time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	idle := period
	for i := range q.cooling {
		idle = min(idle, q.cool(&q.cooling[i], now, period<<i))
	}
	if e := q.due.pop(); e != nil {
		q.mark(e, false)
		return e, e.use, 0
	}
	return nil, Use{}, idle
}

// cool takes the entries out of a list that were tried at least a pause ago. It returns the time until the next one.
// The caller holds the lock.
func (q *queue) cool(cooling *list, now time.Time, pause time.Duration) time.Duration {
	for range maxMoved {
		e := cooling.head
		if e == nil {
			return pause
		}
		if left := pause - now.Sub(e.tried); left > 0 {
			return left
		}
		if cooling.pop(); e.pending {
			q.due.push(e)
		} else {
			delete(q.entries, e.use.Token.UID)
		}
	}
	return 0
}

// tried records the result for an entry that next returned. It reports whether this is the first rejection in a row.
func (q *queue) tried(e *entry, r result, now time.Time) (first bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch r {
	case failed:
		q.mark(e, true)
	case rejected:
		q.mark(e, true)
		first = e.rejections == 0
		e.rejections = min(e.rejections+1, maxRejections)
	case gone:
		q.mark(e, false)
	case written, refused:
		e.rejections = 0
	}
	e.tried = now
	q.cooling[e.rejections].push(e)
	return first
}

// takeAll empties the queue and returns the pending uses. Call it when no further uses come.
func (q *queue) takeAll() []Use {
	q.mu.Lock()
	defer q.mu.Unlock()
	uses := make([]Use, 0, q.pending)
	for _, e := range q.entries {
		if e.pending {
			uses = append(uses, e.use)
		}
	}
	q.entries, q.due, q.cooling, q.pending = map[string]*entry{}, list{}, [maxRejections + 1]list{}, 0
	return uses
}

func (q *queue) size() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.pending
}

// mark sets pending of an entry and keeps the count. The caller holds the lock.
func (q *queue) mark(e *entry, pending bool) {
	switch {
	case pending && !e.pending:
		q.pending++
	case !pending && e.pending:
		q.pending--
	}
	e.pending = pending
}

// list is a queue of entries. Each entry is in at most one list.
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
