package apitoken

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/internal/watch"
)

// found has the names of the APITokens that existed when the controller started, until it looks at them. Its first look reads no
// Secret live: so many at once would burden the API server, and the round of rechecks comes to each in its time.
type found struct {
	mu    sync.Mutex
	names map[types.NamespacedName]struct{}
	// done is called when the last of them was looked at, if it is not nil.
	done func()
}

func (f *found) add(name types.NamespacedName) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.names[name] = struct{}{}
}

// take reports whether a name is there, and removes it. There is none in nil.
func (f *found) take(name types.NamespacedName) bool {
	if f == nil {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	_, is := f.names[name]
	delete(f.names, name)
	if is && len(f.names) == 0 && f.done != nil {
		go f.done()
	}
	return is
}

// changed passes what a pass is made for, and notes the APITokens of the initial list. One that changes before its first look is looked
// at as any other.
func (r *Reconciler) changed() predicate.Predicate {
	return predicate.And(watch.SpecOrMetadataChanged(), predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool {
			if e.IsInInitialList {
				r.found.add(client.ObjectKeyFromObject(e.Object))
			}
			return true
		},
		UpdateFunc: func(e event.UpdateEvent) bool {
			r.found.take(client.ObjectKeyFromObject(e.ObjectNew))
			return true
		},
		DeleteFunc: func(e event.DeleteEvent) bool {
			r.found.take(client.ObjectKeyFromObject(e.Object))
			return true
		},
	})
}

// asFound looks at an APIToken as if its Secret were as the status says. It returns false if there is anything to do, or anything
// that a pass would say otherwise.
func (r *Reconciler) asFound(ctx context.Context, t *tokensv1alpha1.APIToken) (o outcome, as bool, err error) {
	s, err := r.observeWith(ctx, t, r.Client, assumeSecret)
	if err != nil {
		return outcome{}, false, err
	}
	o = outcome{state: s.state, decision: decide(s.state)}
	as = (o.decision.step == settled || o.decision.step == blocked && !o.waits()) && equality.Semantic.DeepEqual(r.status(t, o), t.Status)
	return o, as, nil
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
