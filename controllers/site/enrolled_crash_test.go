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

// deeds are the writes and the calls of the product of a reconciler, one after the other.
type deeds struct {
	// before and after happen around each, by its number. An error stands for it, or for what came of it.
	before, after func(n int) error
	n             int
}

func (d *deeds) do(deed func() error) error {
	d.n++
	n := d.n
	if err := d.before(n); err != nil {
		return err
	}
	err := deed()
	if lost := d.after(n); lost != nil {
		return lost
	}
	return err
}

// doing is a reconciler whose deeds these are.
func (w *world) doing(d *deeds) *site.Reconciler {
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

// watched is a product whose calls are deeds.
type watched struct {
	site.Product

	deeds *deeds
}

func (p watched) WhoAmI(ctx context.Context, u atlassian.Upstream, as atlassian.Credential) (user atlassian.User, err error) {
	err = p.deeds.do(func() error { user, err = p.Product.WhoAmI(ctx, u, as); return err })
	return user, err
}

func (p watched) Probe(ctx context.Context, u atlassian.Upstream) error {
	return p.deeds.do(func() error { return p.Product.Probe(ctx, u) })
}

func (p watched) CreatePAT(ctx context.Context, u atlassian.Upstream, as atlassian.Credential, name string, days int) (made atlassian.PAT, err error) {
	err = p.deeds.do(func() error { made, err = p.Product.CreatePAT(ctx, u, as, name, days); return err })
	return made, err
}

func (p watched) ListPATs(ctx context.Context, u atlassian.Upstream, as atlassian.Credential) (listed []atlassian.PAT, err error) {
	err = p.deeds.do(func() error { listed, err = p.Product.ListPATs(ctx, u, as); return err })
	return listed, err
}

func (p watched) DeletePAT(ctx context.Context, u atlassian.Upstream, as atlassian.Credential, id int64) error {
	return p.deeds.do(func() error { return p.Product.DeletePAT(ctx, u, as, id) })
}

// turns are the situations in which there is something to do about what is enrolled, and what is to come of each.
var turns = map[string]struct {
	// deeds is how many there are at least, the probe among them.
	deeds int
	then  func(w *world, j *fakeproduct.Jira, s *tokensv1alpha1.AtlassianSite)
	// name is that of the user at the product in the end, and ended what is to be true then.
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
		w.makePAT(s, pat("alice", 1), upstream.PATName(string(s.UID)))
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
	"renamed": {5, func(_ *world, j *fakeproduct.Jira, _ *tokensv1alpha1.AtlassianSite) {
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

// atTurn is a world in which a pass has something to do, and the check of what is held is due for each of two leaders.
func atTurn(t *testing.T, turn string) (w *world, other *site.Reconciler, j *fakeproduct.Jira, s *tokensv1alpha1.AtlassianSite) {
	t.Helper()
	w, j, s = enrolledWorld(t, fakeproduct.Options{})
	second := *w.reconciler
	second.Memory = credential.NewMemory()
	if _, err := w.pass(&second, s); err != nil {
		t.Fatal(err)
	}
	w.later(100 * time.Minute)
	turns[turn].then(w, j, s)
	return w, &second, j, s
}

// Killed after any one of its writes and calls, without having heard what came of it, the passes that follow end where this
// one would have, and alice can act all the time if she is to.
func TestKilledBetweenDeeds(t *testing.T) {
	killed := errors.New("killed")
	for turn, tc := range turns {
		for n, alive := 1, false; !alive; n++ {
			w, _, j, s := atTurn(t, turn)
			done := 0
			_, err := w.pass(w.doing(&deeds{
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
			if alive && (err != nil || done < tc.deeds) {
				t.Errorf("%s: %d deeds and %v, want %d", turn, done, err, tc.deeds)
			}
			w.reconciler.Memory = credential.NewMemory() // that of a process that was started again
			w.reconcile(s)
			if c := w.credential(s, "alice"); tc.name == "alice" && c.Usable() && c.Token != "" && !w.accepts(s, c.Token) {
				t.Errorf("%s, killed after %d deeds: what is in use is not accepted", turn, n)
			}
			w.expectEnd(turn, j, s)
			if t.Failed() {
				t.Fatalf("%s, killed after %d deeds", turn, n)
			}
		}
	}
}

// expectEnd lets three hours go by, in which everything is checked at least twice.
func (w *world) expectEnd(turn string, j *fakeproduct.Jira, s *tokensv1alpha1.AtlassianSite) {
	w.Helper()
	for range 5 {
		w.later(40 * time.Minute)
		w.reconcile(s)
	}
	turns[turn].ended(w, j, s)
	w.expectCredentials(s, tokensv1alpha1.ReasonVerified)
	w.clear()
}

// Another leader does all of its work before any one of this one's deeds: the end is the same, and it is no error.
func TestTwoLeadersOfWhatIsEnrolled(t *testing.T) {
	for turn := range turns {
		for n, overtaken := 1, true; overtaken; n++ {
			w, other, j, s := atTurn(t, turn)
			overtaken = false
			_, err := w.pass(w.doing(&deeds{
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
				t.Errorf("%s, overtaken before deed %d: %v", turn, n, err)
			}
			w.expectEnd(turn, j, s)
			if t.Failed() {
				t.Fatalf("%s, overtaken before deed %d", turn, n)
			}
		}
	}
}

// Its owner signs in once more before any one of these deeds, and has an APIToken: what the portal stored then is what is
// held in the end, and nothing else is left.
func TestEnrolledMeanwhile(t *testing.T) {
	for _, turn := range []string{"renewal", "retirement", "a stray", "last token gone", "last token gone after a renewal"} {
		for n, overtaken := 1, true; overtaken; n++ {
			w, _, j, s := atTurn(t, turn)
			overtaken = false
			var now upstream.Credential
			_, err := w.pass(w.doing(&deeds{
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
				t.Errorf("%s, before deed %d: %v", turn, n, err)
			}
			if !overtaken {
				break
			}
			for range 5 {
				w.later(40 * time.Minute)
				w.reconcile(s)
			}
			if got := w.expectSound(j, s, "alice"); got != now || t.Failed() {
				t.Fatalf("%s, before deed %d: held is %+v, want %+v", turn, n, got, now)
			}
			w.clear()
		}
	}
}
