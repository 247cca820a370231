// Package recheck has a controller look again at what nothing reports: at an even pace over all objects, the one that waited
// longest first.
package recheck

import (
	"context"
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

// Round is a queue of names. Each second its share comes up: those at the front. A name that came up is not in the round until it
// is added again, so one of an object that is gone is forgotten. The methods may run at the same time.
type Round struct {
	clock clock.WithTicker
	pace  Pace
	due   chan watch.Due

	mu sync.Mutex
	at map[types.NamespacedName]*looked
	// ends is before the oldest and after the newest. There may be very many names, so the list is no package's.
	ends looked
	// share is the part of a name that is left of the shares so far.
	share float64
}

// looked is a name and when it was added, as Unix time in nanoseconds.
type looked struct {
	name         types.NamespacedName
	when         int64
	older, newer *looked
}

// New returns an empty round.
func New(c clock.WithTicker, pace Pace) *Round {
	r := &Round{clock: c, pace: pace, due: make(chan watch.Due), at: map[types.NamespacedName]*looked{}}
	r.ends.older, r.ends.newer = &r.ends, &r.ends
	return r
}

// Add puts a name at the end, wherever it was.
func (r *Round) Add(name types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.remove(name)
	l := &looked{name: name, when: r.clock.Now().UnixNano(), older: r.ends.older, newer: &r.ends}
	l.older.newer, l.newer.older = l, l
	r.at[name] = l
}

// Remove takes a name out.
func (r *Round) Remove(name types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.remove(name)
}

// remove takes a name out. The caller holds the lock.
func (r *Round) remove(name types.NamespacedName) {
	if l := r.at[name]; l != nil {
		l.older.newer, l.newer.older = l.newer, l.older
		delete(r.at, name)
	}
}

// Next returns the share of a second, and takes it out of the round. Call it once a second.
func (r *Round) Next() []types.NamespacedName {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.share += min(float64(r.pace.PerSecond), float64(len(r.at))*step.Seconds()/r.pace.Period.Seconds())
	var next []types.NamespacedName
	for ; r.share >= 1 && len(r.at) > 0; r.share-- {
		name := r.ends.newer.name
		r.remove(name)
		next = append(next, name)
	}
	if len(r.at) == 0 {
		r.share = 0
	}
	return next
}

// Oldest returns how long ago the name at the front was added. It returns 0 for an empty round.
func (r *Round) Oldest() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.at) == 0 {
		return 0
	}
	return r.clock.Since(time.Unix(0, r.ends.newer.when))
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
