package site_test

import (
	"context"
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/site"
	"apitokens.dev/operator/hack/lib/kubetest"
)

// before returns the reconciler with a function that runs before each write. An error from it replaces the write.
func (w *world) before(write func() error) *site.Reconciler {
	w.Helper()
	return w.beforeOf(func(client.Object) error { return write() })
}

// beforeOf is before with the object as it would be written. It is nil for a status and for a deletion.
func (w *world) beforeOf(write func(client.Object) error) *site.Reconciler {
	w.Helper()
	r := *w.reconciler
	r.Client = interceptor.NewClient(w.api, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			return either(write(o), func() error { return c.Create(ctx, o, opts...) })
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			return either(write(o), func() error { return c.Update(ctx, o, opts...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			return either(write(nil), func() error { return c.Delete(ctx, o, opts...) })
		},
		SubResourceApply: func(ctx context.Context, c client.Client, sub string, o runtime.ApplyConfiguration, opts ...client.SubResourceApplyOption) error {
			return either(write(nil), func() error { return c.SubResource(sub).Apply(ctx, o, opts...) })
		},
	})
	return &r
}

func either(err error, write func() error) error {
	if err != nil {
		return err
	}
	return write()
}

// stages are situations in which a pass has several writes, with their number.
var stages = map[string]struct {
	writes  int
	prepare func(w *world) *tokensv1alpha1.AtlassianSite
}{
	"new": {9, func(w *world) *tokensv1alpha1.AtlassianSite {
		return w.site("main", users("alice", "bob"))
	}},
	"changed": {7, func(w *world) *tokensv1alpha1.AtlassianSite {
		w.give("carol", pat("carol", 1))
		s := w.site("main", users("alice", "carol"))
		w.reconcile(s)
		w.setData(w.authURLs(s), nil)
		w.give("alice", pat("alice", 2))
		w.change(s, users("alice", "bob")) // the fourth write withdraws carol's
		return s
	}},
}

// expectSettled expects that one more pass reaches the usual end.
func (w *world) expectSettled(s *tokensv1alpha1.AtlassianSite, what string) {
	w.Helper()
	w.reconcile(s)
	w.expectReady(s, tokensv1alpha1.ReasonServing)
	w.expectCredentials(s, tokensv1alpha1.ReasonVerified)
	w.expectAuthURLs(s)
	token := string(w.secret(w.ns, "alice-pat").Data[tokensv1alpha1.UpstreamCredentialKey])
	if w.held(s, "alice") != token || w.held(s, "bob") != pat("bob", 1) || w.copySecret(s, "carol") != nil {
		w.Errorf("%s: the working copies are not those of the entries", what)
	}
	w.expectIdle(s)
}

func stagedWorld(t *testing.T) *world {
	w := newWorld(t)
	w.jira("jira", "alice", "bob", "carol")
	w.give("alice", pat("alice", 1))
	w.give("bob", pat("bob", 1))
	return w
}

// A pass is killed before any of its writes. The next pass reaches the same end.
func TestKilledBetweenWrites(t *testing.T) {
	killed := errors.New("killed")
	for stage, tc := range stages {
		for n := range tc.writes + 1 {
			w := stagedWorld(t)
			s := tc.prepare(w)
			left := n
			_, err := w.pass(w.before(func() error {
				if left--; left < 0 {
					return killed
				}
				return nil
			}), s)
			if wasKilled := errors.Is(err, killed); wasKilled != (n < tc.writes) {
				t.Errorf("%s, killed after %d writes: %v", stage, n, err)
			}
			w.expectSettled(s, stage)
		}
	}
}

// Another leader makes a whole pass between any two writes of this one. Both end with the same keys, without an error.
func TestTwoLeaders(t *testing.T) {
	for stage, tc := range stages {
		for n := range tc.writes {
			w := stagedWorld(t)
			s := tc.prepare(w)
			left, key := n, ""
			result, err := w.pass(w.before(func() error {
				if left--; left == -1 {
					other := s.DeepCopy()
					w.reconcile(other)
					key = w.expectAuthURLs(other)
				}
				return nil
			}), s)
			if err != nil || (result != ctrl.Result{RequeueAfter: time.Second} && result != ctrl.Result{RequeueAfter: time.Minute}) {
				t.Errorf("%s, overtaken before write %d: %+v, %v", stage, n, result, err)
			}
			w.emitted() // both may emit an Event
			w.expectSettled(s, stage)
			if w.expectAuthURLs(s) != key {
				t.Errorf("%s, overtaken before write %d: the caller keys were made anew", stage, n)
			}
		}
	}
}

// The status of a site is not written to another one that replaced it during the pass.
func TestSiteReplacedDuringAPass(t *testing.T) {
	for name, again := range map[string]bool{"gone": false, "created again": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			s := w.site("main")
			writes := 0
			result, err := w.pass(w.before(func() error {
				if writes++; writes == 5 { // after memory, caller keys, auth URLs and projection comes the status
					w.remove(s.DeepCopy())
					if again {
						w.create(kubetest.Site(w.ns, "main"))
					}
				}
				return nil
			}), s)
			if err != nil || result.RequeueAfter == 0 {
				t.Errorf("the pass ended with %+v, %v", result, err)
			}
			if events := w.emitted(); len(events) != 0 {
				t.Errorf("events of a site that is gone: %q", events)
			}
			if again && len(s.Status.Conditions) != 0 {
				t.Errorf("the new site has the status of the old one: %+v", s.Status)
			}
		})
	}
}

// A Secret that was replaced after it was read is not removed.
func TestSecretReplacedDuringRemoval(t *testing.T) {
	w := newWorld(t)
	s := w.site("main")
	w.reconcile(s)
	w.remove(s)
	foreign := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "main-auth-urls"}}
	removals := 0
	result, err := w.pass(w.before(func() error {
		if removals++; removals == 4 { // after the memory, the caller keys and the projection come the auth URLs
			w.remove(w.authURLs(s))
			w.create(foreign)
		}
		return nil
	}), s)
	if err != nil || result.RequeueAfter != time.Second {
		t.Errorf("the pass ended with %+v, %v", result, err)
	}
	if now := w.authURLs(s); now == nil || now.UID != foreign.UID {
		t.Error("the foreign Secret was removed")
	}
}
