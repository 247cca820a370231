package apitoken_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/apitoken"
	"apitokens.dev/operator/hack/lib/kubetest"
)

var firstUse = metav1.NewTime(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))

// used writes the last access of a token, as the gateway does.
func (w *world) used(t *tokensv1alpha1.APIToken, at metav1.Time) {
	w.Helper()
	text := `{"status":{"lastAccessedTime":"` + at.UTC().Format(time.RFC3339) + `","lastAccessedFrom":"192.0.2.1"}}`
	patch := client.RawPatch("application/merge-patch+json", []byte(text))
	if err := env.Client(w.T, kubetest.Webhook).Status().Patch(w.Context(), t.DeepCopy(), patch, client.FieldOwner("apitoken-webhook")); err != nil {
		w.Fatal(err)
	}
}

func (w *world) expectLastAccess(t *tokensv1alpha1.APIToken, at metav1.Time) {
	w.Helper()
	if !t.Status.LastAccessedTime.Equal(&at) || t.Status.LastAccessedFrom != "192.0.2.1" {
		w.Errorf("last accessed %s from %q, want %s", t.Status.LastAccessedTime, t.Status.LastAccessedFrom, at)
	}
}

// The controller does not own the last access: it neither writes because of it nor removes it.
func TestLastAccessIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	tok := kubetest.Token(w.ns, "ci")
	w.create(tok)
	w.settled(tok)
	w.used(tok, firstUse)
	writes := 0
	counting := *w.reconciler
	counting.Client = interceptor.NewClient(env.Client(t, kubetest.Controller), interceptor.Funcs{
		SubResourceApply: func(ctx context.Context, c client.Client, name string, o runtime.ApplyConfiguration, opts ...client.SubResourceApplyOption) error {
			writes++
			return c.SubResource(name).Apply(ctx, o, opts...)
		},
	})
	if _, err := w.pass(&counting, tok); err != nil || writes != 0 {
		t.Errorf("a pass after a use made %d writes: %v", writes, err)
	}
	w.expectLastAccess(tok, firstUse)

	before := tok.Status
	if err := env.Admin.Delete(t.Context(), kubetest.Site(w.ns, "main")); err != nil {
		t.Fatal(err)
	}
	w.reconcile(tok, tokensv1alpha1.ReasonSiteNotFound)
	w.expectLastAccess(tok, firstUse)
	w.create(kubetest.Site(w.ns, "main"))
	w.reconcile(tok, tokensv1alpha1.ReasonIssued)
	w.expectLastAccess(tok, firstUse)
	before.Conditions = tok.Status.Conditions
	if diff := cmp.Diff(before, tok.Status); diff != "" {
		t.Errorf("status (-before +after):\n%s", diff)
	}
}

// A token may be used between any two writes of a pass. The Events of the pass are emitted all the same, once, and at once.
func TestUsedDuringAPass(t *testing.T) {
	for _, stage := range []string{"issue", "reissue"} {
		t.Run(stage, func(t *testing.T) {
			w := newWorld(t)
			tok := kubetest.Token(w.ns, "ci")
			w.create(tok)
			var want []string // the status says that it is issued
			if stage == "reissue" {
				want = []string{tokensv1alpha1.ReasonReissued}
				w.settled(tok)
				if err := env.Admin.Delete(t.Context(), w.secret(w.ns, "ci-token")); err != nil {
					t.Fatal(err)
				}
				w.eventsSoFar()
				w.clock.SetTime(w.clock.Now().Add(time.Second)) // so that there is something to write
			}
			result, err := w.pass(w.usedBeforeReport(func() { w.used(tok, firstUse) }), tok)
			if err != nil || result.RequeueAfter != time.Minute {
				t.Errorf("%+v, %v", result, err)
			}
			w.expectLastAccess(tok, firstUse)
			w.expectEvents(want...)
			w.settled(tok)
		})
	}
}

// A pass does not report on any other change since it began: another pass has to.
func TestChangedDuringAPass(t *testing.T) {
	for name, change := range map[string]func(w *world, tok *tokensv1alpha1.APIToken) error{
		"spec": func(w *world, tok *tokensv1alpha1.APIToken) error {
			return env.Admin.Patch(w.Context(), tok.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"label":"another"}}`)))
		},
		"status": func(w *world, tok *tokensv1alpha1.APIToken) error {
			return w.as().Status().Patch(w.Context(), tok.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(`{"status":{"tokenID":"asp_x"}}`)))
		},
		"deletion": func(w *world, tok *tokensv1alpha1.APIToken) error {
			if err := env.Admin.Delete(w.Context(), tok.DeepCopy()); err != nil {
				return err
			}
			again := kubetest.Token(w.ns, "ci")
			return env.Admin.Create(w.Context(), again)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			tok := kubetest.Token(w.ns, "ci")
			w.create(tok)
			result, err := w.pass(w.usedBeforeReport(func() {
				if err := change(w, tok); err != nil {
					t.Error(err)
				}
			}), tok)
			if err != nil || result.RequeueAfter != time.Second {
				t.Errorf("%+v, %v", result, err)
			}
			if len(tok.Status.Conditions) > 0 {
				t.Errorf("it reported %+v", tok.Status)
			}
		})
	}
}

// usedBeforeReport runs a function just before the status is first written.
func (w *world) usedBeforeReport(happen func()) *apitoken.Reconciler {
	r := *w.reconciler
	r.Client = interceptor.NewClient(env.Client(w.T, kubetest.Controller), interceptor.Funcs{
		SubResourceApply: func(ctx context.Context, c client.Client, name string, o runtime.ApplyConfiguration, opts ...client.SubResourceApplyOption) error {
			if happen != nil {
				happen()
				happen = nil
			}
			return c.SubResource(name).Apply(ctx, o, opts...)
		},
	})
	return &r
}
