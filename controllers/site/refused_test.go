package site_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/site"
	"apitokens.dev/operator/hack/lib/fakeproduct"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/projection"
	"apitokens.dev/operator/internal/upstream"
)

// houseRule is what the API server says when it refuses a write in these tests.
const houseRule = "denied by the rule of the house"

// refusing is the reconciler while the API server refuses its writes of Secrets of a type.
func (w *world) refusing(secretType corev1.SecretType) *site.Reconciler {
	r := *w.reconciler
	refuse := func(o client.Object, write func() error) error {
		if s, ok := o.(*corev1.Secret); ok && s.Type == secretType {
			return apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, o.GetName(), errors.New(houseRule))
		}
		return write()
	}
	r.Client = interceptor.NewClient(w.api, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			return refuse(o, func() error { return c.Create(ctx, o, opts...) })
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			return refuse(o, func() error { return c.Update(ctx, o, opts...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			return refuse(o, func() error { return c.Delete(ctx, o, opts...) })
		},
	})
	return &r
}

// expectRefused expects that a pass ends in this condition, without an error, and comes again in a minute.
func (w *world) expectRefused(r *site.Reconciler, s *tokensv1alpha1.AtlassianSite, reason string) {
	w.Helper()
	if result, err := w.pass(r, s); err != nil || result != (ctrl.Result{RequeueAfter: time.Minute}) {
		w.Fatalf("the pass ended with %+v, %v", result, err)
	}
	ready := w.expectReady(s, reason)
	for _, want := range []string{"API server refuses a request of the operator", houseRule, "Remove the cause"} {
		if !strings.Contains(ready.Message, want) {
			w.Errorf("the message does not have %q: %q", want, ready.Message)
		}
	}
}

// Each write that the API server refuses is a condition, until the cause goes. Nothing else waits for it.
func TestRefusedWrites(t *testing.T) {
	for name, tc := range map[string]struct {
		secretType corev1.SecretType
		missing    func(w *world, s *tokensv1alpha1.AtlassianSite) bool
		held       string // the working copy of alice, meanwhile
	}{
		"caller keys":  {authurl.KeysSecretType, func(w *world, s *tokensv1alpha1.AtlassianSite) bool { return w.keysSecret(s) == nil }, ""},
		"auth URLs":    {authurl.SecretType, func(w *world, s *tokensv1alpha1.AtlassianSite) bool { return w.authURLs(s) == nil }, pat("alice", 1)},
		"projection":   {projection.SecretType, func(w *world, s *tokensv1alpha1.AtlassianSite) bool { return w.projectionSecret(s) == nil }, pat("alice", 1)},
		"working copy": {upstream.SecretType, func(w *world, s *tokensv1alpha1.AtlassianSite) bool { return w.copySecret(s, "alice") == nil }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.jira("jira", "alice")
			w.give("alice", pat("alice", 1))
			s := w.site("main", users("alice"))
			refusing := w.refusing(tc.secretType)
			w.expectRefused(refusing, s, tokensv1alpha1.ReasonWriteRefused)
			if !tc.missing(w, s) || w.held(s, "alice") != tc.held {
				t.Errorf("it was written, or %q is held", w.held(s, "alice"))
			}
			version := s.ResourceVersion
			w.emitted()
			w.expectRefused(refusing, s, tokensv1alpha1.ReasonWriteRefused)
			if events := w.emitted(); s.ResourceVersion != version || len(events) != 0 {
				t.Errorf("the next pass changed the status to %+v, or emitted %q", s.Status, events)
			}
			w.reconcile(s)
			w.expectReady(s, tokensv1alpha1.ReasonServing)
			w.expectAuthURLs(s)
			w.expectProjection(s, "", "")
			w.expectHeld(s, map[string]string{"alice": pat("alice", 1)})
		})
	}
}

