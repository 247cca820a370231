package site_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/fakeproduct"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/upstream"
)

const day = 24 * time.Hour

// enrolledWorld returns a site where alice has an APIToken and has enrolled.
func enrolledWorld(t *testing.T, o fakeproduct.Options) (*world, *fakeproduct.Jira, *tokensv1alpha1.AtlassianSite) {
	t.Helper()
	w := newWorld(t)
	o.ContextPath, o.Now = "/jira", w.clock.Now
	o.Users = append(o.Users, fakeproduct.User{Name: "alice", Key: "K1", PATs: []string{pat("alice", 1)}}, fakeproduct.User{Name: "bob", PATs: []string{pat("bob", 1)}})
	j := fakeproduct.NewJira(o)
	w.serve("jira", j)
	s := w.site("main")
	w.token("alice")
	w.enroll(j, s, "alice")
	w.reconcile(s)
	w.expectCredentials(s, tokensv1alpha1.ReasonVerified)
	w.emitted()
	return w, j, s
}

// enroll does what the portal does for a user with a session.
func (w *world) enroll(j *fakeproduct.Jira, s *tokensv1alpha1.AtlassianSite, user string) upstream.Credential {
	w.Helper()
	u := atlassian.Upstream{Product: atlassian.Jira, URL: s.Spec.UpstreamURL}
	session := j.SignIn(user)
	if session == nil {
		w.Fatalf("%s cannot sign in", user)
	}
	as := atlassian.Credential{Cookie: session.String()}
	named, err := w.network.WhoAmI(w.Context(), u, as)
	if err != nil {
		w.Fatal(err)
	}
	made, err := w.network.CreatePAT(w.Context(), u, as, upstream.PATName(string(s.UID), named.Name, ""), 90)
	if errors.Is(err, atlassian.ErrPATRefused) {
		made, err = w.network.CreatePAT(w.Context(), u, as, upstream.PATName(string(s.UID), named.Name, ""), 30)
	}
	if err != nil {
		w.Fatal(err)
	}
	c := upstream.Credential{
		Namespace: s.Namespace, Site: s.Name, User: strings.ToLower(named.Name), Origin: w.origin("jira"), Token: made.Token,
		Source: upstream.Enrolled, UserKey: named.Key, Stored: w.clock.Now().UTC(), ID: made.ID, Expires: made.Expires,
	}
	w.keep(s, c)
	return c
}

// paste does what the portal does for a user who pastes a personal access token.
func (w *world) paste(s *tokensv1alpha1.AtlassianSite, user, token string) {
	w.Helper()
	w.keep(s, upstream.Credential{
		Namespace: s.Namespace, Site: s.Name, User: user, Origin: w.origin("jira"), Token: token, Source: upstream.Pasted, Stored: w.clock.Now().UTC(),
	})
}

// keep stores a working copy over any other.
func (w *world) keep(s *tokensv1alpha1.AtlassianSite, c upstream.Credential) {
	w.Helper()
	data, err := c.Encode()
	if err != nil {
		w.Fatal(err)
	}
	if stored := w.copySecret(s, c.User); stored != nil {
		w.setData(stored, map[string][]byte{upstream.DataKey: data})
		return
	}
	w.create(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: kubetest.CredentialsNamespace, Name: c.SecretName(), Labels: ourLabels(s)},
		Type:       upstream.SecretType, Data: map[string][]byte{upstream.DataKey: data},
	})
}

// token declares an APIToken of a user for the site "main".
func (w *world) token(user string) { w.Helper(); w.create(w.tokenOf(user)) }

// tokenOf is that APIToken.
func (w *world) tokenOf(user string) *tokensv1alpha1.APIToken {
	return kubetest.Token(w.ns, "token-of-"+user, func(t *tokensv1alpha1.APIToken) { t.Spec.User = user })
}

func (w *world) later(d time.Duration) { w.clock.SetTime(w.clock.Now().Add(d)) }

// wait lets time pass, with a pass every ten minutes.
func (w *world) wait(s *tokensv1alpha1.AtlassianSite, d time.Duration) {
	w.Helper()
	for ; d > 0; d -= 10 * time.Minute {
		w.later(min(d, 10*time.Minute))
		w.reconcile(s)
	}
}

// ours returns the ids of a user's personal access tokens that were made for a site. A renamed user may have those of both names.
func ours(j *fakeproduct.Jira, s *tokensv1alpha1.AtlassianSite, user string) (ids []int64) {
	for _, p := range j.PersonalAccessTokens(user) {
		if slices.ContainsFunc([]string{user, "alice", "bob"}, func(of string) bool { return p.Name == upstream.PATName(string(s.UID), of, "") }) {
			ids = append(ids, p.ID)
		}
	}
	return ids
}

// expectSound expects that the product accepts the held personal access token as the user's, and has no other of ours.
func (w *world) expectSound(j *fakeproduct.Jira, s *tokensv1alpha1.AtlassianSite, user string) upstream.Credential {
	w.Helper()
	c := w.credential(s, user)
	named, err := w.network.WhoAmI(w.Context(), atlassian.Upstream{Product: atlassian.Jira, URL: s.Spec.UpstreamURL}, atlassian.Bearer(c.Token))
	if err != nil || named.Name != user || !c.Usable() || c.Source != upstream.Enrolled {
		w.Errorf("what is held of %s is one of %q, %v, usable: %t", user, named.Name, err, c.Usable())
	}
	if ids := ours(j, s, user); !slices.Equal(ids, []int64{c.ID}) || c.Replaced != 0 {
		w.Errorf("the product has %v, held is %d in place of %d", ids, c.ID, c.Replaced)
	}
	return c
}

// expectWithdrawn expects that neither the operator nor the product has a personal access token of ours for a user.
func (w *world) expectWithdrawn(j *fakeproduct.Jira, s *tokensv1alpha1.AtlassianSite, user, name string) {
	w.Helper()
	if w.copySecret(s, user) != nil {
		w.Errorf("a personal access token of %s is held", user)
	}
	if ids := ours(j, s, name); len(ids) != 0 {
		w.Errorf("the product has %v of %s", ids, name)
	}
}

// expectEvent expects an Event with a reason and these texts.
func (w *world) expectEvent(reason string, says ...string) {
	w.Helper()
	events := w.emitted()
	i := slices.IndexFunc(events, func(e string) bool { return strings.HasPrefix(e, "Warning "+reason+" ") })
	if i < 0 {
		w.Errorf("events %q, want %s", events, reason)
		return
	}
	for _, want := range says {
		if !strings.Contains(events[i], want) {
			w.Errorf("the Event does not say %q: %s", want, events[i])
		}
	}
}

// expectLogged expects log lines with these texts about alice.
func (w *world) expectLogged(s *tokensv1alpha1.AtlassianSite, want ...string) {
	w.Helper()
	for _, text := range want {
		if !slices.ContainsFunc(w.logged, func(line string) bool {
			return strings.Contains(line, text) && strings.Contains(line, `"user"="alice"`) && strings.Contains(line, `"site"="`+s.Name+`"`)
		}) {
			w.Errorf("%q was not logged: %q", text, w.logged)
		}
	}
}
