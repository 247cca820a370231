package apitoken

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/internal/watch"
	"apitokens.dev/operator/hack/lib/kubetest"
)

// A change of an APIToken has its Secret read at once, as docs/reference/apitoken.md says, also while the controller starts.
func TestChangeAtTheStartHasTheSecretRead(t *testing.T) {
	r := &Reconciler{found: &found{names: map[types.NamespacedName]struct{}{}}}
	changed := r.changed()
	before := &tokensv1alpha1.APIToken{ObjectMeta: metav1.ObjectMeta{Namespace: "jira", Name: "ci", UID: "1"}}
	changed.Create(event.CreateEvent{Object: before, IsInInitialList: true})
	now := before.DeepCopy()
	now.Status.TokenID = "asp_DquJoZLwlsNJm6gU"
	if changed.Update(event.UpdateEvent{ObjectOld: before, ObjectNew: now}) {
		t.Error("a change of the status leads to a pass")
	}
	if _, is := r.found.names[client.ObjectKeyFromObject(now)]; !is {
		t.Error("a change of the status has the Secret read")
	}
	now.Annotations = map[string]string{"look": "now"}
	if !changed.Update(event.UpdateEvent{ObjectOld: before, ObjectNew: now}) {
		t.Error("a change leads to no pass")
	}
	if r.found.take(client.ObjectKeyFromObject(now)) {
		t.Error("the pass after a change assumes that the Secret is in order")
	}
}

// Two watches report in no order: a change of a Secret may come before the APIToken of the initial list. The Secret is read then too,
// and what is gone leaves nothing.
func TestSecretThatChangesAtTheStartIsRead(t *testing.T) {
	f, name := newFound(nil), types.NamespacedName{Namespace: "jira", Name: "ci"}
	for what, tc := range map[string][]func(types.NamespacedName){
		"before the list": {f.changed, f.add}, "after it": {f.add, f.changed},
	} {
		for _, happens := range tc {
			happens(name)
		}
		if f.take(name) {
			t.Errorf("a Secret that changes %s is taken to be in order", what)
		}
	}
	if f.add(name); !f.take(name) || len(f.read) != 0 {
		t.Error("a change counts for longer than the next look")
	}
}

// A Secret that many APITokens name holds up no APIToken that itself changed.
func TestLooksForSecretsComeLast(t *testing.T) {
	queue := priorityqueue.New[reconcile.Request]("test")
	defer queue.ShutDown()
	due := make(chan watch.Due)
	if err := ofChanged(due).Start(t.Context(), queue); err != nil {
		t.Fatal(err)
	}
	for i := range atOnce {
		due <- watch.Due{Object: types.NamespacedName{Name: strconv.Itoa(i)}}
	}
	kubetest.Eventually(t, func() error {
		if queue.Len() < atOnce {
			return errors.New("not all are queued")
		}
		return nil
	})
	changed := reconcile.Request{NamespacedName: types.NamespacedName{Name: "changed"}}
	queue.Add(changed)
	if first, _ := queue.Get(); first != changed {
		t.Errorf("%s comes before an APIToken that changed", first)
	}
}

// The controller has started when each APIToken of the initial list was looked at or is gone, also one whose deletion takes long.
func TestStartEndsWithDeletedTokens(t *testing.T) {
	done := make(chan struct{})
	r := &Reconciler{found: &found{names: map[types.NamespacedName]struct{}{}, done: func() { close(done) }}}
	gone := &tokensv1alpha1.APIToken{ObjectMeta: metav1.ObjectMeta{Namespace: "jira", Name: "gone"}}
	going := &tokensv1alpha1.APIToken{ObjectMeta: metav1.ObjectMeta{Namespace: "jira", Name: "going", DeletionTimestamp: new(metav1.Now())}}
	changed := r.changed()
	for _, o := range []client.Object{gone, going} {
		changed.Create(event.CreateEvent{Object: o, IsInInitialList: true})
	}
	changed.Delete(event.DeleteEvent{Object: gone})
	if _, err := r.Reconcile(t.Context(), going); err != nil {
		t.Fatal(err)
	}
	select {
	case <-done:
	case <-time.After(time.Second):
		t.Errorf("it waits for %v", r.found.names)
	}
}

// Of very many objects that exist at the start, few are in the queue at a time. Each comes up once, but for those that are gone.
func TestFewComeUpAtATime(t *testing.T) {
	const n = 10 * atOnce
	ctx, stop := context.WithCancel(t.Context())
	done, ended := make(chan struct{}), make(chan error)
	f := newFound(func() { close(done) })
	name := func(i int) types.NamespacedName {
		return types.NamespacedName{Namespace: "jira", Name: strconv.Itoa(i)}
	}
	for i := range n {
		if f.noted().Create(event.CreateEvent{Object: &tokensv1alpha1.APIToken{ObjectMeta: metav1.ObjectMeta{Namespace: "jira", Name: strconv.Itoa(i)}}, IsInInitialList: true}) {
			t.Fatal("an object of the initial list is queued at once")
		}
	}
	for i := 1; i < n; i += 2 {
		f.noted().Delete(event.DeleteEvent{Object: &tokensv1alpha1.APIToken{ObjectMeta: metav1.ObjectMeta{Namespace: "jira", Name: strconv.Itoa(i)}}})
	}
	go func() { ended <- f.Start(ctx) }()
	var queued []types.NamespacedName
	came := map[types.NamespacedName]bool{}
	for i := 0; i < n; i += 2 {
		queued = append(queued, (<-f.due).Object)
		came[queued[len(queued)-1]] = true
		if len(queued) == atOnce {
			if more, ok := f.next(); ok {
				t.Fatalf("%v comes up beside %d others", more, atOnce)
			}
			for _, of := range queued {
				if !f.take(of) {
					t.Errorf("the look at %v is not the first", of)
				}
			}
			queued = nil
		}
	}
	<-done
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	for i := 0; i < n; i += 2 {
		if !came[name(i)] {
			t.Errorf("%v did not come up", name(i))
		}
	}
}

// The round of rechecks begins with a mixture: however the initial list is sorted, each part of it has as many tokens of each namespace.
func TestNamespacesComeUpMixed(t *testing.T) {
	const namespaces, each = 10, 1000
	f := newFound(nil)
	for i := range namespaces * each {
		f.add(types.NamespacedName{Namespace: strconv.Itoa(i / each), Name: strconv.Itoa(i)})
	}
	for part := range namespaces {
		came := map[string]int{}
		for range each {
			name, ok := f.next()
			if !ok || !f.take(name) {
				t.Fatalf("%v comes up, %t", name, ok)
			}
			came[name.Namespace]++
		}
		for namespace, n := range came {
			if n < each/namespaces/2 || n > 2*each/namespaces || len(came) < namespaces {
				t.Errorf("part %d has %d tokens of namespace %s, and tokens of %d namespaces", part, n, namespace, len(came))
			}
		}
	}
}