// A change that is refused leaves what works, and is reported too.
func TestRefusedUpdatesAndRemovals(t *testing.T) {
	w := newWorld(t)
	w.jira("jira", "alice")
	w.give("alice", pat("alice", 1))
	s := w.site("main", users("alice"))
	w.reconcile(s)
	key := w.expectAuthURLs(s)
	refusing := w.refusing(upstream.SecretType)
	w.give("alice", pat("alice", 2))
	w.expectRefused(refusing, s, tokensv1alpha1.ReasonWriteRefused)
	w.expectHeld(s, map[string]string{"alice": pat("alice", 1)})
	w.change(s, users())
	w.expectRefused(refusing, s, tokensv1alpha1.ReasonWriteRefused)
	w.expectHeld(s, map[string]string{"alice": pat("alice", 1)})
	w.reconcile(s)
	w.expectReady(s, tokensv1alpha1.ReasonServing)
	w.expectCredentials(s, tokensv1alpha1.ReasonNoneConfigured)

	refusing = w.refusing(authurl.KeysSecretType)
	w.change(s, upstreamURL("https://jira."+w.ns+".example"))
	w.expectRefused(refusing, s, tokensv1alpha1.ReasonUpstreamNotAllowed)
	w.remove(s.DeepCopy())
	w.emitted()
	if result, err := w.pass(refusing, s); err != nil || result.RequeueAfter != time.Minute {
		t.Errorf("the pass over the removed site ended with %+v, %v", result, err)
	}
	w.expectEvent(tokensv1alpha1.ReasonWriteRefused, houseRule)
	if keys, err := w.storedKeys(s); err != nil || keys.Address(authurl.Nginx).Key != key {
		t.Errorf("the caller keys are not as they were: %v", err)
	}
	if _, err := w.pass(w.reconciler, s); err != nil {
		t.Fatal(err)
	}
	w.expectNothingKept(s, "alice")
}

// Of a pass that could not list the working copies, the condition about them is not changed.
func TestRefusedList(t *testing.T) {
	w, _, s := enrolledWorld(t, fakeproduct.Options{})
	refusing := *w.reconciler
	refusing.Client = interceptor.NewClient(w.api, interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, l client.ObjectList, o ...client.ListOption) error {
			if (&client.ListOptions{}).ApplyOptions(o).Namespace == kubetest.CredentialsNamespace {
				return apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "", errors.New(houseRule))
			}
			return c.List(ctx, l, o...)
		},
	})
	w.expectRefused(&refusing, s, tokensv1alpha1.ReasonWriteRefused)
	w.expectCredentials(s, tokensv1alpha1.ReasonVerified)
}

// A status that the API server refuses can only be reported by an Event.
func TestRefusedStatus(t *testing.T) {
	w := newWorld(t)
	s := w.site("main")
	refusing := *w.reconciler
	refusing.Client = interceptor.NewClient(w.api, interceptor.Funcs{
		SubResourceApply: func(context.Context, client.Client, string, runtime.ApplyConfiguration, ...client.SubResourceApplyOption) error {
			return apierrors.NewForbidden(schema.GroupResource{Resource: "atlassiansites"}, s.Name, errors.New(houseRule))
		},
	})
	if result, err := w.pass(&refusing, s); err != nil || result != (ctrl.Result{RequeueAfter: time.Minute}) {
		t.Errorf("the pass ended with %+v, %v", result, err)
	}
	if events := w.emitted(); len(events) != 1 || !strings.HasPrefix(events[0], "Warning WriteRefused ") || !strings.Contains(events[0], houseRule) {
		t.Errorf("events %q", events)
	}
	w.reconcile(s)
	w.expectReady(s, tokensv1alpha1.ReasonServing)
}

// A real quota in the namespace of a site leaves no room for its auth URLs.
func TestQuotaRefusesAuthURLs(t *testing.T) {
	w := newWorld(t)
	quota := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "few-secrets"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"count/secrets": resource.MustParse("0")}},
	}
	w.create(quota)
	// There is no kube-controller-manager to count.
	quota.Status = corev1.ResourceQuotaStatus{Hard: quota.Spec.Hard, Used: corev1.ResourceList{"count/secrets": resource.MustParse("0")}}
	if err := env.Admin.Status().Update(t.Context(), quota); err != nil {
		t.Fatal(err)
	}
	probe := func() error {
		return env.Admin.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "x"}}, client.DryRunAll)
	}
	kubetest.Eventually(t, func() error { // the API server notices the quota
		if err := probe(); !apierrors.IsForbidden(err) {
			return errors.New("not refused yet")
		}
		return nil
	})
	s := w.site("main")
	w.reconcile(s)
	ready := w.expectReady(s, tokensv1alpha1.ReasonWriteRefused)
	if !strings.Contains(ready.Message, `writing the auth URLs: secrets "main-auth-urls" is forbidden: exceeded quota: few-secrets`) {
		t.Errorf("message %q", ready.Message)
	}
	if events := w.emitted(); !slices.ContainsFunc(events, func(e string) bool { return strings.HasPrefix(e, "Warning WriteRefused ") }) {
		t.Errorf("events %q", events)
	}
	w.remove(quota)
	kubetest.Eventually(t, probe)
	w.reconcile(s)
	w.expectReady(s, tokensv1alpha1.ReasonServing)
	w.expectAuthURLs(s)
}
