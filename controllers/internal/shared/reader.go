package shared

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// getTimeout limits a read, because others wait for its end.
const getTimeout = 10 * time.Second

// Reader reads from the API server. Gets of the same object at the same time share one that began after each of them.
type Reader struct {
	client.Reader

	// mu guards objects.
	mu      sync.Mutex
	objects map[string]*reads
}

// NewReader returns a reader of what from has.
func NewReader(from client.Reader) *Reader {
	return &Reader{Reader: from, objects: map[string]*reads{}}
}

// reads are those of one object. calls is the number of calls that use them.
type reads struct {
	Observations[read]

	calls int
}

// read is the result of a Get.
type read struct {
	object client.Object
	err    error
}

// Get implements client.Reader. Gets with options are not shared.
func (r *Reader) Get(ctx context.Context, name client.ObjectKey, into client.Object, opts ...client.GetOption) error {
	if len(opts) > 0 {
		return r.Reader.Get(ctx, name, into, opts...)
	}
	key := fmt.Sprintf("%T/%s/%s", into, into.GetObjectKind().GroupVersionKind(), name)
	got := r.use(key).Do(0, func() (read, bool) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), getTimeout)
		defer cancel()
		object := into.DeepCopyObject().(client.Object) //nolint:forcetypeassert // so is into
		err := r.Reader.Get(ctx, name, object)
		return read{object, err}, true // an error does not depend on who asks
	})
	r.release(key)
	if got.err != nil {
		return got.err
	}
	reflect.ValueOf(into).Elem().Set(reflect.ValueOf(got.object.DeepCopyObject()).Elem())
	return nil
}

// use returns the reads of an object, which release gives back.
func (r *Reader) use(key string) *reads {
	r.mu.Lock()
	defer r.mu.Unlock()
	of := r.objects[key]
	if of == nil {
		of = &reads{}
		r.objects[key] = of
	}
	of.calls++
	return of
}

func (r *Reader) release(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.objects[key].calls--; r.objects[key].calls == 0 {
		delete(r.objects, key)
	}
}
