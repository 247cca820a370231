package shared_test

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"apitokens.dev/operator/controllers/internal/shared"
)

// server answers each Get after a second with the number of the Get, or with an error.
type server struct {
	client.Reader

	mu   sync.Mutex
	gets int
	err  error
}

func (s *server) Get(ctx context.Context, _ client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	s.mu.Lock()
	s.gets++
	into.SetResourceVersion(strconv.Itoa(s.gets))
	into.SetLabels(map[string]string{"a": "b"})
	s.mu.Unlock()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Second):
		return s.err
	}
}

// get reads a Secret, and changes what it got.
func get(ctx context.Context, from client.Reader, name string) (version string, err error) {
	var s corev1.Secret
	err = from.Get(ctx, client.ObjectKey{Namespace: "jira", Name: name}, &s)
	if err == nil {
		s.Labels["a"] = "c"
	}
	return s.ResourceVersion, err
}

// Gets of an object at the same time share one that began after each of them. Each gets an object of its own, and other objects, and
// later Gets, are read by themselves.
func TestGetsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from := &server{}
		reader := shared.NewReader(from)
		var calls sync.WaitGroup
		expect := func(name, want string) {
			calls.Go(func() {
				if got, err := get(t.Context(), reader, name); err != nil || got != want {
					t.Errorf("%s: got Get %s, %v, want %s", name, got, err, want)
				}
			})
		}
		expect("a", "1")
		synctest.Wait()
		for range 20 {
			expect("a", "3")
		}
		synctest.Wait()
		expect("b", "2")
		calls.Wait()
		if got, err := get(t.Context(), reader, "a"); err != nil || got != "4" {
			t.Errorf("later: got Get %s, %v", got, err)
		}
	})
}

// An error is that of all who share the Get, so nobody waits longer for a server that does not answer. That one of them goes away is
// no error of the others.
func TestErrorsAreShared(t *testing.T) {
	out := errors.New("out of order")
	synctest.Test(t, func(t *testing.T) {
		from := &server{err: out}
		reader := shared.NewReader(from)
		var calls sync.WaitGroup
		for range 6 {
			calls.Go(func() {
				if _, err := get(t.Context(), reader, "a"); !errors.Is(err, out) {
					t.Errorf("got %v, want %v", err, out)
				}
			})
			synctest.Wait()
		}
		calls.Wait()
		if from.gets != 2 {
			t.Errorf("%d Gets, want 2", from.gets)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		reader := shared.NewReader(&server{})
		gone, leave := context.WithCancel(t.Context())
		var calls sync.WaitGroup
		for _, ctx := range []context.Context{t.Context(), gone, t.Context()} {
			calls.Go(func() {
				if _, err := get(ctx, reader, "a"); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		leave()
		calls.Wait()
	})
}
