package apitoken

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

// A deletion and a re-creation that a watch shows as one update are followed like any other deletion.
func TestReplacedAPITokenIsDeleted(t *testing.T) {
	of := func(uid types.UID, version string) *tokensv1alpha1.APIToken {
		return &tokensv1alpha1.APIToken{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "ci", UID: uid, ResourceVersion: version, Generation: 1}}
	}
	c := &Cleaner{Deletions: &Deletions{}}
	q := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[Gone]())
	defer q.ShutDown()
	update := func(old, now *tokensv1alpha1.APIToken) {
		c.observer().Update(t.Context(), event.UpdateEvent{ObjectOld: old, ObjectNew: now}, q)
	}
	update(of("old", "1"), of("old", "2"))
	if q.Len() != 0 || c.Deletions.has("old") {
		t.Error("an update was taken for a deletion")
	}
	update(of("old", "2"), of("new", "3"))
	if q.Len() != 1 || !c.Deletions.has("old") || c.Deletions.has("new") {
		t.Fatalf("%d deletions are enqueued", q.Len())
	}
	if gone, _ := q.Get(); gone.UID != "old" || gone.Name != "ci" || gone.Namespace != "team" {
		t.Errorf("enqueued %+v", gone)
	}
}
