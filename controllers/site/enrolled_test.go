package site_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/site"
	"apitokens.dev/operator/hack/double"
	"apitokens.dev/operator/hack/kubetest"
	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/upstream"
)

const day = 24 * time.Hour

// enrolledWorld is a site where alice has an APIToken and signed in for it.
func enrolledWorld(t *testing.T, o double.Options) (*world, *double.Jira, *tokensv1alpha1.AtlassianSite) {
	t.Helper()
	w := newWorld(t)
	o.ContextPath, o.Now = "/jira", w.clock.Now
	o.Users = append(o.Users, double.User{Name: "alice", Key: "K1", PATs: []string{pat("alice", 1)}}, double.User{Name: "bob", PATs: []string{pat("bob", 1)}})
	j := double.NewJira(o)
	w.serve("jira", j)
	s := w.site("main")
	w.token("alice")
	w.enroll(j, s, "alice")
	w.reconcile(s)
	w.expectCredentials(s, tokensv1alpha1.ReasonVerified)
	w.told()
	return w, j, s
}

// enroll does what the portal does for somebody who is signed in.
func (w *world) enroll(j *double.Jira, s *tokensv1alpha1.AtlassianSite, user string) upstream.Credential {
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
	made, err := w.network.CreatePAT(w.Context(), u, as, upstream.PATName(string(s.UID)), 90)
	if errors.Is(err, atlassian.ErrPATRefused) {
		made, err = w.network.CreatePAT(w.Context(), u, as, upstream.PATName(string(s.UID)), 30)
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

// paste does what the portal does for somebody who has a personal access token.
func (w *world) paste(s *tokensv1alpha1.AtlassianSite, user, token string) {
	w.Helper()
	w.keep(s, upstream.Credential{
		Namespace: s.Namespace, Site: s.Name, User: user, Origin: w.origin("jira"), Token: token, Source: upstream.Pasted, Stored: w.clock.Now().UTC(),
	})
}

// keep stores a working copy, whatever is there.
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

// wait lets time go by, with a pass in each ten minutes.
func (w *world) wait(s *tokensv1alpha1.AtlassianSite, d time.Duration) {
	w.Helper()
	for ; d > 0; d -= 10 * time.Minute {
		w.later(min(d, 10*time.Minute))
		w.reconcile(s)
	}
}

// ours are the ids of a user's personal access tokens that were made for a site.
func ours(j *double.Jira, s *tokensv1alpha1.AtlassianSite, user string) (ids []int64) {
	for _, p := range j.PersonalAccessTokens(user) {
		if p.Name == upstream.PATName(string(s.UID)) {
			ids = append(ids, p.ID)
		}
	}
	return ids
}

// expectSound expects that the product takes what is held of a user for his, and that there is no other of ours.
func (w *world) expectSound(j *double.Jira, s *tokensv1alpha1.AtlassianSite, user string) upstream.Credential {
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

// expectWithdrawn expects that nothing is held of a user, here or there.
func (w *world) expectWithdrawn(j *double.Jira, s *tokensv1alpha1.AtlassianSite, user, name string) {
	w.Helper()
	if w.copySecret(s, user) != nil {
		w.Errorf("a personal access token of %s is held", user)
	}
	if ids := ours(j, s, name); len(ids) != 0 {
		w.Errorf("the product has %v of %s", ids, name)
	}
}

// expectTold expects one Event of a reason that says something.
func (w *world) expectTold(reason string, says ...string) {
	w.Helper()
	told := w.told()
	i := slices.IndexFunc(told, func(e string) bool { return strings.HasPrefix(e, "Warning "+reason+" ") })
	if i < 0 {
		w.Errorf("told %q, want %s", told, reason)
		return
	}
	for _, want := range says {
		if !strings.Contains(told[i], want) {
			w.Errorf("the Event does not say %q: %s", want, told[i])
		}
	}
}

// expectLogged expects that these were logged of alice, by name.
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

// What the portal stored stays, through whatever becomes of entries, and a site that is not served for a while.
func TestWhatThePortalStoredStays(t *testing.T) {
	w, j, s := enrolledWorld(t, double.Options{})
	w.token("bob")
	w.paste(s, "bob", pat("bob", 1))
	expect := func(what string) {
		t.Helper()
		w.expectSound(j, s, "alice")
		if w.held(s, "bob") != pat("bob", 1) {
			t.Errorf("%s: what bob had pasted is gone", what)
		}
	}
	w.reconcile(s)
	expect("no entries")
	w.give("carol", pat("bob", 1))
	w.change(s, users("carol"))
	w.reconcile(s)
	w.expectCredentials(s, tokensv1alpha1.ReasonCredentialUnusable)
	expect("an entry of somebody else")
	w.change(s, users())
	w.reconcile(s)
	w.expectCredentials(s, tokensv1alpha1.ReasonVerified)
	expect("no entries any more")

	good := s.Spec.UpstreamURL
	w.change(s, upstreamURL("https://jira."+w.ns+".example"))
	w.reconcile(s)
	w.expectReady(s, tokensv1alpha1.ReasonUpstreamNotAllowed)
	if w.keysSecret(s) != nil || w.authURLs(s) != nil {
		t.Error("a site that is not served has keys")
	}
	w.change(s, upstreamURL(good))
	w.reconcile(s)
	w.expectCredentials(s, tokensv1alpha1.ReasonVerified)
	expect("not served for a while")

	w.remove(s)
	if _, err := w.pass(w.reconciler, s); err != nil {
		t.Fatal(err)
	}
	w.expectNothingKept(s, "alice", "bob")
}

// An entry wins over what the portal stored. Until it can be verified, nothing is lost.
func TestEntryReplacesWhatThePortalStored(t *testing.T) {
	w, j, s := enrolledWorld(t, double.Options{})
	w.change(s, users("alice"))
	w.reconcile(s)
	w.expectCredentials(s, tokensv1alpha1.ReasonCredentialUnusable)
	for _, token := range []string{canary + ".wrong", pat("bob", 1), canary + " no token"} {
		w.give("alice", token)
		w.reconcile(s)
		w.expectCredentials(s, tokensv1alpha1.ReasonCredentialUnusable)
		w.expectSound(j, s, "alice")
	}
	w.give("alice", pat("alice", 1))
	w.reconcile(s)
	w.expectCredentials(s, tokensv1alpha1.ReasonVerified)
	want := upstream.Credential{Namespace: w.ns, Site: "main", User: "alice", Origin: w.origin("jira"), Token: pat("alice", 1)}
	if got := w.credential(s, "alice"); got != want {
		t.Errorf("held is %+v", got)
	}
	if ids := ours(j, s, "alice"); len(ids) != 0 {
		t.Errorf("what it replaced was not revoked: %v", ids)
	}
	w.expectLogged(s, "Revoked a personal access token at the product")
	w.expectIdle(s)

	// The other way round: what the portal stores over it is replaced again.
	w.enroll(j, s, "alice")
	w.reconcile(s)
	if got := w.credential(s, "alice"); got != want || len(ours(j, s, "alice")) != 0 {
		t.Errorf("held is %+v, the product has %v", got, ours(j, s, "alice"))
	}
}

// While the product does not revoke what an entry replaces, that stays in use, and it is said so.
func TestEntryWaitsForTheRevocation(t *testing.T) {
	w, j, s := enrolledWorld(t, double.Options{})
	w.serve("jira", failing(j, http.MethodDelete, http.StatusServiceUnavailable))
	w.give("alice", pat("alice", 1))
	w.change(s, users("alice"))
	w.reconcile(s)
	c := w.expectCredentials(s, tokensv1alpha1.ReasonCredentialUnusable)
	if !strings.Contains(c.Message, "Secret 'alice-pat' waits until the product has revoked") {
		t.Errorf("message %q", c.Message)
	}
	w.expectSound(j, s, "alice")
	w.expectIdle(s)
	w.serve("jira", j)
	w.reconcile(s)
	w.expectCredentials(s, tokensv1alpha1.ReasonVerified)
	if w.held(s, "alice") != pat("alice", 1) || len(ours(j, s, "alice")) != 0 {
		t.Error("the entry did not take its place")
	}
}

// failing is a Jira that answers requests of one method in another way.
func failing(j *double.Jira, method string, status int) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method == method {
			rw.WriteHeader(status)
			return
		}
		j.ServeHTTP(rw, r)
	})
}

