package watch_test

import (
	"context"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/internal/watch"
)

// Whatever a predicate is about, it passes an update that shows another object with the same name.
func TestPredicates(t *testing.T) {
	old := &tokensv1alpha1.APIToken{ObjectMeta: metav1.ObjectMeta{Name: "ci", UID: "1", Generation: 1, ResourceVersion: "1"}}
	changes := map[string]func(*tokensv1alpha1.APIToken){
		"nothing": func(*tokensv1alpha1.APIToken) {}, "UID": func(o *tokensv1alpha1.APIToken) { o.UID = "2" },
		"spec":        func(o *tokensv1alpha1.APIToken) { o.Generation = 2 },
		"labels":      func(o *tokensv1alpha1.APIToken) { o.Labels = map[string]string{"a": "b"} },
		"annotations": func(o *tokensv1alpha1.APIToken) { o.Annotations = map[string]string{"a": "b"} },
		"status":      func(o *tokensv1alpha1.APIToken) { o.ResourceVersion, o.Status.TokenID = "2", "x" },
	}
	for name, tc := range map[string]struct {
		predicate predicate.Predicate
		passes    []string
		creations bool
	}{
		"SpecChanged":           {watch.SpecChanged(), []string{"UID", "spec"}, true},
		"SpecOrMetadataChanged": {watch.SpecOrMetadataChanged(), []string{"UID", "spec", "labels", "annotations"}, true},
		"VersionChanged":        {watch.VersionChanged(), []string{"UID", "status"}, true},
		"LabelsChanged":         {watch.LabelsChanged(), []string{"UID", "labels"}, true},
		"Deleted":               {watch.Deleted(), []string{"UID"}, false},
	} {
		want := map[string]bool{}
		for _, change := range tc.passes {
			want[change] = true
		}
		for change, edit := range changes {
			now := old.DeepCopy()
			edit(now)
			if got := tc.predicate.Update(event.UpdateEvent{ObjectOld: old, ObjectNew: now}); got != want[change] {
				t.Errorf("%s: change of %s: %t", name, change, got)
			}
		}
		if !tc.predicate.Delete(event.DeleteEvent{Object: old}) || tc.predicate.Create(event.CreateEvent{Object: old}) != tc.creations {
			t.Errorf("%s: a deletion or creation is not as wanted", name)
		}
	}
	var other client.Object = old.DeepCopy()
	other.SetUID("2")
	if watch.Replaced(old, old) || !watch.Replaced(old, other) {
		t.Error("another UID is another object")
	}
}

// queue notes what is added to it after a time.
type queue struct {
	workqueue.TypedRateLimitingInterface[reconcile.Request]

	added []string
}

func (q *queue) AddAfter(request reconcile.Request, after time.Duration) {
	q.added = append(q.added, request.Name+" after "+after.String())
}

// What an object maps to is reconciled later, whatever happened to the object. An update maps it as it was, and as it is.
func TestLater(t *testing.T) {
	h := watch.Later(time.Minute, func(_ context.Context, o client.Object) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: types.NamespacedName{Name: o.GetName()}}}
	})
	old, now := &tokensv1alpha1.APIToken{ObjectMeta: metav1.ObjectMeta{Name: "old"}}, &tokensv1alpha1.APIToken{ObjectMeta: metav1.ObjectMeta{Name: "now"}}
	for what, tc := range map[string]struct {
		happens func(*queue)
		want    []string
	}{
		"creation": {func(q *queue) { h.Create(t.Context(), event.CreateEvent{Object: now}, q) }, []string{"now after 1m0s"}},
		"update": {func(q *queue) { h.Update(t.Context(), event.UpdateEvent{ObjectOld: old, ObjectNew: now}, q) }, []string{
			"old after 1m0s", "now after 1m0s",
		}},
		"deletion": {func(q *queue) { h.Delete(t.Context(), event.DeleteEvent{Object: old}, q) }, []string{"old after 1m0s"}},
	} {
		q := &queue{}
		if tc.happens(q); !slices.Equal(q.added, tc.want) {
			t.Errorf("%s: added %q, want %q", what, q.added, tc.want)
		}
	}
}

// No call is lost, also none from before the controller starts.
func TestCalls(t *testing.T) {
	queue := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	defer queue.ShutDown()
	calls := &watch.Calls{}
	early, late := types.NamespacedName{Namespace: "jira", Name: "early"}, types.NamespacedName{Namespace: "jira", Name: "late"}
	calls.For(early)
	calls.For(early)
	if err := calls.Source().Start(t.Context(), queue); err != nil {
		t.Fatal(err)
	}
	calls.For(late)
	for _, want := range []types.NamespacedName{early, late} {
		if queue.Len() == 0 {
			t.Fatalf("%s is not called for", want)
		}
		if got, _ := queue.Get(); got.NamespacedName != want {
			t.Errorf("%s is called for, want %s", got, want)
		}
	}
	if queue.Len() != 0 {
		t.Errorf("%d more calls", queue.Len())
	}
}
