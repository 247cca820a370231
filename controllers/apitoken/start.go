package apitoken

import (
	"context"
	"math/rand/v2"
	"sync"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/source"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/internal/watch"
)

// atOnce is how many of the objects that a controller found may be in its queue. The queue never gives back the memory for its keys.
const atOnce = 256

// found has the names of the objects that existed when a controller started, until it looks at them. They come up in no order, few at a
// time. The round of rechecks goes on in the order of these first looks, so each minute of it has tokens of all namespaces and kinds, and
// costs the API server about the same. The first look at an APIToken reads no Secret live: so many at once would burden the API server, and
// the round of rechecks comes to each in its time.
type found struct {
	mu    sync.Mutex
	names map[types.NamespacedName]struct{}
	// waiting are those that did not come up, beside some that are not in names any more. queued came up.
	waiting []types.NamespacedName
	queued  map[types.NamespacedName]struct{}
	// read are those whose Secret the next look has to read.
	read map[types.NamespacedName]struct{}
	// more has a value if another name may come up. It is nil if none comes up by itself, outside a manager.
	more chan struct{}
	due  chan watch.Due
	// done is called when the last of them was looked at, if it is not nil.
	done func()
}

func newFound(done func()) *found {
	return &found{
		names: map[types.NamespacedName]struct{}{}, queued: map[types.NamespacedName]struct{}{}, read: map[types.NamespacedName]struct{}{},
		more: make(chan struct{}, 1), due: make(chan watch.Due), done: done,
	}
}

func (f *found) add(name types.NamespacedName) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.names[name] = struct{}{}
	if f.more != nil {
		f.waiting = append(f.waiting, name)
		f.signal()
	}
}

// changed notes that the Secret of an object has to be read, maybe before add: two watches report in no order. The next look at it is not
// the first one. A nil found notes nothing.
func (f *found) changed(name types.NamespacedName) {
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.read[name] = struct{}{}
}

// take removes a name, and reports whether the look at it is the first one, which reads nothing live. A nil found has no names.
func (f *found) take(name types.NamespacedName) bool {
	if f == nil {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	_, is := f.names[name]
	_, read := f.read[name]
	delete(f.names, name)
	if delete(f.read, name); read && len(f.read) == 0 {
		f.read = map[types.NamespacedName]struct{}{} // as below
	}
	if _, came := f.queued[name]; came {
		delete(f.queued, name)
		f.signal()
	}
	if is && len(f.names) == 0 {
		f.names, f.waiting = map[types.NamespacedName]struct{}{}, nil // the old ones still have the memory for all
		if f.done != nil {
			go f.done()
		}
	}
	return is && !read
}

// signal tells Start that another name may come up.
func (f *found) signal() {
	select {
	case f.more <- struct{}{}:
	default:
	}
}

// next returns the next name to come up, or false if there is none now.
func (f *found) next() (types.NamespacedName, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.waiting) > 0 && len(f.queued) < atOnce {
		one, last := rand.IntN(len(f.waiting)), len(f.waiting)-1 //nolint:gosec // no secret follows from it
		name := f.waiting[one]
		f.waiting[one], f.waiting = f.waiting[last], f.waiting[:last]
		if _, is := f.names[name]; is {
			f.queued[name] = struct{}{}
			return name, true
		}
	}
	return types.NamespacedName{}, false
}

// Start has the names come up until ctx is done.
func (f *found) Start(ctx context.Context) error {
	for {
		name, ok := f.next()
		if !ok {
			select {
			case <-ctx.Done():
				return nil
			case <-f.more:
			}
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case f.due <- watch.Due{Object: name}:
		}
	}
}

// Source has a controller reconcile what comes up, after everything that changes.
func (f *found) Source() source.Source { return watch.Names(f.due, handler.LowPriority) }

// noted notes the objects of the initial list, which come up by themselves, and passes what changes. An object that changes before its
// first look is looked at as any other.
func (f *found) noted() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool {
			if e.IsInInitialList {
				f.add(client.ObjectKeyFromObject(e.Object))
			}
			return !e.IsInInitialList
		},
		UpdateFunc: func(e event.UpdateEvent) bool {
			f.take(client.ObjectKeyFromObject(e.ObjectNew))
			return true
		},
		DeleteFunc: func(e event.DeleteEvent) bool {
			f.take(client.ObjectKeyFromObject(e.Object))
			return true
		},
	}
}

// changed passes what a pass is made for, and notes the APITokens of the initial list.
func (r *Reconciler) changed() predicate.Predicate {
	return predicate.And(watch.SpecOrMetadataChanged(), r.found.noted())
}

// asFound looks at an APIToken as if its Secret were as the status says. It returns false if there is anything to do, or anything
// that a pass would say otherwise, or if the Secret is known to be gone.
func (r *Reconciler) asFound(ctx context.Context, t *tokensv1alpha1.APIToken) (o outcome, as bool, err error) {
	s, err := r.observeWith(ctx, t, r.Client, written{}, assumeSecret)
	if err != nil {
		return outcome{}, false, err
	}
	o = outcome{state: s.state, decision: decide(s.state)}
	as = o.decision.step == settled && !r.lacksSecret(ctx, t) || o.decision.step == blocked && !o.waits()
	return o, as && equality.Semantic.DeepEqual(r.status(t, o), t.Status), nil
}

// assumeSecret has the Secret of a token be in order.
func assumeSecret(_ context.Context, s *observed) error {
	switch {
	case s.token.Spec.Credential.Imported != nil:
		s.source = &importSource{found: true, held: s.record != nil}
	case s.ofPortal() || s.record == nil || s.site == nil:
	default:
		s.delivered = &delivered{
			basicAuth: true, username: s.token.Spec.User, url: s.site.Spec.BaseURL, tokenID: s.record.TokenID, entry: len(s.record.Entries) - 1,
		}
	}
	return nil
}