// Revoked at the product, or its owner deactivated: within an hour or so it is found out, told once, and kept.
func TestRevokedIsFoundOut(t *testing.T) {
	for name, source := range map[string]upstream.Source{"enrolled": upstream.Enrolled, "pasted": upstream.Pasted} {
		t.Run(name, func(t *testing.T) {
			w, j, s := enrolledWorld(t, double.Options{})
			if source == upstream.Pasted {
				w.paste(s, "alice", pat("alice", 1))
				w.reconcile(s)
			}
			before := w.credential(s, "alice")
			j.Deactivate("alice")
			w.reconcile(s)
			w.expectCredentials(s, tokensv1alpha1.ReasonVerified)
			w.wait(s, 100*time.Minute)
			c := w.expectCredentials(s, tokensv1alpha1.ReasonCredentialUnusable)
			const page = ".example/jira/plugins/servlet/api-tokens"
			if !strings.Contains(c.Message, "'alice' has to sign in and open https://main."+w.ns+page) {
				t.Errorf("message %q", c.Message)
			}
			w.expectTold(tokensv1alpha1.ReasonUpstreamCredentialRefused, "it was revoked or has ended, or the user was deactivated", page)
			if got := w.credential(s, "alice"); got.Usable() || got.Token != before.Token || got.ID != before.ID || !got.Stored.Equal(before.Stored) {
				t.Errorf("held is %+v", got)
			}
			j.Reset()
			w.expectIdle(s)
			if asked := sent(j); len(asked) != 1 {
				t.Errorf("a minute later the product was asked %d times", len(asked))
			}
			// The portal stores another one over it.
			w.jira("jira", "alice")
			w.paste(s, "alice", pat("alice", 2))
			w.reconcile(s)
			w.expectCredentials(s, tokensv1alpha1.ReasonVerified)
		})
	}
}

