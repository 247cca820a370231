package feed

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// source is one kind of object that is listed and watched. It is what a reflector puts its objects into.
type source struct {
	store

	name      string
	reflector *cache.Reflector
	metrics   *metrics
	log       logr.Logger

	synced     chan struct{}
	syncedOnce sync.Once
	// lost is until when the last watch was heard, in nanoseconds, and 0 while one is open.
	lost atomic.Int64
	// beginning says that a watch is open which has not yet told all that there is.
	beginning bool
}

func newSource(
	api client.WithWatch, way *link, name string, list client.ObjectList, object client.Object, s store, scope []client.ListOption, m *metrics, log logr.Logger,
) *source {
	src := &source{store: s, name: name, metrics: m, log: log.WithValues("resource", name), synced: make(chan struct{})}
	src.lost.Store(way.heard.Load())
	m.watchStaleness(name, src.staleness)
	listWatch := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			into, _ := list.DeepCopyObject().(client.ObjectList)
			return into, api.List(ctx, into, append(scope, &client.ListOptions{Raw: &o})...)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			w, err := api.Watch(ctx, list, append(scope, &client.ListOptions{Raw: &o})...)
			if err != nil {
				return nil, err
			}
			if src.beginning = o.SendInitialEvents != nil && *o.SendInitialEvents; !src.beginning {
				src.lost.Store(0)
			}
			return &trackedWatch{Interface: w, ended: func() {
				src.beginning = false
				src.lost.CompareAndSwap(0, way.heard.Load())
			}}, nil
		},
	}
	src.reflector = cache.NewReflectorWithOptions(listWatch, object, src, cache.ReflectorOptions{
		Name: name,
		Backoff: &wait.Backoff{
			Duration: backoffInitial, Cap: backoffCap, Factor: 2, Jitter: 0.2,
			Steps: 1 << 30, // the cap ends the growth, never the attempts
		},
	})
	return src
}

func (s *source) run(ctx context.Context) { s.reflector.RunWithContext(logr.NewContext(ctx, s.log)) }

// staleness is for how long no watch has been open. A connection that is frozen counts as open until the transport
// notices it, and then as lost since it was last heard.
func (s *source) staleness() float64 {
	lost := s.lost.Load()
	if lost == 0 {
		return 0
	}
	return time.Since(time.Unix(0, lost)).Seconds()
}

// Add implements cache.ReflectorStore, as do Update, Delete, Replace and Resync.
func (s *source) Add(object any) error {
	o, ok := object.(client.Object)
	if !ok {
		return fmt.Errorf("feeding %s: unexpected type %T", s.name, object)
	}
	if err := s.put(o); err != nil {
		s.metrics.damaged.WithLabelValues(s.name).Inc()
		s.log.Info("Ignoring a damaged object", "namespace", o.GetNamespace(), "name", o.GetName(), "reason", err.Error())
	}
	return nil
}

// Update replaces an object.
func (s *source) Update(object any) error { return s.Add(object) }

// Delete removes an object.
func (s *source) Delete(object any) error {
	o, ok := object.(client.Object)
	if !ok {
		return fmt.Errorf("feeding %s: unexpected type %T", s.name, object)
	}
	s.remove(keyOf(o))
	return nil
}

// Replace removes what is not in a new list, then puts all of it in. In this order an object that was replaced by
// another of the same name is not taken out again.
func (s *source) Replace(objects []any, _ string) error {
	listed := make(map[key]bool, len(objects))
	for _, object := range objects {
		if o, ok := object.(client.Object); ok {
			listed[keyOf(o)] = true
		}
	}
	for _, k := range s.keys() {
		if !listed[k] {
			s.remove(k)
		}
	}
	for _, object := range objects {
		if err := s.Add(object); err != nil {
			return err
		}
	}
	if s.beginning {
		s.beginning = false
		s.lost.Store(0)
	}
	s.syncedOnce.Do(func() { close(s.synced) })
	return nil
}

// Resync does nothing: what was put in stays.
func (s *source) Resync() error { return nil }

// trackedWatch tells when a watch ends. The reflector stops every watch that it is done with.
type trackedWatch struct {
	watch.Interface
	ended func()
}

// Stop ends the watch.
func (w *trackedWatch) Stop() {
	w.ended()
	w.Interface.Stop()
}
