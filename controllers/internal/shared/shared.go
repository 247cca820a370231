// Package shared lets passes that run at the same time share what they ask the API server.
package shared

import "sync"

// Observations lets calls share an observation that began after each of them. So no call rests on anything older than itself, and many
// calls at once cost little more than one. The zero value is ready for use.
type Observations[T any] struct {
	// mu guards the rest.
	mu sync.Mutex
	// next is the observation that begins when last is over, or nil if nobody waits for one.
	next, last *observation[T]
}

// observation is one observation. result and good are set before done is closed.
type observation[T any] struct {
	done   chan struct{}
	result T
	good   bool
}

// Do returns the result of observe, or that of another call if it began after this one and is good. Results that are not good count
// for their own call alone.
func (s *Observations[T]) Do(observe func() (result T, good bool)) T {
	for {
		o, before, own := s.join()
		if own {
			s.make(o, before, observe)
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
func (s *Observations[T]) make(o, before *observation[T], observe func() (T, bool)) {
	defer close(o.done)
	if before != nil {
		<-before.done
	}
	s.mu.Lock()
	s.next = nil
	s.mu.Unlock()
	o.result, o.good = observe()
}