// What the product refused for a while, and accepts again, is used again within a minute.
func TestAcceptedAgain(t *testing.T) {
	w, j, s := enrolledWorld(t, double.Options{})
	down := true
	w.serve("jira", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if down && r.Header.Get("Authorization") != "" {
			rw.WriteHeader(http.StatusUnauthorized)
			return
		}
		j.ServeHTTP(rw, r)
	}))
	w.wait(s, 100*time.Minute)
	w.expectCredentials(s, tokensv1alpha1.ReasonCredentialUnusable)
	w.expectTold(tokensv1alpha1.ReasonUpstreamCredentialRefused)
	down = false
	w.wait(s, time.Minute)
	w.expectCredentials(s, tokensv1alpha1.ReasonVerified)
	w.expectSound(j, s, "alice")
	w.expectLogged(s, "is not accepted any more", "is accepted again")
	if told := w.told(); len(told) != 0 {
		t.Errorf("told %q", told)
	}
}

// Whoever has the name now is somebody else: what is held is withdrawn, and revoked if it was ours.
func TestRenamedIsWithdrawn(t *testing.T) {
	w, j, s := enrolledWorld(t, double.Options{})
	w.token("bob")
	w.paste(s, "bob", pat("bob", 1))
	w.reconcile(s)
	j.Rename("alice", "alicia")
	j.Rename("bob", "alice")
	w.wait(s, 100*time.Minute)
	w.expectWithdrawn(j, s, "alice", "alicia")
	w.expectWithdrawn(j, s, "bob", "alice")
	told := w.told()
	for _, user := range []string{"alice", "bob"} {
		if n := len(slices.DeleteFunc(slices.Clone(told), func(e string) bool {
			return !strings.HasPrefix(e, "Warning UpstreamCredentialWithdrawn ") || !strings.Contains(e, "token of '"+user+"' is that of a user with another name")
		})); n != 1 {
			t.Errorf("of %s it was told %d times: %q", user, n, told)
		}
	}
	w.expectLogged(s, "Withdrew a personal access token", "Revoked a personal access token at the product")
	w.expectCredentials(s, tokensv1alpha1.ReasonVerified)
	if len(j.PersonalAccessTokens("alice")) != 1 {
		t.Error("what bob had pasted was revoked: it is his")
	}
	w.expectIdle(s)
}

