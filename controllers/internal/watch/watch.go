// Package watch has the sources and predicates of the controllers. An object that is deleted and created again while the watch is
// interrupted arrives as one update with another UID. Every predicate here treats that as a deletion and a creation.
package watch

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// Due is an object that is due for a pass, by its name.
type Due = event.TypedGenericEvent[types.NamespacedName]

// Names has a controller reconcile the objects that come through a channel, with a priority. That of everything that changes is 0.
func Names(due <-chan Due, priority int) source.Source {
	return source.Channel(due, handler.TypedFuncs[types.NamespacedName, reconcile.Request]{
		GenericFunc: func(_ context.Context, e Due, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			request := reconcile.Request{NamespacedName: e.Object}
			if ranked, ok := q.(priorityqueue.PriorityQueue[reconcile.Request]); ok {
				ranked.AddWithOpts(priorityqueue.AddOpts{Priority: &priority}, request)
			} else {
				q.Add(request)
			}
		},
	})
}

// Calls has a controller reconcile what others call for, by name. Calls from before the controller starts wait until it does. The zero
// value is ready.
type Calls struct {
	mu    sync.Mutex
	queue workqueue.TypedRateLimitingInterface[reconcile.Request]
	early []reconcile.Request
}

// For calls for a pass over an object.
func (c *Calls) For(name types.NamespacedName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	request := reconcile.Request{NamespacedName: name}
	switch {
	case c.queue != nil:
		c.queue.Add(request)
	case !slices.Contains(c.early, request):
		c.early = append(c.early, request)
	}
}

// Source hands the calls to a controller.
func (c *Calls) Source() source.Source {
	return source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, request := range c.early {
			queue.Add(request)
		}
		c.queue, c.early = queue, nil
		return nil
	})
}

// Later has a controller reconcile what an object maps to, after a while in which other objects may map to the same.
func Later(after time.Duration, requests handler.MapFunc) handler.EventHandler {
	add := func(ctx context.Context, o client.Object, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
		for _, request := range requests(ctx, o) {
			q.AddAfter(request, after)
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			add(ctx, e.Object, q)
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			add(ctx, e.ObjectOld, q)
			add(ctx, e.ObjectNew, q)
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			add(ctx, e.Object, q)
		},
	}
}

// Replaced reports whether an update shows another object with the same name.
func Replaced(old, now client.Object) bool { return old.GetUID() != now.GetUID() }

// SpecChanged passes changes of the spec, creations and deletions.
func SpecChanged() predicate.Predicate {
	return onUpdate(func(old, now client.Object) bool { return old.GetGeneration() != now.GetGeneration() })
}

// SpecOrMetadataChanged passes changes of the spec, labels and annotations, creations and deletions. It does not pass changes of
// the status.
func SpecOrMetadataChanged() predicate.Predicate {
	return onUpdate(func(old, now client.Object) bool {
		return old.GetGeneration() != now.GetGeneration() || !maps.Equal(old.GetLabels(), now.GetLabels()) ||
			!maps.Equal(old.GetAnnotations(), now.GetAnnotations())
	})
}

// AfterStart passes everything but the objects that existed when the controller started. It is for objects that others depend on: those
// others get their pass at the start anyway.
func AfterStart() predicate.Predicate {
	return predicate.Funcs{CreateFunc: func(e event.CreateEvent) bool { return !e.IsInInitialList }}
}

// VersionChanged passes every change, and not what a new list only repeats.
func VersionChanged() predicate.Predicate {
	return onUpdate(func(old, now client.Object) bool { return old.GetResourceVersion() != now.GetResourceVersion() })
}

// LabelsChanged passes changes of labels, creations and deletions.
func LabelsChanged() predicate.Predicate {
	return onUpdate(func(old, now client.Object) bool { return !maps.Equal(old.GetLabels(), now.GetLabels()) })
}

// Deleted passes deletions only.
func Deleted() predicate.Predicate {
	p := onUpdate(func(client.Object, client.Object) bool { return false })
	p.CreateFunc = func(event.CreateEvent) bool { return false }
	p.GenericFunc = func(event.GenericEvent) bool { return false }
	return p
}

func onUpdate(changed func(old, now client.Object) bool) predicate.Funcs {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return e.ObjectOld == nil || e.ObjectNew == nil || Replaced(e.ObjectOld, e.ObjectNew) || changed(e.ObjectOld, e.ObjectNew)
	}}
}
