package credential

import (
	"context"
	"errors"
	"maps"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/enrolment"
)

// closed is an API server that refuses to create some Secrets.
type closed struct {
	*secrets

	refuses func(name string) bool
}

func (r *closed) Create(ctx context.Context, o client.Object, opts ...client.CreateOption) error {
	if r.refuses(o.GetName()) {
		r.requests++
		return apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, o.GetName(), errors.New("refused"))
	}
	return r.secrets.Create(ctx, o, opts...)
}

// While the API server refuses writes, a pass over a site with many enrolments to mend gives up soon. Enrolments that are refused for
// good hold up no others.
func TestMendGivesUp(t *testing.T) {
	const copies, perFailure = 500, 3 // two reads and a write
	w := newOldWorld(t, copies, time.Minute, false)
	maps.DeleteFunc(w.api.stored, func(_ types.NamespacedName, s *corev1.Secret) bool { return s.Type == enrolment.SecretType })
	clear(w.api.kept)
	for _, s := range maps.Clone(w.api.stored) {
		w.api.put(s)
	}
	api := &closed{w.api, func(string) bool { return true }}
	w.keeper.Client = api
	pass := func() (requests int, err error) {
		before := w.api.requests
		w.clock.SetTime(w.clock.Now().Add(time.Minute))
		_, err = w.keeper.Reconcile(t.Context(), w.site, &atlassian.Upstream{Product: atlassian.Jira, URL: here})
		return w.api.requests - before, err
	}
	for range 3 {
		if requests, err := pass(); err == nil || requests > mostFailures*perFailure {
			t.Errorf("%d requests, %v", requests, err)
		}
	}
	bad := map[string]bool{}
	for _, s := range w.api.stored {
		if len(bad) < 2*mostFailures {
			bad[enrolment.OfCopy(s.Name)] = true
		}
	}
	api.refuses = func(name string) bool { return bad[name] }
	published := func() (n int) {
		for _, s := range w.api.stored {
			if s.Type == enrolment.SecretType {
				n++
			}
		}
		return n
	}
	for n := 0; published() < copies-len(bad); n++ {
		if _, err := pass(); err == nil || n > 100 {
			t.Fatalf("after %d passes %d of %d enrolments are published, %v", n, published(), copies-len(bad), err)
		}
	}
}
