package site_test

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/fakeproduct"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/enrolment"
	"apitokens.dev/operator/internal/projection"
	"apitokens.dev/operator/internal/upstream"
)

// published returns the enrolment of a user.
func (w *world) published(s *tokensv1alpha1.AtlassianSite, user string) enrolment.Enrolment {
	w.Helper()
	stored := w.secret(kubetest.SystemNamespace, enrolment.SecretName(s.Namespace, s.Name, user))
	if stored == nil {
		return enrolment.Enrolment{State: enrolment.None}
	}
	e, err := enrolment.Decode(stored.Data[enrolment.DataKey])
	if err != nil {
		w.Fatal(err)
	}
	return e
}

// A user makes a token after the pass looked for owners, while the product revokes what another user left behind: nobody takes their
// personal access token away. Before it is revoked, the copy is marked, the mark is published, and the API server is asked once more.
func TestTokenMadeWhileOthersAreWithdrawn(t *testing.T) {
	w := newWorld(t)
	names := []string{"u0", "u1", "u2", "u3", "u4", "u5", "u6", "u7"}
	j := w.jira("jira", names...)
	s := w.site("main")
	for _, user := range names {
		w.enroll(j, s, user)
	}
	w.reconcile(s)
	w.later(time.Hour)
	var once sync.Once
	late := ""
	w.serve("jira", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodDelete {
			once.Do(func() {
				late = names[slices.IndexFunc(names, func(user string) bool {
					c := w.credential(s, user)
					return c.Token != "" && c.Ending.IsZero()
				})]
				w.create(kubetest.Token(w.ns, "late", func(t *tokensv1alpha1.APIToken) { t.Spec.User = strings.ToUpper(late) }))
			})
		}
		j.ServeHTTP(rw, r)
	}))
	w.reconcile(s)
	w.reconcile(s)
	for _, user := range names {
		if user != late {
			w.expectWithdrawn(j, s, user, user)
			continue
		}
		w.expectSound(j, s, user)
		if e := w.published(s, user); e.State != enrolment.Held || !w.credential(s, user).Ending.IsZero() {
			t.Errorf("published is %+v", e)
		}
	}
}

// While a copy is marked, nobody relies on it: the portal waits. The mark goes when the product accepts it once more, because the
// revocation may have begun.
func TestMarkIsUndone(t *testing.T) {
	for name, revoked := range map[string]bool{"not revoked": false, "revoked, then killed": true} {
		t.Run(name, func(t *testing.T) {
			w, j, s := enrolledWorld(t, fakeproduct.Options{})
			c := w.credential(s, "alice")
			c.Ending = w.clock.Now().UTC()
			w.keep(s, c)
			if revoked {
				j.RevokePAT(c.Token)
			}
			j.SetUnavailable(true)
			w.reconcile(s)
			if e := w.published(s, "alice"); e.State != enrolment.Pending || e.UserKey != "K1" || e.PAT != c.ID {
				t.Errorf("published is %+v", e)
			}
			j.SetUnavailable(false)
			w.reconcile(s)
			want := map[bool]enrolment.State{false: enrolment.Held, true: enrolment.Ended}[revoked]
			if e := w.published(s, "alice"); e.State != want || w.credential(s, "alice").Usable() == revoked {
				t.Errorf("published is %+v", e)
			}
			w.expectIdle(s)
		})
	}
}

// The personal access tokens of a blocked user are withdrawn, from every source, and stay so.
func TestBlockedUserIsWithdrawn(t *testing.T) {
	for name, block := range map[string]tokensv1alpha1.BlockedUser{"by name": {Name: "Alice"}, "by key": {Key: "K1"}} {
		t.Run(name, func(t *testing.T) {
			w, j, s := enrolledWorld(t, fakeproduct.Options{})
			w.token("bob")
			bob := w.enroll(j, s, "bob")
			w.change(s, func(s *tokensv1alpha1.AtlassianSite) { s.Spec.BlockedUsers = []tokensv1alpha1.BlockedUser{block} })
			j.SetUnavailable(true)
			w.reconcile(s)
			if c := w.credential(s, "alice"); c.Usable() || w.published(s, "alice").State != enrolment.Ended {
				t.Error("it is in use while the product is away")
			}
			j.SetUnavailable(false)
			w.reconcile(s)
			w.expectWithdrawn(j, s, "alice", "alice")
			if got := w.credential(s, "bob"); got != bob {
				t.Errorf("held of bob is %+v", got)
			}
			w.give("alice", pat("alice", 1))
			w.change(s, users("alice"))
			w.reconcile(s)
			if w.copySecret(s, "alice") != nil {
				t.Error("one that the administrator gave is in use")
			}
			w.expectIdle(s)
			w.change(s, func(s *tokensv1alpha1.AtlassianSite) { s.Spec.BlockedUsers = nil })
			w.reconcile(s)
			if w.held(s, "alice") != pat("alice", 1) || w.published(s, "alice").State != enrolment.Given {
				t.Error("after the block it is not in use again")
			}
		})
	}
}

