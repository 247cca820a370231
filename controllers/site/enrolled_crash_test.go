package site_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/site"
	"apitokens.dev/operator/controllers/site/credential"
	"apitokens.dev/operator/hack/lib/fakeproduct"
	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/upstream"
)

// operations counts the writes and the product calls of a reconciler.
type operations struct {
	// before and after run around each operation. An error from before replaces it, one from after replaces its result.
	before, after func(n int) error
	n             int
}

func (d *operations) do(operation func() error) error {
	d.n++
	n := d.n
	if err := d.before(n); err != nil {
		return err
	}
	err := operation()
	if lost := d.after(n); lost != nil {
		return lost
	}
	return err
}

// doing is the reconciler with these operations.
func (w *world) doing(d *operations) *site.Reconciler {
	r := *w.reconciler
	r.Product = watched{w.network, d}
	r.Client = interceptor.NewClient(w.api, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			return d.do(func() error { return c.Create(ctx, o, opts...) })
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			return d.do(func() error { return c.Update(ctx, o, opts...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			return d.do(func() error { return c.Delete(ctx, o, opts...) })
		},
		SubResourceApply: func(ctx context.Context, c client.Client, sub string, o runtime.ApplyConfiguration, opts ...client.SubResourceApplyOption) error {
			return d.do(func() error { return c.SubResource(sub).Apply(ctx, o, opts...) })
		},
	})
	return &r
}

// watched is the product with counted calls.
type watched struct {
	site.Product

	operations *operations
}

func (p watched) WhoAmI(ctx context.Context, u atlassian.Upstream, as atlassian.Credential) (user atlassian.User, err error) {
	err = p.operations.do(func() error { user, err = p.Product.WhoAmI(ctx, u, as); return err })
	return user, err
}

func (p watched) Probe(ctx context.Context, u atlassian.Upstream) error {
	return p.operations.do(func() error { return p.Product.Probe(ctx, u) })
}

func (p watched) CreatePAT(ctx context.Context, u atlassian.Upstream, as atlassian.Credential, name string, days int) (made atlassian.PAT, err error) {
	err = p.operations.do(func() error { made, err = p.Product.CreatePAT(ctx, u, as, name, days); return err })
	return made, err
}

func (p watched) ListPATs(ctx context.Context, u atlassian.Upstream, as atlassian.Credential) (listed []atlassian.PAT, err error) {
	err = p.operations.do(func() error { listed, err = p.Product.ListPATs(ctx, u, as); return err })
	return listed, err
}

func (p watched) DeletePAT(ctx context.Context, u atlassian.Upstream, as atlassian.Credential, id int64) error {
	return p.operations.do(func() error { return p.Product.DeletePAT(ctx, u, as, id) })
}

// situations in which an enrolled personal access token needs work.
var situations = map[string]struct {
	// operations is the least number of operations, including the probe.
	operations int
	then       func(w *world, j *fakeproduct.Jira, s *tokensv1alpha1.AtlassianSite)
	// name is the user's name at the product in the end. ended checks the end.
	name  string
	ended func(w *world, j *fakeproduct.Jira, s *tokensv1alpha1.AtlassianSite)
}{
	"renewal": {4, func(w *world, _ *fakeproduct.Jira, _ *tokensv1alpha1.AtlassianSite) { w.later(61 * day) }, "alice", renewed},
	"retirement": {3, func(w *world, _ *fakeproduct.Jira, s *tokensv1alpha1.AtlassianSite) {
		w.later(61 * day)
		w.reconcile(s)
		w.later(10 * time.Minute)
	}, "alice", renewed},
	"a stray": {3, func(w *world, _ *fakeproduct.Jira, s *tokensv1alpha1.AtlassianSite) {
		w.makePAT(s, pat("alice", 1), upstream.PATName(string(s.UID), "alice", ""))
	}, "alice", func(w *world, j *fakeproduct.Jira, s *tokensv1alpha1.AtlassianSite) { w.expectSound(j, s, "alice") }},
	"last token gone": {4, func(w *world, _ *fakeproduct.Jira, _ *tokensv1alpha1.AtlassianSite) {
		w.later(10 * time.Minute)
		w.remove(w.tokenOf("alice"))
	}, "alice", withdrawn},
	"last token gone after a renewal": {5, func(w *world, _ *fakeproduct.Jira, s *tokensv1alpha1.AtlassianSite) {
		w.later(61 * day)
		w.reconcile(s)
		w.remove(w.tokenOf("alice"))
		w.later(10 * time.Minute)
	}, "alice", withdrawn},
	"another user's": {5, func(w *world, j *fakeproduct.Jira, s *tokensv1alpha1.AtlassianSite) {
		w.keyless(s)
		j.Rename("alice", "alicia")
	}, "alicia", withdrawn},
	"an entry": {5, func(w *world, _ *fakeproduct.Jira, s *tokensv1alpha1.AtlassianSite) {
		w.give("alice", pat("alice", 1))
		w.change(s, users("alice"))
	}, "alice", func(w *world, j *fakeproduct.Jira, s *tokensv1alpha1.AtlassianSite) {
		if w.held(s, "alice") != pat("alice", 1) || len(ours(j, s, "alice")) != 0 {
			w.Errorf("held is %+v, and the product has %v", w.credential(s, "alice"), ours(j, s, "alice"))
		}
	}},
}

func renewed(w *world, j *fakeproduct.Jira, s *tokensv1alpha1.AtlassianSite) {
	w.Helper()
	if c := w.expectSound(j, s, "alice"); c.Stored.Before(w.clock.Now().Add(-day)) {
		w.Errorf("it was not renewed: %+v", c)
	}
}

func withdrawn(w *world, j *fakeproduct.Jira, s *tokensv1alpha1.AtlassianSite) {
	w.Helper()
	if w.copySecret(s, "alice") != nil {
		w.Error("it is held still")
	}
	for _, name := range []string{"alice", "alicia"} {
		if ids := ours(j, s, name); len(ids) != 0 {
			w.Errorf("the product has %v of %s", ids, name)
		}
	}
}

// inSituation returns a world in which a pass has work, and in which the check is due for two leaders.
func inSituation(t *testing.T, situation string) (w *world, other *site.Reconciler, j *fakeproduct.Jira, s *tokensv1alpha1.AtlassianSite) {
	t.Helper()
	w, j, s = enrolledWorld(t, fakeproduct.Options{})
	second := *w.reconciler
	second.Memory = credential.NewMemory()
	if _, err := w.pass(&second, s); err != nil {
		t.Fatal(err)
	}
	w.later(100 * time.Minute)
	situations[situation].then(w, j, s)
	return w, &second, j, s
}

// A pass is killed after any of its writes and calls, before it hears the result. The next passes reach the same end, and alice
// can act throughout where she should.
func TestKilledBetweenOperations(t *testing.T) {
	killed := errors.New("killed")
	for situation, tc := range situations {
		for n, alive := 1, false; !alive; n++ {
			w, _, j, s := inSituation(t, situation)
			done := 0
			_, err := w.pass(w.doing(&operations{
				before: func(i int) error {
					if i > n {
						return killed
					}
					done = i
					return nil
				},
				after: func(i int) error {
					if i == n {
						return killed
					}
					return nil
				},
			}), s)
			alive = done < n
			if alive && (err != nil || done < tc.operations) {
				t.Errorf("%s: %d operations and %v, want %d", situation, done, err, tc.operations)
			}
			w.reconciler.Memory = credential.NewMemory() // that of a process that was started again
			w.reconcile(s)
			if c := w.credential(s, "alice"); tc.name == "alice" && c.Usable() && c.Token != "" && !w.accepts(s, c.Token) {
				t.Errorf("%s, killed after %d operations: what is in use is not accepted", situation, n)
			}
			w.expectEnd(situation, j, s)
			if t.Failed() {
				t.Fatalf("%s, killed after %d operations", situation, n)
			}
		}
	}
}

// expectEnd lets three hours pass, with at least two checks.
func (w *world) expectEnd(situation string, j *fakeproduct.Jira, s *tokensv1alpha1.AtlassianSite) {
	w.Helper()
	for range 5 {
		w.later(40 * time.Minute)
		w.reconcile(s)
	}
	situations[situation].ended(w, j, s)
	w.expectAllVerified(s)
	env.Clear(w.T, w.ns)
}

// Another leader makes a whole pass before any operation of this one. The end is the same, without an error.
func TestTwoLeadersOfWhatIsEnrolled(t *testing.T) {
	for situation := range situations {
		for n, overtaken := 1, true; overtaken; n++ {
			w, other, j, s := inSituation(t, situation)
			overtaken = false
			_, err := w.pass(w.doing(&operations{
				before: func(i int) error {
					if i == n {
						overtaken = true
						_, err := w.pass(other, s.DeepCopy())
						return err
					}
					return nil
				},
				after: func(int) error { return nil },
			}), s)
			if err != nil {
				t.Errorf("%s, overtaken before operation %d: %v", situation, n, err)
			}
			w.expectEnd(situation, j, s)
			if t.Failed() {
				t.Fatalf("%s, overtaken before operation %d", situation, n)
			}
		}
	}
}

// The owner enrols again before any operation, and has an APIToken. In the end the copy is the one that the portal stored then,
// and no other personal access token is left.
func TestEnrolledMeanwhile(t *testing.T) {
	for _, situation := range []string{"renewal", "retirement", "a stray", "last token gone", "last token gone after a renewal"} {
		for n, overtaken := 1, true; overtaken; n++ {
			w, _, j, s := inSituation(t, situation)
			overtaken = false
			var now upstream.Credential
			_, err := w.pass(w.doing(&operations{
				before: func(i int) error {
					if i == n {
						overtaken = true
						now = w.enroll(j, s, "alice")
						if err := env.Admin.Create(w.Context(), w.tokenOf("alice")); client.IgnoreAlreadyExists(err) != nil {
							return err
						}
					}
					return nil
				},
				after: func(int) error { return nil },
			}), s)
			if err != nil {
				t.Errorf("%s, before operation %d: %v", situation, n, err)
			}
			if !overtaken {
				break
			}
			for range 5 {
				w.later(40 * time.Minute)
				w.reconcile(s)
			}
			if got := w.expectSound(j, s, "alice"); got != now || t.Failed() {
				t.Fatalf("%s, before operation %d: held is %+v, want %+v", situation, n, got, now)
			}
			env.Clear(w.T, w.ns)
		}
	}
}
