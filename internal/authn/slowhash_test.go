package authn

import (
	"context"
	"testing"
	"testing/synctest"
)

// The line of a user stays as long as requests wait in it, so that all of them take turns, and then it goes.
func TestLineEndsWithItsLastRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, alice := newSlowHashes(), siteUser{user: "alice"}
		first := h.enter(t.Context(), alice)
		second := make(chan *line)
		go func() { second <- h.enter(t.Context(), alice) }()
		synctest.Wait()
		h.exit(alice, first)
		l := <-second
		if l != first || h.lines[alice] != first {
			t.Errorf("the second request is in the line %p, want %p", l, first)
		}
		if h.exit(alice, l); len(h.lines) != 0 {
			t.Errorf("%d lines are left", len(h.lines))
		}
	})
}

// A request whose time is over when it gets its slot keeps the slot, or gives it to the next. No slot is lost.
func TestNoSlotIsLost(t *testing.T) {
	s := slots{free: 1}
	for range 1000 {
		s.acquire(t.Context(), false)
		ctx, cancel := context.WithCancel(t.Context())
		got := make(chan bool)
		for _, guessed := range []bool{false, true} {
			go func() {
				ok := s.acquire(ctx, guessed)
				if ok {
					s.release()
				}
				got <- ok
			}()
		}
		go cancel()
		s.release()
		<-got
		<-got
		if s.free != 1 || len(s.first)+len(s.last) != 0 {
			t.Fatalf("%d slots are free, and %d requests wait", s.free, len(s.first)+len(s.last))
		}
	}
}