// take hands over a personal access token as the portal does, and lets the controller decide.
func (w *world) take(s *tokensv1alpha1.AtlassianSite, c upstream.Credential) enrolment.Enrolment {
	w.Helper()
	data, err := c.Encode()
	if err != nil {
		w.Fatal(err)
	}
	intake := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: kubetest.IntakeNamespace, GenerateName: "intake-", Labels: ourLabels(s)},
		Type:       upstream.IntakeType, Data: map[string][]byte{upstream.DataKey: data},
	}
	portal := env.Client(w.T, kubetest.Portal, "system:serviceaccounts", "system:serviceaccounts:"+kubetest.SystemNamespace)
	if err := portal.Create(w.Context(), intake); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = env.Admin.Delete(w.Context(), intake) })
	result, err := w.reconciler.Intake().Reconcile(w.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(intake)})
	if err != nil {
		w.Error(err)
	}
	e := w.published(s, c.User)
	if left := w.secret(intake.Namespace, intake.Name) != nil; left != (result.RequeueAfter > 0) || !left && e.Intake != intake.Name && w.exists(s) {
		w.Errorf("the intake is left: %t, and published is %+v", left, e)
	}
	return e
}

// exists reports whether the site exists.
func (w *world) exists(s *tokensv1alpha1.AtlassianSite) bool {
	return env.Admin.Get(w.Context(), client.ObjectKeyFromObject(s), s.DeepCopy()) == nil
}

// The controller takes what the product confirms, by name and key, and revokes what it does not keep.
func TestIntake(t *testing.T) {
	type setting struct {
		*world
		j *fakeproduct.Jira
		s *tokensv1alpha1.AtlassianSite
		// before is the copy of alice. intake is made by alice with her session, and not handed over yet.
		before, intake upstream.Credential
	}
	for name, tc := range map[string]struct {
		prepare func(x *setting)
		// taken means that the intake becomes the copy. ours is how many personal access tokens of ours alice has then.
		taken bool
		ours  int
		state enrolment.State
	}{
		"another one is in use":       {func(*setting) {}, false, 1, enrolment.Held},
		"the same again":              {func(x *setting) { x.keep(x.s, x.intake); x.j.RevokePAT(x.before.Token) }, true, 1, enrolment.Held},
		"the other one was refused":   {func(x *setting) { x.refuse(x.before) }, true, 2, enrolment.Held},
		"it is refused itself":        {func(x *setting) { x.j.RevokePAT(x.intake.Token) }, false, 1, enrolment.Held},
		"it has another user's name":  {func(x *setting) { x.intake.User = "bob" }, false, 1, enrolment.None},
		"it has another user's key":   {func(x *setting) { x.intake.UserKey = "K2" }, false, 1, enrolment.Held},
		"the copy has another key":    {func(x *setting) { x.before.UserKey = "K0"; x.keep(x.s, x.before) }, true, 1, enrolment.Held},
		"it is pasted":                {func(x *setting) { x.intake = pasted(x.intake) }, true, 1, enrolment.Held},
		"it is for another upstream":  {func(x *setting) { x.intake.Origin = "http://elsewhere" }, false, 2, enrolment.Held},
		"the product is away":         {func(x *setting) { x.j.SetUnavailable(true) }, false, 2, enrolment.Held},
		"an entry has taken over":     {func(x *setting) { x.give("alice", pat("alice", 1)); x.change(x.s, users("alice")) }, false, 1, enrolment.Held},
		"the user is blocked by name": {func(x *setting) { x.block(x.s, tokensv1alpha1.BlockedUser{Name: "alice"}) }, false, 1, enrolment.Held},
		"an epoch lies ahead":         {func(x *setting) { x.refuse(x.before); x.setEpoch(x.s, time.Hour) }, false, 1, enrolment.Ended},
		"an epoch ahead, and pasted":  {func(x *setting) { x.intake = pasted(x.intake); x.setEpoch(x.s, time.Hour) }, false, 2, enrolment.Held},
		"an earlier site's is ahead":  {func(x *setting) { x.intake = pasted(x.intake); x.projectEpoch(x.s, time.Hour) }, false, 2, enrolment.Held},
		"an epoch has come":           {func(x *setting) { x.intake = pasted(x.intake); x.setEpoch(x.s, -time.Second) }, true, 1, enrolment.Held},
		"the user is blocked by key":  {func(x *setting) { x.block(x.s, tokensv1alpha1.BlockedUser{Key: "K1"}) }, false, 1, enrolment.Held},
	} {
		t.Run(name, func(t *testing.T) {
			w, j, s := enrolledWorld(t, fakeproduct.Options{})
			x := &setting{world: w, j: j, s: s, before: w.credential(s, "alice")}
			w.enroll(j, s, "alice")
			x.intake = w.credential(s, "alice")
			w.keep(s, x.before)
			tc.prepare(x)
			e := w.take(s, x.intake)
			j.SetUnavailable(false)
			if got := w.held(s, "alice") == x.intake.Token; got != tc.taken {
				t.Errorf("it is the copy: %t", got)
			}
			if n := len(ours(j, s, "alice")); n != tc.ours || e.State != tc.state {
				t.Errorf("alice has %d of ours, and %+v is published", n, e)
			}
			if tc.taken && e.Name != "alice" || e.Name != "" && (e.Name != "alice" || e.UserKey != "K1") {
				t.Errorf("published is %+v", e)
			}
			if c := w.credential(s, "alice"); tc.taken && (c.UserKey != "K1" || !c.Usable() || e.UserKey != "K1" || e.PAT != c.ID) {
				t.Errorf("the copy is of key %s, and %+v is published", c.UserKey, e)
			}
		})
	}
}

