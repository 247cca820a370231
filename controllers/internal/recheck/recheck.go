// Package recheck has a controller look again at what nothing reports: at an even pace over all objects, the one that waited
// longest first.
package recheck

import (
	"context"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"apitokens.dev/operator/controllers/internal/watch"
)

// step is the time between two shares of a round.
const step = time.Second

// Pace says how often objects come up.
type Pace struct {
	// Period is the time between two looks at the same object, if there are few.
	Period time.Duration
	// PerSecond is how many come up in a second, if there are many. Then the period is their number divided by PerSecond.
	PerSecond int
}

// Round is a queue of names. Each second its share comes up: those at the front. A name that came up does not come up again before it is
// added again, and until then its wait goes on. So remove the name of an object that is gone. The methods may run at the same time.
type Round struct {
	clock clock.WithTicker
	pace  Pace
	due   chan watch.Due

	mu sync.Mutex
	// at has where in all a name is. There may be very many names, so each is one text and the list has no pointers.
	at map[string]int32
	// all is a list, in which the first one is before the oldest and after the newest. free is one that is not in it, or 0, and its newer
	// one is the next.
	all  []looked
	free int32
	// up has the names that came up, with the time when they were added.
	up map[string]int64
	// share is the part of a name that is left of the shares so far.
	share float64
}

// looked is a name and when it was added, as Unix time in nanoseconds. older and newer are where in Round.all its neighbours are.
type looked struct {
	name         string
	when         int64
	older, newer int32
}

// New returns an empty round.
func New(c clock.WithTicker, pace Pace) *Round {
	return &Round{clock: c, pace: pace, due: make(chan watch.Due), at: map[string]int32{}, all: make([]looked, 1), up: map[string]int64{}}
}

// Add puts a name at the end, wherever it was.
func (r *Round) Add(name types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := name.String()
	r.take(text)
	delete(r.up, text)
	i, newest := r.place(), r.all[0].older
	r.all[i] = looked{name: text, when: r.clock.Now().UnixNano(), older: newest}
	r.all[newest].newer, r.all[0].older = i, i
	r.at[text] = i
}

// place returns one of all that is not in the list. The caller holds the lock.
func (r *Round) place() int32 {
	i := r.free
	if i == 0 {
		r.all = append(r.all, looked{})
		return int32(len(r.all) - 1)
	}
	r.free = r.all[i].newer
	return i
}

// Remove forgets a name, in the round or come up.
func (r *Round) Remove(name types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := name.String()
	r.take(text)
	delete(r.up, text)
}

// take takes a name out of the list. The caller holds the lock.
func (r *Round) take(name string) {
	i, ok := r.at[name]
	if !ok {
		return
	}
	gone := r.all[i]
	r.all[gone.older].newer, r.all[gone.newer].older = gone.newer, gone.older
	r.all[i], r.free = looked{newer: r.free}, i
	delete(r.at, name)
}

// Next returns the share of a second, and takes it out of the round. Call it once a second.
func (r *Round) Next() []types.NamespacedName {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.share += min(float64(r.pace.PerSecond), float64(len(r.at))*step.Seconds()/r.pace.Period.Seconds())
	var next []types.NamespacedName
	for ; r.share >= 1 && len(r.at) > 0; r.share-- {
		oldest := r.all[r.all[0].newer]
		r.take(oldest.name)
		r.up[oldest.name] = oldest.when
		var n types.NamespacedName
		n.Namespace, n.Name, _ = strings.Cut(oldest.name, "/") // neither has a slash
		next = append(next, n)
	}
	if len(r.at) == 0 {
		r.share = 0
	}
	return next
}

// Oldest returns how long ago the name that waits longest was added, come up or not. It returns 0 if none waits.
func (r *Round) Oldest() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.clock.Now()
	oldest := now.UnixNano()
	if len(r.at) > 0 {
		oldest = min(oldest, r.all[r.all[0].newer].when)
	}
	for _, when := range r.up {
		oldest = min(oldest, when)
	}
	return now.Sub(time.Unix(0, oldest))
}

// Start makes the round until ctx is done.
func (r *Round) Start(ctx context.Context) error {
	ticker := r.clock.NewTicker(step)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C():
		}
		for _, name := range r.Next() {
			select {
			case <-ctx.Done():
				return nil
			case r.due <- watch.Due{Object: name}:
			}
		}
	}
}

// Source has a controller reconcile what comes up.
func (r *Round) Source() source.Source { return watch.Names(r.due, 0) }
