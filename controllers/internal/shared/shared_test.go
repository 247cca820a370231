package shared

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// While an observation is made, all who come share the next one. None gets one that began before it came.
func TestSharedObservations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Observations[int]
		made, first, wait := 0, make(chan struct{}), make(chan struct{})
		observe := func() (int, bool) {
			if made++; made == 1 {
				close(first)
				<-wait
			}
			return made, true
		}
		var calls sync.WaitGroup
		calls.Go(func() {
			if got := s.Do(0, observe); got != 1 {
				t.Errorf("the first call got observation %d", got)
			}
		})
		<-first
		for range 20 {
			calls.Go(func() {
				if got := s.Do(0, observe); got != 2 {
					t.Errorf("got observation %d, want the one that began after all of them came", got)
				}
			})
		}
		synctest.Wait()
		close(wait)
		calls.Wait()
		if got := s.Do(0, observe); got != 3 || made != 3 {
			t.Errorf("a later call got observation %d of %d, want one of its own", got, made)
		}
	})
}

// A result that is not good is that of its own call. The others make another one.
func TestBadObservationsAreNotShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Observations[int]
		first, wait := make(chan struct{}), make(chan struct{})
		var calls sync.WaitGroup
		calls.Go(func() {
			s.Do(0, func() (int, bool) {
				close(first)
				<-wait
				return -1, true
			})
		})
		<-first
		var mu sync.Mutex
		got := map[int]int{}
		for i := range 5 {
			calls.Go(func() {
				result := s.Do(0, func() (int, bool) { return i, false })
				mu.Lock()
				defer mu.Unlock()
				got[result]++
				if result != i {
					t.Errorf("call %d got the bad result of call %d", i, result)
				}
			})
		}
		synctest.Wait()
		close(wait)
		calls.Wait()
		if len(got) != 5 {
			t.Errorf("results %v", got)
		}
	})
}

// Between two observations there is a rest for which others wait. A call that comes later does not.
func TestObservationsRest(t *testing.T) {
	for name, c := range map[string]struct{ takes, rest time.Duration }{
		"of a quick answer": {5 * time.Millisecond, 15 * time.Millisecond},
		"of a slow answer":  {time.Second, longestRest},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var s Observations[time.Time]
				observe := func() (time.Time, bool) {
					begun := time.Now()
					<-time.After(c.takes)
					return begun, true
				}
				begun := time.Now()
				var calls sync.WaitGroup
				for range 3 {
					calls.Go(func() {
						if got := s.Do(3, observe).Sub(begun); got != 0 && got != c.takes+c.rest {
							t.Errorf("an observation began after %s", got)
						}
					})
				}
				calls.Wait()
				if got := time.Since(begun); got != 2*c.takes+c.rest {
					t.Errorf("all took %s", got)
				}
				<-time.After(c.rest)
				begun = time.Now()
				if got := s.Do(3, observe).Sub(begun); got != 0 {
					t.Errorf("a later one waited for %s", got)
				}
			})
		})
	}
}
