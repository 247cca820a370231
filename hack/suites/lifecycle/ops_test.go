package lifecycle_test

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/upstream"
)

// deeds are the operations of users, time and controllers, with their frequency.
var deeds = []struct {
	often int
	do    func(*world)
}{
	{10, (*world).declare},
	{10, (*world).edit},
	{10, (*world).askForRotation},
	{2, (*world).suspend},
	{5, (*world).resume},
	{5, (*world).delete},
	{6, (*world).sweep},
	{5, (*world).deleteSecret},
	{3, (*world).tamper},
	{3, (*world).restore},
	{14, (*world).setPolicy},
	{3, (*world).revokeAll},
	{3, (*world).openSite},
	{3, (*world).takeSite},
	{3, (*world).takeCredential},
	{16, (*world).wait},
	{2, (*world).extendLate},
	{1, (*world).care},
	{3, (*world).checkAnswers},
}

// act performs one operation. Most of the time a few passes follow.
func (w *world) act() {
	if w.model.site == nil && w.random.IntN(3) == 0 {
		w.takeSite()
	}
	total := 0
	for _, d := range deeds {
		total += d.often
	}
	n := w.random.IntN(total)
	for _, d := range deeds {
		if n -= d.often; n < 0 {
			d.do(w)
			break
		}
	}
	for range w.random.IntN(3) {
		if killed := w.look(); killed {
			return // and is down for a while
		}
	}
}

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

// look runs a pass over some APIToken, with or without faults.
func (w *world) look() (killed bool) {
	l := w.someone()
	if l == nil {
		return false
	}
	on := w.healthy(l.token)
	on.random = rand.New(rand.NewPCG(w.random.Uint64(), 0))
	if old := w.before[l.token.UID]; old != nil && w.random.IntN(8) == 0 {
		on.token = old
		w.did("  stale:")
		w.count("pass with an old APIToken")
	}
	switch n := w.random.IntN(10); {
	case n < 3:
		on.faults, on.stale = 10, true
	case n < 5:
		on.left, on.killed = w.random.IntN(4), true
		w.did("  killed after %d writes:", on.left)
	case n < 7:
		on.left = w.random.IntN(4)
		w.did("  overtaken before write %d:", on.left)
		on.overtake = func() { w.pass(w.healthy(l.token)) }
	}
	w.pass(on)
	return on.killed && on.left < 0
}

// someone returns one of the existing APITokens, more often than not the same as last time.
func (w *world) someone() *life {
	alive := w.those(func(l *life) bool { return !l.gone })
	if len(alive) == 0 {
		return nil
	}
	if w.random.IntN(2) == 0 || !slices.Contains(alive, w.favourite) {
		w.favourite = pick(w.random, alive...)
	}
	return w.favourite
}

func (w *world) those(are func(*life) bool) (those []*life) {
	for _, l := range w.all {
		if are(l) {
			those = append(those, l)
		}
	}
	return those
}

// declare creates an APIToken under one of a few names, unless it exists.
func (w *world) declare() {
	ns, name := pick(w.random, w.home, w.home, w.home, w.away), pick(w.random, "a", "b")
	t := kubetest.Token(ns, name)
	t.Spec.SiteRef.Namespace = w.home
	t.Spec.User = pick(w.random, "alice", "Alice", "bob")
	if w.random.IntN(6) == 0 {
		t.Spec.Delivery.SecretName = "shared"
	}
	w.terms(t)
	if len(w.those(func(l *life) bool { return !l.gone && l.token.Namespace == ns && l.token.Name == name })) > 0 {
		return
	}
	w.must(env.Admin.Create(w.Context(), t))
	l := &life{token: t}
	w.all, w.model.lives[t.UID] = append(w.all, l), l
	w.did("declare %s/%s: %s", ns, name, spelled(t.Spec))
}

// terms sets lifetime and access of a token.
func (w *world) terms(t *tokensv1alpha1.APIToken) {
	s, r := &t.Spec, w.random
	s.LifetimeDays, s.ExpirationTime = nil, metav1.Time{}
	switch r.IntN(4) {
	case 0, 1:
		s.LifetimeDays = pick(r, new(int32(1)), new(int32(1)), new(int32(7)), new(int32(30)))
	case 2:
		s.ExpirationTime = metav1.NewTime(w.clock.Now().Add(time.Duration(r.IntN(500)-50) * time.Hour))
	}
	s.Access = pick(r, tokensv1alpha1.AccessReadWrite, tokensv1alpha1.AccessReadOnly)
	s.AllowedPaths = pick(r, nil, nil, []string{"/rest/api"})
	s.Rotation.IntervalDays = pick(r, nil, nil, new(int32(1)), new(int32(7)), new(int32(30)))
	s.Rotation.OverlapHours = pick(r, nil, new(int32(0)), new(int32(6)), new(int32(23)))
}

