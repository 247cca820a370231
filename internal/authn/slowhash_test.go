package authn

import (
	"testing"
	"testing/synctest"
)

// The line of a user stays as long as requests wait in it, so that all of them take turns, and then it goes.
func TestLineEndsWithItsLastRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, alice := newSlowHashes(), siteUser{user: "alice"}
		first := h.enter(alice)
		second := make(chan *line)
		go func() { second <- h.enter(alice) }()
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
