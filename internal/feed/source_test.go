package feed

import (
	"errors"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"apitokens.dev/operator/internal/authn"
)

// newTestSource keeps the objects by name, in place of an index.
func newTestSource(kept map[string]string) *source {
	return &source{
		name: "test", log: logr.Discard(), synced: make(chan struct{}), metrics: newMetrics(prometheus.NewRegistry(), authn.NewIndex(time.Now)),
		store: &typed[*corev1.Secret, string]{
			known: map[types.NamespacedName]known[string]{},
			read: func(s *corev1.Secret) (string, func(), error) {
				switch s.Type {
				case "damaged":
					return "", nil, errors.New("damaged")
				case "ended":
					return "", nil, errInactive
				}
				return s.Name, func() { kept[s.Name] = string(s.UID) }, nil
			},
			forget: func(name string) { delete(kept, name) },
		},
	}
}

// put puts an object into a store.
func put(s store, o client.Object) error {
	p := s.parse(o)
	p.apply()
	return p.err
}

func object(name, uid, is string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(uid)}, Type: corev1.SecretType(is)}
}

// relist gives a source a new list, of which the first objects arrived one by one before.
func relist(s *source, arrived int, objects ...any) error {
	for i := range arrived {
		var err error
		if objects[i], err = s.Transformer()(objects[i]); err != nil {
			return err
		}
	}
	return s.Replace(objects, "")
}

func TestSource(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*source) error
		want   map[string]string
	}{
		"added":                {func(s *source) error { return s.Add(object("c", "3", "")) }, map[string]string{"a": "1", "b": "2", "c": "3"}},
		"deleted":              {func(s *source) error { return s.Delete(object("a", "1", "")) }, map[string]string{"b": "2"}},
		"damaged":              {func(s *source) error { return s.Update(object("a", "1", "damaged")) }, map[string]string{"b": "2"}},
		"ended":                {func(s *source) error { return s.Update(object("a", "1", "ended")) }, map[string]string{"b": "2"}},
		"unknown":              {func(s *source) error { return s.Delete(object("x", "9", "")) }, map[string]string{"a": "1", "b": "2"}},
		"resynced":             {(*source).Resync, map[string]string{"a": "1", "b": "2"}},
		"relisted without one": {func(s *source) error { return relist(s, 0, object("b", "2", "")) }, map[string]string{"b": "2"}},
		"relisted with a successor of the same name": {func(s *source) error {
			return relist(s, 0, object("a", "7", ""), object("b", "2", ""))
		}, map[string]string{"a": "7", "b": "2"}},
		"relisted one by one without one": {func(s *source) error { return relist(s, 1, object("b", "2", "")) }, map[string]string{"b": "2"}},
		"relisted one by one with a successor": {func(s *source) error {
			return relist(s, 2, object("a", "7", ""), object("b", "2", ""))
		}, map[string]string{"a": "7", "b": "2"}},
		"relisted one by one with a damaged successor": {func(s *source) error {
			return relist(s, 2, object("a", "7", "damaged"), object("b", "2", ""))
		}, map[string]string{"b": "2"}},
		"arrived, and the list was not completed": {func(s *source) error {
			_, err := s.Transformer()(object("c", "3", ""))
			return err
		}, map[string]string{"a": "1", "b": "2", "c": "3"}},
		"arrived, and deleted when the list came": {func(s *source) error {
			_, err := s.Transformer()(object("c", "3", ""))
			return errors.Join(err, relist(s, 1, object("a", "1", "")))
		}, map[string]string{"a": "1"}},
		"relisted empty": {func(s *source) error { return s.Replace(nil, "") }, map[string]string{}},
	} {
		kept := map[string]string{}
		s := newTestSource(kept)
		if err := s.Replace([]any{object("a", "1", ""), object("b", "2", "")}, ""); err != nil {
			t.Fatal(err)
		}
		if err := tc.change(s); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tc.want, kept); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestSourceRefusesOtherTypes(t *testing.T) {
	s := newTestSource(map[string]string{})
	if s.Add("x") == nil || s.Delete("x") == nil || s.Replace([]any{object("a", "1", ""), "x"}, "") == nil {
		t.Error("something that is no object was taken")
	}
	select {
	case <-s.synced:
		t.Error("synced by a list that could not be read")
	default:
	}
}

// A watch that begins with all existing objects is fresh only after all of them were put in.
func TestSourceIsFreshAfterTheInitialObjects(t *testing.T) {
	s := newTestSource(map[string]string{})
	s.lost.Store(1)
	s.listing = true
	if err := s.Add(object("a", "1", "")); err != nil || s.staleness() == 0 {
		t.Errorf("fresh while the watch begins, %v", err)
	}
	if err := s.Replace([]any{object("a", "1", "")}, ""); err != nil || s.staleness() != 0 {
		t.Errorf("stale although all was put in, %v", err)
	}
	s.lost.Store(1)
	if err := s.Replace(nil, ""); err != nil || s.staleness() == 0 {
		t.Errorf("fresh by a list alone, %v", err)
	}
}
