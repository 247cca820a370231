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

// source lists and watches one kind of object. It is the store of a reflector.
type source struct {
	store

	name      string
	reflector *cache.Reflector
	metrics   *metrics
	log       logr.Logger

	// synced is closed when the first list is complete.
	synced     chan struct{}
	syncedOnce sync.Once
	// lost is the time at which the last watch was heard from, as Unix time in nanoseconds. It is 0 while a watch is open.
	lost atomic.Int64
	// listing says that the open watch has not yet sent all existing objects.
	listing bool
}

// resource is a kind of object to list and watch, and the store to put it into.
type resource struct {
	name   string
	list   client.ObjectList
	object client.Object
	store  store
	scope  []client.ListOption
}

func newSource(api client.WithWatch, tracker *connTracker, r resource, m *metrics, log logr.Logger) *source {
	src := &source{store: r.store, name: r.name, metrics: m, log: log.WithValues("resource", r.name), synced: make(chan struct{})}
	src.lost.Store(tracker.heard.Load())
	m.watch(r.name, src.staleness)
	listWatch := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			into, _ := r.list.DeepCopyObject().(client.ObjectList)
			return into, api.List(ctx, into, append(r.scope, &client.ListOptions{Raw: &o})...)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			w, err := api.Watch(ctx, r.list, append(r.scope, &client.ListOptions{Raw: &o})...)
			if err != nil {
				return nil, err
			}
			if src.listing = o.SendInitialEvents != nil && *o.SendInitialEvents; !src.listing {
				src.lost.Store(0)
			}
			return &trackedWatch{Interface: w, ended: func() {
				src.listing = false
				src.lost.CompareAndSwap(0, tracker.heard.Load())
			}}, nil
		},
	}
	src.reflector = cache.NewReflectorWithOptions(listWatch, r.object, src, cache.ReflectorOptions{
		Name: r.name,
		Backoff: &wait.Backoff{
			Duration: backoffInitial, Cap: backoffCap, Factor: 2, Jitter: 0.2,
			Steps: 1 << 30, // the cap ends the growth, never the attempts
		},
	})
	return src
}

func (s *source) run(ctx context.Context) { s.reflector.RunWithContext(logr.NewContext(ctx, s.log)) }

// staleness returns the time without an open watch, in seconds. A frozen connection counts as open until the transport
// notices it, and then as lost since it was last heard from.
func (s *source) staleness() float64 {
	lost := s.lost.Load()
	if lost == 0 {
		return 0
	}
	return time.Since(time.Unix(0, lost)).Seconds()
}

// Transformer implements cache.TransformingStore: the objects of an initial list go into the index as they arrive, and the reflector
// keeps only their marks. None of them is older than what the index has.
func (s *source) Transformer() cache.TransformFunc {
	return func(object any) (any, error) {
		if o, ok := object.(client.Object); ok {
			return s.put(o), nil
		}
		return object, nil
	}
}

// put puts an object into the index.
func (s *source) put(o client.Object) mark {
	slim(o)
	p := s.parse(o)
	p.apply()
	if p.err != nil {
		s.metrics.damaged.WithLabelValues(s.name).Inc()
		s.log.Info("Ignoring a damaged object", "namespace", p.Namespace, "name", p.Name, "reason", p.err.Error())
	}
	return s.mark(p.key)
}

// errType says that something is no object.
func (s *source) errType(object any) error {
	return fmt.Errorf("feeding %s: unexpected type %T", s.name, object)
}

// Add implements cache.ReflectorStore, as do Update, Delete, Replace and Resync.
func (s *source) Add(object any) error {
	o, ok := object.(client.Object)
	if !ok {
		return s.errType(object)
	}
	s.put(o)
	return nil
}

// Update replaces an object.
func (s *source) Update(object any) error { return s.Add(object) }

// Delete removes an object.
func (s *source) Delete(object any) error {
	o, ok := object.(client.Object)
	if !ok {
		return s.errType(object)
	}
	s.remove(keyOf(o))
	return nil
}

// Replace puts in a new list, then removes the objects that are not in it. It gets marks of what Transformer has put in.
func (s *source) Replace(objects []any, _ string) error {
	list := make(map[mark]bool, len(objects))
	for _, object := range objects {
		switch o := object.(type) {
		case mark:
			list[o] = true
		case client.Object:
			list[s.put(o)] = true
		default:
			return s.errType(object)
		}
	}
	s.retain(list)
	if s.listing {
		s.listing = false
		s.lost.Store(0)
	}
	s.syncedOnce.Do(func() { close(s.synced) })
	return nil
}

// Resync does nothing: objects stay until they are removed.
func (s *source) Resync() error { return nil }

// trackedWatch calls ended when the watch ends. The reflector stops every watch that it has finished with.
type trackedWatch struct {
	watch.Interface
	ended func()
}

// Stop ends the watch.
func (w *trackedWatch) Stop() {
	w.ended()
	w.Interface.Stop()
}
