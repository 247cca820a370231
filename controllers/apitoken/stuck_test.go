package apitoken

import (
	"context"
	"errors"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	testclock "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/internal/recheck"
)

// broken has one APIToken, as given, and fails at every other question. Without one, it says that there is none.
type broken struct {
	client.Client

	token *tokensv1alpha1.APIToken
}

func (b broken) Get(_ context.Context, name client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	t, is := into.(*tokensv1alpha1.APIToken)
	switch {
	case !is:
		return errors.New("the API server is broken")
	case b.token == nil:
		return apierrors.NewNotFound(schema.GroupResource{Resource: "apitokens"}, name.Name)
	}
	b.token.DeepCopyInto(t)
	return nil
}

// An APIToken whose passes fail is not looked at, so its age counts on: the alert APITokenControllerStuck rests on that. One that is
// gone, or on its way, does not count.
func TestFailedPassesAreNoLooks(t *testing.T) {
	token := &tokensv1alpha1.APIToken{ObjectMeta: metav1.ObjectMeta{Namespace: "jira", Name: "ci"}}
	going := token.DeepCopy()
	going.DeletionTimestamp = &metav1.Time{Time: time.Unix(0, 0)}
	for what, tc := range map[string]struct {
		token *tokensv1alpha1.APIToken
		want  time.Duration
	}{
		"passes fail":    {token, 10 * time.Minute},
		"it is deleted":  {going, 0},
		"there was none": {nil, 0},
	} {
		t.Run(what, func(t *testing.T) {
			clock := testclock.NewFakeClock(time.Unix(0, 0))
			api := broken{token: tc.token}
			r := &Reconciler{Client: api, Live: api, Clock: clock, settled: recheck.New(clock, settledPace), waiting: recheck.New(clock, waitingPace)}
			name := client.ObjectKeyFromObject(token)
			r.settled.Add(name)
			for range 600 {
				clock.Step(time.Second)
				for _, due := range r.settled.Next() {
					_, err := r.byName(api).Reconcile(t.Context(), ctrl.Request{NamespacedName: due})
					if failed := err != nil; failed != (tc.want > 0) {
						t.Fatalf("the pass returned %v", err)
					}
				}
			}
			if got := r.settled.Oldest(); got != tc.want {
				t.Errorf("its age is %s, want %s", got, tc.want)
			}
		})
	}
}