// A renamed user's personal access token is not used from the moment that it is found out, though the product does not
// revoke it yet.
func TestRenamedIsNotUsedBeforeItIsRevoked(t *testing.T) {
	w, j, s := enrolledWorld(t, double.Options{})
	j.Rename("alice", "alicia")
	w.serve("jira", failing(j, http.MethodDelete, http.StatusBadGateway))
	w.wait(s, 100*time.Minute)
	if c := w.credential(s, "alice"); c.Token == "" || c.Usable() {
		t.Errorf("held is %+v", c)
	}
	c := w.expectCredentials(s, tokensv1alpha1.ReasonCredentialUnusable)
	if !strings.Contains(c.Message, "is that of a user with another name") {
		t.Errorf("message %q", c.Message)
	}
	w.expectIdle(s)
	w.serve("jira", j)
	w.wait(s, time.Minute)
	w.expectWithdrawn(j, s, "alice", "alicia")
	w.expectTold(tokensv1alpha1.ReasonUpstreamCredentialWithdrawn)
}

// Given ones are asked about too, though nothing of theirs changes: revoked in the product, they are no longer in use.
func TestGivenIsCheckedAgain(t *testing.T) {
	for name, tc := range map[string]struct {
		then   func(j *double.Jira)
		event  string
		says   string
		remedy string
	}{
		"revoked": {
			func(j *double.Jira) { j.RevokePAT(pat("alice", 1)) }, tokensv1alpha1.ReasonUpstreamCredentialRefused,
			"the product does not accept the personal access token in Secret 'alice-pat'", "put a valid one into Secret 'alice-pat'",
		},
		"renamed": {
			func(j *double.Jira) { j.Rename("alice", "alicia") }, tokensv1alpha1.ReasonUpstreamCredentialWithdrawn,
			"in Secret 'alice-pat' is that of another user", "put one of 'alice' into Secret 'alice-pat'",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			j := w.jira("jira", "alice", "bob")
			w.give("alice", pat("alice", 1))
			w.give("bob", pat("bob", 1))
			s := w.site("main", users("alice", "bob"))
			w.reconcile(s)
			w.told()
			j.Reset()
			w.wait(s, 100*time.Minute)
			if asked := sent(j); len(asked) < 2 || len(asked) > 4 || !slices.Contains(asked, "Bearer "+pat("bob", 1)) {
				t.Errorf("in 100 minutes the product was asked with %q", asked)
			}
			tc.then(j)
			w.wait(s, 70*time.Minute)
			c := w.expectCredentials(s, tokensv1alpha1.ReasonCredentialUnusable)
			if !strings.Contains(c.Message, tc.says) || strings.Contains(c.Message, "bob") {
				t.Errorf("message %q", c.Message)
			}
			w.expectTold(tc.event, tc.remedy)
			w.expectHeld(s, map[string]string{"alice": "", "bob": pat("bob", 1)})
			w.expectIdle(s)
		})
	}
}

