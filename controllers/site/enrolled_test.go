package site_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/site/credential"
	"apitokens.dev/operator/hack/lib/fakeproduct"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/upstream"
)

// A copy from the portal stays when entries change, and while a site is not served.
func TestWhatThePortalStoredStays(t *testing.T) {
	w, j, s := enrolledWorld(t, fakeproduct.Options{})
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
	w.expectUnused(s)
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

// A verified entry replaces the copy from the portal. Until then the copy stays.
func TestEntryReplacesWhatThePortalStored(t *testing.T) {
	w, j, s := enrolledWorld(t, fakeproduct.Options{})
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
	want := upstream.Credential{Namespace: w.ns, Site: "main", User: "alice", Origin: w.origin("jira"), Token: pat("alice", 1), UserKey: "K1"}
	if got := w.credential(s, "alice"); got != want {
		t.Errorf("held is %+v", got)
	}
	if ids := ours(j, s, "alice"); len(ids) != 0 {
		t.Errorf("what it replaced was not revoked: %v", ids)
	}
	w.expectLogged(s, "Revoked a personal access token at the product")
	w.expectIdle(s)

	// A copy that the portal stores over it is replaced again.
	w.enroll(j, s, "alice")
	w.reconcile(s)
	if got := w.credential(s, "alice"); got != want || len(ours(j, s, "alice")) != 0 {
		t.Errorf("held is %+v, the product has %v", got, ours(j, s, "alice"))
	}
}

// The enrolled personal access token stays in use until the product revokes it, and the condition says so.
func TestEntryWaitsForTheRevocation(t *testing.T) {
	w, j, s := enrolledWorld(t, fakeproduct.Options{})
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

// A copy from the portal is never sent to another origin. One Event says so.
func TestEnrolledStaysWithItsOrigin(t *testing.T) {
	w, j, s := enrolledWorld(t, fakeproduct.Options{})
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

// Ten minutes after a user's last APIToken went, their enrolled personal access token is revoked and removed.
func TestLastTokenGone(t *testing.T) {
	w, j, s := enrolledWorld(t, fakeproduct.Options{})
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
	if events := w.emitted(); len(events) != 0 {
		t.Errorf("events %q, want none: nobody has to do anything", events)
	}
	w.expectIdle(s)
}

// A recent copy may be for an APIToken that is about to be created.
func TestNoTokenYet(t *testing.T) {
	w, j, s := enrolledWorld(t, fakeproduct.Options{})
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
		t.Error("the personal access token that bob pasted is still held, or was revoked, which is up to them")
	}
}

// The cache may not have an APIToken yet: the API server is asked before anything is destroyed.
func TestCacheBehind(t *testing.T) {
	w, j, s := enrolledWorld(t, fakeproduct.Options{})
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

// While the product does not answer, nothing is withdrawn, renewed or given up.
func TestProductAwayForUpkeep(t *testing.T) {
	w, j, s := enrolledWorld(t, fakeproduct.Options{})
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

// blind returns a client that finds no APITokens.
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

// A restart loses the memory and changes nothing.
func TestRestartForgetsNothingThatMatters(t *testing.T) {
	w, j, s := enrolledWorld(t, fakeproduct.Options{})
	j.RevokePAT(w.held(s, "alice"))
	for range 20 {
		w.reconciler.Memory = credential.NewMemory()
		w.wait(s, 40*time.Minute)
	}
	w.expectCredentials(s, tokensv1alpha1.ReasonCredentialUnusable)
}
