package authn

import (
	"context"
	"slices"
	"sync"
)

// slots bound how many slow hashes are computed at once. A free slot goes to the request that came first, but requests for
// users at whom somebody guessed lately come after all others. So guesses at many users delay nobody else.
type slots struct {
	mu   sync.Mutex
	free int
	// first and last wait for a slot, each until its channel is closed. last are those for users at whom somebody guessed.
	first, last []chan struct{}
}

// acquire waits for a slot. It returns false if ctx is done first.
func (s *slots) acquire(ctx context.Context, guessed bool) bool {
	s.mu.Lock()
	if s.free > 0 {
		s.free--
		s.mu.Unlock()
		return true
	}
	queue := s.queue(guessed)
	mine := make(chan struct{})
	*queue = append(*queue, mine)
	s.mu.Unlock()
	select {
	case <-mine:
		return true
	case <-ctx.Done():
		return !s.abandon(queue, mine)
	}
}

func (s *slots) queue(guessed bool) *[]chan struct{} {
	if guessed {
		return &s.last
	}
	return &s.first
}

// abandon takes a request out of its queue. It returns false if the request has got a slot meanwhile.
func (s *slots) abandon(queue *[]chan struct{}, mine chan struct{}) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	waiting := len(*queue)
	*queue = slices.DeleteFunc(*queue, func(other chan struct{}) bool { return other == mine })
	return len(*queue) < waiting
}

// release gives the slot to the next request.
func (s *slots) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, queue := range []*[]chan struct{}{&s.first, &s.last} {
		if len(*queue) > 0 {
			close((*queue)[0])
			*queue = slices.Delete(*queue, 0, 1)
			return
		}
	}
	s.free++
}