// A product that answers, but not about somebody, says nothing of him, and is not asked about everybody then, but about
// another one the next time.
func TestNothingFoundOut(t *testing.T) {
	w := newWorld(t)
	j := w.jira("jira", "alice", "bob", "carol")
	held := map[string]string{}
	for _, user := range []string{"alice", "bob", "carol"} {
		w.give(user, pat(user, 1))
		held[user] = pat(user, 1)
	}
	s := w.site("main", users("alice", "bob", "carol"))
	w.reconcile(s)
	var asked []string
	w.serve("jira", onlyAnonymous(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Header.Get("Authorization"))
		rw.WriteHeader(http.StatusServiceUnavailable)
	})))
	w.later(100 * time.Minute)
	for n := range 3 {
		w.wait(s, time.Minute)
		if len(asked) != n+1 || slices.Contains(asked[:n], asked[n]) {
			t.Errorf("the product was asked with %q", asked)
		}
	}
	w.expectCredentials(s, tokensv1alpha1.ReasonVerified)
	w.serve("jira", j)
	j.Reset()
	w.wait(s, time.Minute)
	if n := len(sent(j)); n != 3 {
		t.Errorf("the product was asked about %d", n)
	}
	w.expectHeld(s, held)
}

// What was verified just now is not asked about soon, and then once an hour.
func TestChecksComeOnceAnHour(t *testing.T) {
	w := newWorld(t)
	var names []string
	for i := range 6 {
		names = append(names, fmt.Sprintf("u%02d", i))
	}
	j := w.jira("jira", names...)
	for _, name := range names {
		w.give(name, pat(name, 1))
	}
	s := w.site("main", users(names...))
	w.reconcile(s)
	for _, tc := range []struct {
		wait        time.Duration
		least, most int
	}{{27 * time.Minute, 0, 0}, {63 * time.Minute, 6, 12}, {120 * time.Minute, 12, 12}} {
		j.Reset()
		for end := w.clock.Now().Add(tc.wait); w.clock.Now().Before(end); {
			w.later(3 * time.Minute)
			w.reconcile(s)
		}
		if n := len(sent(j)); n < tc.least || n > tc.most {
			t.Errorf("in %s the product was asked %d times, want %d to %d", tc.wait, n, tc.least, tc.most)
		}
	}
}

// Of somebody whose entry is no good, it is said once what is wrong.
func TestOneRejectionForEachUser(t *testing.T) {
	w, j, s := enrolledWorld(t, double.Options{})
	w.change(s, users("alice"))
	j.Deactivate("alice")
	w.wait(s, 100*time.Minute)
	c := w.expectCredentials(s, tokensv1alpha1.ReasonCredentialUnusable)
	if c.Message != "Not in use: 'alice': there is no Secret 'alice-pat': create it." || w.credential(s, "alice").Usable() {
		t.Errorf("message %q", c.Message)
	}
}

// Nothing of what the portal stored goes to another origin, nor is it released, nor told of more than once.
func TestEnrolledStaysWithItsOrigin(t *testing.T) {
	w, j, s := enrolledWorld(t, double.Options{})
	before := w.copySecret(s, "alice").ResourceVersion
	moved := w.jira("moved", "alice")
	j.Reset()
	w.change(s, upstreamURL(w.origin("moved")+"/jira"))
	w.wait(s, 100*time.Minute)
	w.later(100 * day) // past its renewal, and its end
	w.reconcile(s)
	c := w.expectCredentials(s, tokensv1alpha1.ReasonUpstreamChanged)
	for _, want := range []string{w.origin("jira"), w.origin("moved"), "'alice' has to sign in and open https://main." + w.ns} {
		if !strings.Contains(c.Message, want) {
			t.Errorf("the message does not have %s: %q", want, c.Message)
		}
	}
	if len(sent(moved)) != 0 || len(sent(j)) != 0 || w.copySecret(s, "alice").ResourceVersion != before {
		t.Errorf("the new upstream received %q, the old one %q, or the copy was touched", sent(moved), sent(j))
	}
	w.remove(w.tokenOf("alice"))
	w.reconcile(s)
	if w.copySecret(s, "alice") != nil || len(sent(moved)) != 0 {
		t.Error("what nobody needs and nobody can revoke is kept, or was sent elsewhere")
	}
}