func (w *world) edit() { w.change("edit", w.terms) }

func (w *world) askForRotation() {
	in := pick(w.random, 0, 0, time.Hour, 30*time.Hour)
	w.change("ask for a rotation", func(t *tokensv1alpha1.APIToken) {
		t.Spec.Rotation.RequestedTime = metav1.NewTime(w.clock.Now().Add(in))
	})
}

// extendLate extends a token while a controller with a stale cache removes it.
func (w *world) extendLate() {
	l := w.someone()
	if l == nil {
		return
	}
	live := func(days int32) {
		edited := l.token.DeepCopy()
		edited.Spec.LifetimeDays, edited.Spec.ExpirationTime = &days, metav1.Time{}
		w.update(l, "let live", edited)
	}
	w.changeSite("keep nothing that expired", func(s *tokensv1alpha1.AtlassianSiteSpec) { s.TokenPolicy.ExpiredRetentionDays = new(int32) })
	live(1)
	w.pass(w.healthy(l.token))
	w.step(25 * time.Hour)
	if l.gone {
		return
	}
	live(30)
	w.pass(w.healthy(w.before[l.token.UID]))
}

func (w *world) suspend() {
	w.change("suspend", func(t *tokensv1alpha1.APIToken) { t.Spec.State = tokensv1alpha1.StateSuspended })
}

func (w *world) resume() {
	w.change("resume", func(t *tokensv1alpha1.APIToken) { t.Spec.State = tokensv1alpha1.StateActive })
}

func (w *world) change(what string, edit func(*tokensv1alpha1.APIToken)) {
	l := w.someone()
	if l == nil {
		return
	}
	changed := l.token.DeepCopy()
	edit(changed)
	w.update(l, what, changed)
}

func (w *world) update(l *life, what string, changed *tokensv1alpha1.APIToken) {
	w.must(env.Admin.Update(w.Context(), changed))
	w.before[changed.UID], l.token = l.token, changed
	w.did("%s %s/%s: %s", what, changed.Namespace, changed.Name, spelled(changed.Spec))
}

func (w *world) delete() {
	l := w.someone()
	if l == nil {
		return
	}
	w.must(env.Admin.Delete(w.Context(), l.token.DeepCopy()))
	l.gone = true
	if w.random.IntN(10) == 0 {
		w.unseen[l.token.UID] = true
	}
	w.did("delete %s/%s, unseen %t", l.token.Namespace, l.token.Name, w.unseen[l.token.UID])
	if w.random.IntN(3) == 0 { // not all controllers know
		w.pass(w.healthy(l.token))
	}
}

// sweep runs the clean-up of a deletion, possibly late or repeated.
func (w *world) sweep() {
	gone := w.those(func(l *life) bool { return l.gone && !w.unseen[l.token.UID] })
	if len(gone) == 0 {
		return
	}
	t := pick(w.random, gone...).token
	on := w.healthy(nil)
	on.random, on.faults = rand.New(rand.NewPCG(w.random.Uint64(), 0)), 10
	w.clean(t, on)
}

func (w *world) deleteSecret() {
	l := w.someone()
	if l == nil {
		return
	}
	here := at(l.token)
	w.must(client.IgnoreNotFound(env.Admin.Delete(w.Context(), secret(here.namespace, here.name))))
	delete(w.model.secrets, here)
	w.did("delete Secret %v", here)
}

// tamper writes foreign content into a delivered Secret, or changes its metadata.
func (w *world) tamper() {
	l := w.someone()
	if l == nil {
		return
	}
	here := at(l.token)
	s := secret(here.namespace, here.name)
	_, there := w.model.secrets[here]
	switch n := w.random.IntN(3); {
	case n == 0 && there:
		w.must(env.Admin.Get(w.Context(), client.ObjectKeyFromObject(s), s))
		s.Data["username"] = []byte("mallory")
		w.must(env.Admin.Update(w.Context(), s))
		w.did("change the user name in Secret %v", here)
		return
	case n == 1 && there:
		w.must(env.Admin.Get(w.Context(), client.ObjectKeyFromObject(s), s))
		s.Data["password"] = []byte(foreign)
		w.must(env.Admin.Update(w.Context(), s))
	default:
		w.must(client.IgnoreNotFound(env.Admin.Delete(w.Context(), s)))
		s = secret(here.namespace, here.name)
		s.Data = map[string][]byte{"password": []byte(foreign)}
		w.must(env.Admin.Create(w.Context(), s))
	}
	w.model.secrets[here] = foreign
	w.did("tamper with Secret %v", here)
}

