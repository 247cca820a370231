package selfservice_test

import (
	"context"
	"testing"
	"time"

	"github.com/go-logr/logr"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"apitokens.dev/operator/webhook/portal/selfservice"
)

// A token that is deleted is not found a second time. So its owner is told although the scanner has gone away.
func TestOwnerIsToldThoughTheScannerHasGone(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := eventsv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	store := fake.NewClientBuilder().WithScheme(scheme).Build()
	// The fake client does not look at the context, as a real one does.
	c := interceptor.NewClient(store, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return c.Create(ctx, o, opts...)
		},
	})
	service := &selfservice.Service{Client: c, Clock: clocktesting.NewFakeClock(time.Now()), Logger: logr.Discard()}
	gone, leave := context.WithCancel(t.Context())
	leave()
	service.TellOwner(gone, "GitHub", types.NamespacedName{Namespace: "jira", Name: "ci"})
	var events eventsv1.EventList
	if err := store.List(t.Context(), &events); err != nil {
		t.Fatal(err)
	}
	if len(events.Items) != 1 || events.Items[0].Regarding.Name != "ci" {
		t.Errorf("the events are %+v", events.Items)
	}
}