// Ten minutes after the last APIToken of its user went, whatever it was, what the portal had made is revoked and removed.
func TestLastTokenGone(t *testing.T) {
	w, j, s := enrolledWorld(t, double.Options{})
	elsewhere := env.Namespace(t)
	other := kubetest.Token(elsewhere, "ci", func(t *tokensv1alpha1.APIToken) {
		t.Spec.User, t.Spec.SiteRef.Namespace = "Alice", w.ns
		t.Spec.Credential = tokensv1alpha1.Credential{
			Type: tokensv1alpha1.CredentialImported, Imported: &tokensv1alpha1.ImportedCredential{SecretName: "x", Key: "password", Mode: tokensv1alpha1.ImportOnce},
		}
		t.Spec.Delivery = tokensv1alpha1.Delivery{}
	})
	w.create(other)
	for _, notHers := range []func(*tokensv1alpha1.APIToken){
		func(t *tokensv1alpha1.APIToken) { t.Name, t.Spec.User = "bobs", "bob" },
		func(t *tokensv1alpha1.APIToken) { t.Name, t.Spec.SiteRef.Name = "other-site", "other" },
		func(t *tokensv1alpha1.APIToken) { t.Name, t.Namespace = "other-namespace", elsewhere },
	} {
		w.create(kubetest.Token(w.ns, "other", notHers))
	}
	w.later(9 * time.Minute)
	w.remove(w.tokenOf("alice"))
	w.wait(s, 20*time.Minute)
	w.expectSound(j, s, "alice") // she has the one in another namespace
	w.remove(other)
	w.reconcile(s)
	w.expectWithdrawn(j, s, "alice", "alice")
	w.expectLogged(s, "Withdrew a personal access token", "Revoked a personal access token at the product")
	if told := w.told(); len(told) != 0 {
		t.Errorf("told %q: nobody has to do anything", told)
	}
	w.expectIdle(s)
}

// What was stored just now is for an APIToken that is about to be created.
func TestNoTokenYet(t *testing.T) {
	w, j, s := enrolledWorld(t, double.Options{})
	w.enroll(j, s, "bob")
	w.wait(s, 9*time.Minute)
	w.expectSound(j, s, "bob")
	w.wait(s, time.Minute)
	w.expectWithdrawn(j, s, "bob", "bob")

	w.paste(s, "bob", pat("bob", 1))
	w.wait(s, 3*time.Hour)
	if w.held(s, "bob") != pat("bob", 1) {
		t.Error("what bob had pasted is gone the same day")
	}
	w.later(22 * time.Hour)
	w.reconcile(s)
	if w.copySecret(s, "bob") != nil || len(j.PersonalAccessTokens("bob")) != 1 {
		t.Error("what bob had pasted is held for nothing, or was revoked, which is his business")
	}
}

// The cache may not know of an APIToken yet: before anything is destroyed, the API server is asked.
func TestCacheBehind(t *testing.T) {
	w, j, s := enrolledWorld(t, double.Options{})
	w.later(time.Hour)
	behind := *w.reconciler
	behind.Client = w.blind()
	if _, err := w.pass(&behind, s); err != nil {
		t.Fatal(err)
	}
	w.expectSound(j, s, "alice")
	w.expectCredentials(s, tokensv1alpha1.ReasonVerified)
	behind.Live = w.blind()
	if _, err := w.pass(&behind, s); err != nil {
		t.Fatal(err)
	}
	w.expectWithdrawn(j, s, "alice", "alice") // so it was the second look that counted
}

