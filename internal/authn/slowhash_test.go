package authn

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
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

// A request that gives up before its turn leaves the line. Otherwise the line would be full one day, and never end.
func TestRequestsLeaveTheirLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, alice := newSlowHashes(), siteUser{user: "alice"}
		first := h.enter(t.Context(), alice)
		for range maxWaiting {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if h.enter(ctx, alice) != nil {
				t.Error("has its turn although another request has it")
			}
			if cancel(); !errors.Is(ctx.Err(), context.DeadlineExceeded) {
				t.Error("is refused before it waits")
			}
		}
		if h.exit(alice, first); len(h.lines) != 0 {
			t.Errorf("%d lines are left", len(h.lines))
		}
	})
}

// A request that gives up leaves its queue. The others get their slots in the order in which they came, those for guessed users
// last.
func TestRequestsLeaveTheirQueue(t *testing.T) {
	for gone := range 6 {
		synctest.Test(t, func(t *testing.T) {
			var s slots
			served := make(chan int, 6)
			cancels := make([]context.CancelFunc, 6)
			for i := range 6 {
				ctx, cancel := context.WithCancel(t.Context())
				cancels[i] = cancel
				go func() {
					if s.acquire(ctx, i >= 3) {
						served <- i
					}
				}()
				synctest.Wait()
			}
			cancels[gone]()
			synctest.Wait()
			for want := range 6 {
				if want == gone {
					continue
				}
				s.release()
				synctest.Wait()
				select {
				case got := <-served:
					if got != want {
						t.Errorf("without %d: a slot goes to %d, want %d", gone, got, want)
					}
				default:
					t.Errorf("without %d: nobody gets the slot of %d", gone, want)
				}
			}
			if s.release(); s.free != 1 {
				t.Errorf("without %d: %d slots are free, want 1", gone, s.free)
			}
			for _, cancel := range cancels {
				cancel()
			}
		})
	}
}

// lastMoment is done as soon as somebody waits for its end. At that moment a slot becomes free.
type lastMoment struct {
	context.Context
	slots *slots
}

func (l lastMoment) Done() <-chan struct{} {
	l.slots.release()
	return l.Context.Done()
}

// A request that gets a slot in its last moment has it, whichever it notices first. The slot is not lost.
func TestSlotInTheLastMoment(t *testing.T) {
	done, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 { // select chooses by chance
		var s slots
		if !s.acquire(lastMoment{done, &s}, false) {
			t.Fatal("refused although it got a slot")
		}
		if s.release(); s.free != 1 {
			t.Fatalf("%d slots are free, want 1", s.free)
		}
	}
}

// A user counts as guessed for 15 minutes after each wrong text. A right one changes nothing.
func TestGuessed(t *testing.T) {
	guess := time.Unix(1_000, 0)
	for after, want := range map[time.Duration]bool{
		0: true, 15*time.Minute - 1: true, 15 * time.Minute: false, 24 * time.Hour: false,
	} {
		var s slowMemory
		s.remember(mac{1}, true, guess)
		if s.guessed(guess) {
			t.Error("a right text is a guess")
		}
		s.remember(mac{2}, false, guess.Add(-time.Minute))
		s.remember(mac{3}, false, guess)
		if got := s.guessed(guess.Add(after)); got != want {
			t.Errorf("%v after a guess: %t, want %t", after, got, want)
		}
	}
}