// restore writes the current token back to the delivered Secret.
func (w *world) restore() {
	l := w.someone()
	if l == nil || l.current() == nil {
		return
	}
	here := at(l.token)
	w.must(client.IgnoreNotFound(env.Admin.Delete(w.Context(), secret(here.namespace, here.name))))
	s := secret(here.namespace, here.name)
	s.Type = corev1.SecretTypeBasicAuth
	s.Data = map[string][]byte{"username": []byte("alice"), "password": []byte(l.current().plain)}
	w.must(env.Admin.Create(w.Context(), s))
	w.model.secrets[here], l.underway = l.current().plain, false
	w.did("restore Secret %v", here)
}

func (w *world) changeSite(what string, edit func(*tokensv1alpha1.AtlassianSiteSpec)) {
	if w.model.site == nil {
		return
	}
	changed := w.model.site.DeepCopy()
	edit(&changed.Spec)
	w.must(env.Admin.Update(w.Context(), changed))
	w.model.site = changed
	w.did("%s: %s", what, spelled(changed.Spec))
}

func (w *world) setPolicy() {
	r := w.random
	days, keep := pick[*int32](r, nil, new(int32(1)), new(int32(7)), new(int32(30))), pick[*int32](r, nil, new(int32(0)), new(int32(0)), new(int32(7)))
	quota, forbidden := pick[*int32](r, nil, new(int32(1)), new(int32(2))), r.IntN(3) == 0
	which := r.IntN(7)
	w.changeSite("policy", func(s *tokensv1alpha1.AtlassianSiteSpec) {
		p := &s.TokenPolicy
		switch which {
		case 0:
			p.MaxLifetimeDays = days
			if p.DefaultLifetimeDays != nil && days != nil {
				p.DefaultLifetimeDays = new(min(*days, *p.DefaultLifetimeDays))
			}
		case 1:
			if p.DefaultLifetimeDays = days; days != nil {
				p.DefaultLifetimeDays = new(min(*days, ptr.Deref(p.MaxLifetimeDays, math.MaxInt32)))
			}
		case 2:
			p.NeverExpiring = tokensv1alpha1.NeverExpiringAllowed
			if forbidden {
				p.NeverExpiring = tokensv1alpha1.NeverExpiringForbidden
			}
		case 3:
			p.MaxTokensPerUser = quota
		case 4, 5:
			p.ExpiredRetentionDays = keep
		default:
			*p = tokensv1alpha1.TokenPolicy{}
		}
	})
}

// revokeAll sets the epoch, to now or soon.
func (w *world) revokeAll() {
	epoch := metav1.NewTime(w.clock.Now().Add(pick(w.random, 0, 0, time.Second, 2*time.Hour))).Rfc3339Copy()
	w.changeSite("revoke all", func(s *tokensv1alpha1.AtlassianSiteSpec) {
		if s.IssuedAfter.Before(&epoch) {
			s.IssuedAfter = epoch
		}
	})
}

func (w *world) openSite() {
	const all, selected, same = tokensv1alpha1.NamespacesFromAll, tokensv1alpha1.NamespacesFromSelector, tokensv1alpha1.NamespacesFromSame
	from := pick(w.random, all, all, selected, same)
	w.label(pick(w.random, "yes", "no"))
	w.changeSite("open the site", func(s *tokensv1alpha1.AtlassianSiteSpec) {
		s.AllowedNamespaces = tokensv1alpha1.AllowedNamespaces{From: from}
		if from == selected {
			s.AllowedNamespaces.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"jira": "yes"}}
		}
	})
}

// takeSite deletes the site, or creates it again, unchanged or with another policy.
func (w *world) takeSite() {
	if w.model.site != nil {
		w.lastSite = w.model.site
		w.must(env.Admin.Delete(w.Context(), w.model.site.DeepCopy()))
		w.model.site = nil
		w.did("remove the site")
	} else if w.model.site == nil {
		w.createSite(w.lastSite.DeepCopy())
		w.did("create the site again")
	}
}

func (w *world) takeCredential() {
	user := pick(w.random, "alice", "bob")
	if !w.model.held[user] {
		w.hold(user)
		w.did("hold a credential of %s", user)
		return
	}
	s := secret(kubetest.CredentialsNamespace, upstream.SecretName(w.home, "main", user))
	w.must(env.Admin.Delete(context.Background(), s))
	w.model.held[user] = false
	w.did("take the credential of %s", user)
}

func (w *world) wait() {
	w.step(pick(w.random, time.Second, 90*time.Second, time.Hour, 7*time.Hour, 25*time.Hour, 25*time.Hour, 7*day, 31*day))
	w.did("wait")
}