// While the product is away nothing is withdrawn, renewed or given up.
func TestProductAwayForUpkeep(t *testing.T) {
	w, j, s := enrolledWorld(t, double.Options{})
	w.token("bob")
	bob := w.enroll(j, s, "bob")
	w.later(65 * day)
	w.remove(w.tokenOf("bob"))
	j.SetUnavailable(true)
	w.wait(s, 2*time.Hour)
	w.expect(s, tokensv1alpha1.ConditionUpstreamReachable, tokensv1alpha1.ReasonNoAnswer)
	w.expectCredentials(s, tokensv1alpha1.ReasonVerified)
	if got := w.credential(s, "bob"); got != bob {
		t.Errorf("held of bob is %+v", got)
	}
	j.SetUnavailable(false)
	w.wait(s, 20*time.Minute)
	w.expectWithdrawn(j, s, "bob", "bob")
	if c := w.expectSound(j, s, "alice"); !c.Stored.After(w.clock.Now().Add(-time.Hour)) {
		t.Errorf("it was not renewed: %+v", c)
	}
}

// blind is a client that finds no APITokens.
func (w *world) blind() client.WithWatch {
	return interceptor.NewClient(w.api, interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, l client.ObjectList, o ...client.ListOption) error {
			if _, ok := l.(*tokensv1alpha1.APITokenList); ok {
				return nil
			}
			return c.List(ctx, l, o...)
		},
	})
}

// The site goes on, without its memory, as if nothing had happened.
func TestRestartForgetsNothingThatMatters(t *testing.T) {
	w, j, s := enrolledWorld(t, double.Options{})
	j.RevokePAT(w.held(s, "alice"))
	for range 20 {
		w.reconciler.Memory = site.NewMemory()
		w.wait(s, 40*time.Minute)
	}
	w.expectCredentials(s, tokensv1alpha1.ReasonCredentialUnusable)
}

// However many there are, the product is asked about a hundred in a pass, and about those first who wait longest.
func TestChecksAreBounded(t *testing.T) {
	w := newWorld(t)
	var names []string
	for i := range 130 {
		names = append(names, fmt.Sprintf("u%03d", i))
	}
	j := w.jira("jira", names...)
	s := w.site("main")
	for _, name := range names {
		w.paste(s, name, pat(name, 1))
	}
	w.reconcile(s)
	w.later(100 * time.Minute)
	asked := func() []string {
		j.Reset()
		w.reconcile(s)
		return slices.Compact(sent(j)) // of each whose it is, and then what else there is of its owner
	}
	first := asked()
	w.later(time.Minute)
	second := asked()
	if len(first) != 100 || len(second) < 30 || len(second) > 60 {
		t.Fatalf("asked were %d, then %d", len(first), len(second))
	}
	all := map[string]bool{}
	for _, token := range slices.Concat(first, second) {
		all[token] = true
	}
	if len(all) != len(names) {
		t.Errorf("of %d only %d were asked about", len(names), len(all))
	}
}

// It is told also if the status has to be written again, because somebody else was first: the next pass finds out nothing new.
func TestFindingOutlivesAConflict(t *testing.T) {
	w, j, s := enrolledWorld(t, double.Options{})
	j.Deactivate("alice")
	w.told()
	w.later(100 * time.Minute)
	conflicting := *w.reconciler
	conflicting.Client = interceptor.NewClient(w.api, interceptor.Funcs{
		SubResourceApply: func(context.Context, client.Client, string, runtime.ApplyConfiguration, ...client.SubResourceApplyOption) error {
			return apierrors.NewConflict(schema.GroupResource{}, s.Name, errors.New("somebody else was first"))
		},
	})
	if _, err := w.pass(&conflicting, s); err != nil {
		t.Fatal(err)
	}
	w.expectTold(tokensv1alpha1.ReasonUpstreamCredentialRefused, "it was revoked or has ended, or the user was deactivated")
	w.reconcile(s)
	w.expectCredentials(s, tokensv1alpha1.ReasonCredentialUnusable)
}