// projectEpoch projects the revocation epoch of an earlier site of the name, so far ahead.
func (w *world) projectEpoch(s *tokensv1alpha1.AtlassianSite, ahead time.Duration) {
	w.Helper()
	stored := w.secret(kubetest.SystemNamespace, projection.SecretName(s.Namespace, s.Name))
	p, err := projection.Decode(stored.Data[projection.DataKey])
	if err != nil {
		w.Fatal(err)
	}
	p.IssuedAfter = w.clock.Now().Add(ahead).UTC()
	data, err := p.Encode()
	if err != nil {
		w.Fatal(err)
	}
	w.setData(stored, map[string][]byte{projection.DataKey: data})
}

// setEpoch sets the revocation epoch, so far ahead, and lets the controller see it.
func (w *world) setEpoch(s *tokensv1alpha1.AtlassianSite, ahead time.Duration) {
	w.Helper()
	w.change(s, func(s *tokensv1alpha1.AtlassianSite) {
		s.Spec.IssuedAfter = metav1.NewTime(w.clock.Now().Add(ahead)).Rfc3339Copy()
	})
	w.reconcile(s)
}

func pasted(c upstream.Credential) upstream.Credential {
	return upstream.Credential{
		Namespace: c.Namespace, Site: c.Site, User: c.User, UserKey: c.UserKey, Origin: c.Origin, Token: c.Token, Source: upstream.Pasted, Stored: c.Stored,
	}
}

func (w *world) refuse(c upstream.Credential) {
	c.Refused = w.clock.Now().UTC()
	w.keep(&tokensv1alpha1.AtlassianSite{ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, Name: c.Site}}, c)
}

func (w *world) block(s *tokensv1alpha1.AtlassianSite, b tokensv1alpha1.BlockedUser) {
	w.change(s, func(s *tokensv1alpha1.AtlassianSite) { s.Spec.BlockedUsers = []tokensv1alpha1.BlockedUser{b} })
}

// Of a site that is gone, nothing is kept, and what arrives late is sent nowhere.
func TestIntakeOfASiteThatIsGone(t *testing.T) {
	w, j, s := enrolledWorld(t, fakeproduct.Options{})
	c := w.credential(s, "alice")
	w.remove(s.DeepCopy())
	if _, err := w.pass(w.reconciler, s); err != nil {
		t.Fatal(err)
	}
	w.expectNothingKept(s, "alice")
	j.Reset()
	if e := w.take(s, c); e.State != enrolment.None || w.copySecret(s, "alice") != nil || len(sent(j)) != 0 {
		t.Errorf("published is %+v, and sent was %q", e, sent(j))
	}
}
