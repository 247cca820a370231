// Package shared lets passes that run at the same time share what they ask the API server.
package shared

import (
	"sync"
	"time"
)

// longestRest limits a rest, because others wait for the next observation.
const longestRest = 100 * time.Millisecond

// Observations lets calls share an observation that began after each of them. So no call rests on anything older than itself, and many
// calls at once cost little more than one. The zero value is ready for use.
type Observations[T any] struct {
	// mu guards the rest.
	mu sync.Mutex
	// next is the observation that begins when last is over, or nil if nobody waits for one.
	next, last *observation[T]
}

// observation is one observation. The rest is set before done is closed.
type observation[T any] struct {
	done   chan struct{}
	result T
	good   bool
	// rested is when the next one may begin.
	rested time.Time
}

// Do returns the result of observe, or that of another call if it began after this one and is good. Results that are not good count
// for their own call alone. After an observation, the next one begins no sooner than in rest times the time that it took.
func (s *Observations[T]) Do(rest int, observe func() (result T, good bool)) T {
	for {
		o, before, own := s.join()
		if own {
			s.make(o, before, rest, observe)
		}
		if <-o.done; own || o.good {
			return o.result
		}
	}
}

// join returns the next observation. own means that the caller has to make it, after the one before.
func (s *Observations[T]) join() (o, before *observation[T], own bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next != nil {
		return s.next, nil, false
	}
	before = s.last
	s.next = &observation[T]{done: make(chan struct{})}
	s.last = s.next
	return s.next, before, true
}

// make makes an observation in its turn. From its beginning on nobody joins it.
func (s *Observations[T]) make(o, before *observation[T], rest int, observe func() (T, bool)) {
	defer close(o.done)
	if before != nil {
		<-before.done
		<-time.After(time.Until(before.rested))
	}
	s.mu.Lock()
	s.next = nil
	s.mu.Unlock()
	begun := time.Now()
	o.result, o.good = observe()
	now := time.Now()
	o.rested = now.Add(min(time.Duration(rest)*now.Sub(begun), longestRest))
}
