package apitoken_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/projection"
	"apitokens.dev/operator/internal/record"
)

const day = 24 * time.Hour

// change edits the spec of an APIToken as an administrator.
func (w *world) change(t *tokensv1alpha1.APIToken, edit func(*tokensv1alpha1.APIToken)) {
	w.Helper()
	if err := env.Admin.Get(w.Context(), client.ObjectKeyFromObject(t), t); err != nil {
		w.Fatal(err)
	}
	edit(t)
	if err := env.Admin.Update(w.Context(), t); err != nil {
		w.Fatal(err)
	}
}

func (w *world) changeSite(edit func(*tokensv1alpha1.AtlassianSite)) {
	w.Helper()
	s := kubetest.Site(w.ns, "main")
	if err := env.Admin.Get(w.Context(), client.ObjectKeyFromObject(s), s); err != nil {
		w.Fatal(err)
	}
	edit(s)
	if err := env.Admin.Update(w.Context(), s); err != nil {
		w.Fatal(err)
	}
}

func (w *world) sleep(d time.Duration) { w.clock.SetTime(w.clock.Now().Add(d)) }

// expectEvents expects Events with exactly these reasons since the last time.
func (w *world) expectEvents(reasons ...string) {
	w.Helper()
	got := w.eventsSoFar()
	ok := len(got) == len(reasons)
	for i := range min(len(got), len(reasons)) {
		ok = ok && strings.Contains(got[i], " "+reasons[i]+" ")
	}
	if !ok {
		w.Errorf("Events %q, want the reasons %q", got, reasons)
	}
}

func TestRotation(t *testing.T) {
	w := newWorld(t)
	tok := kubetest.Token(w.ns, "ci", func(t *tokensv1alpha1.APIToken) {
		t.Spec.Rotation = tokensv1alpha1.Rotation{IntervalDays: new(int32(30)), OverlapHours: new(int32(6))}
	})
	w.create(tok)
	w.settled(tok)
	w.expectEvents()
	first, id := w.password(tok), tok.Status.TokenID
	issued := w.record(tok).Entries[0].Issued
	if want := metav1.NewTime(issued.Add(30 * day)).Rfc3339Copy(); !tok.Status.NextRotationTime.Equal(&want) {
		t.Errorf("the next rotation is said to be %s, want %s", tok.Status.NextRotationTime, want)
	}
	delivered := w.secret(w.ns, "ci-token")
	delivered.Labels["somebody"] = "put-this-here"
	if err := env.Admin.Update(t.Context(), delivered); err != nil {
		t.Fatal(err)
	}

	w.clock.SetTime(issued.Add(30*day - 1))
	w.settled(tok)
	if got := w.password(tok); string(got) != string(first) {
		t.Error("rotated before its time")
	}

	w.clock.SetTime(issued.Add(30 * day))
	w.reconcile(tok, tokensv1alpha1.ReasonIssued)
	w.expectEvents(tokensv1alpha1.ReasonRotated)
	second, r := w.password(tok), w.record(tok)
	switch {
	case string(second) == string(first):
		t.Fatal("not rotated")
	case tok.Status.TokenID != id || r.TokenID != id:
		t.Errorf("the token id changed from %s to %s", id, tok.Status.TokenID)
	case len(r.Entries) != 2 || r.Verify(first) != 0 || r.Verify(second) != 1:
		t.Fatalf("the record holds %d secrets, the first at %d, the second at %d", len(r.Entries), r.Verify(first), r.Verify(second))
	case r.Entries[0].State != record.Ending || !r.Entries[0].Ends.Equal(w.clock.Now().Add(6*time.Hour)) || r.Entries[1].State != record.Delivered:
		t.Errorf("the record is %+v", r.Entries)
	case w.secret(w.ns, "ci-token").Labels["somebody"] == "":
		t.Error("a label of the delivered Secret was lost")
	}

	w.sleep(6*time.Hour - 1)
	w.reconcile(tok, tokensv1alpha1.ReasonIssued)
	if r := w.record(tok); len(r.Entries) != 2 {
		t.Error("the old secret was dropped before its time")
	}
	w.sleep(1)
	w.settled(tok)
	w.expectEvents()
}

func TestRequestedRotation(t *testing.T) {
	w := newWorld(t)
	tok := kubetest.Token(w.ns, "ci")
	w.create(tok)
	w.settled(tok)
	first := w.password(tok)
	w.change(tok, func(t *tokensv1alpha1.APIToken) {
		t.Spec.Rotation.RequestedTime = metav1.NewTime(w.clock.Now().Add(time.Hour))
	})
	w.settled(tok)
	if string(w.password(tok)) != string(first) {
		t.Error("rotated before the time that was asked for")
	}
	w.sleep(time.Hour)
	w.reconcile(tok, tokensv1alpha1.ReasonIssued)
	if r := w.record(tok); r.Verify(first) != 0 || !r.Entries[0].Ends.Equal(w.clock.Now().Add(day)) || r.Verify(w.password(tok)) != 1 {
		t.Errorf("the record is %+v", r.Entries)
	}
	w.sleep(day)
	w.settled(tok)
	w.expectEvents(tokensv1alpha1.ReasonRotated)
}

// A leaked secret is dead as soon as a requested rotation without an overlap is delivered. So is each secret that an earlier
// rotation replaced, whatever overlap it had.
func TestLeakedSecretIsDeadAtOnce(t *testing.T) {
	w := newWorld(t)
	tok := kubetest.Token(w.ns, "ci")
	w.create(tok)
	w.settled(tok)
	replaced := w.password(tok)
	rotate := func(overlap int32) {
		t.Helper()
		w.sleep(time.Minute)
		w.change(tok, func(t *tokensv1alpha1.APIToken) {
			t.Spec.Rotation = tokensv1alpha1.Rotation{RequestedTime: metav1.NewTime(w.clock.Now()), OverlapHours: &overlap}
		})
		w.reconcile(tok, tokensv1alpha1.ReasonIssued)
	}
	rotate(1)
	leaked := w.password(tok)
	rotate(0)
	r := w.record(tok)
	if r.Verify(leaked) >= 0 || r.Verify(replaced) >= 0 {
		t.Error("an older secret still authenticates")
	}
	if r.Verify(w.password(tok)) < 0 {
		t.Error("the new secret does not authenticate")
	}
}

// A person who deletes the delivered Secret wants its token dead: there is no overlap, not even of earlier rotations.
func TestDeletedSecretHasNoOverlap(t *testing.T) {
	w := newWorld(t)
	tok := w.atStage("rotate")
	w.change(tok, func(t *tokensv1alpha1.APIToken) { t.Spec.Rotation.OverlapHours = new(int32(24)) })
	first := w.password(tok)
	w.reconcile(tok, tokensv1alpha1.ReasonIssued)
	second := w.password(tok)
	if w.record(tok).Verify(first) < 0 || string(first) == string(second) {
		t.Fatal("there is no overlap to begin with")
	}
	if err := env.Admin.Delete(t.Context(), w.secret(w.ns, "ci-token")); err != nil {
		t.Fatal(err)
	}
	w.settled(tok)
	if r := w.record(tok); r.Verify(first) >= 0 || r.Verify(second) >= 0 {
		t.Error("a secret goes on after its Secret was deleted")
	}
}

// An older Secret that GitOps or a restore puts back gets the present token again. The older token ends when it was to.
func TestSecretPutBack(t *testing.T) {
	w := newWorld(t)
	tok := w.atStage("rotate")
	w.change(tok, func(t *tokensv1alpha1.APIToken) { t.Spec.Rotation.OverlapHours = new(int32(24)) })
	old := w.secret(w.ns, "ci-token")
	w.reconcile(tok, tokensv1alpha1.ReasonIssued)
	ends := w.record(tok).Entries[0].Ends
	current := w.secret(w.ns, "ci-token")
	current.Data = old.Data
	if err := env.Admin.Update(t.Context(), current); err != nil {
		t.Fatal(err)
	}
	w.sleep(time.Hour)
	w.reconcile(tok, tokensv1alpha1.ReasonIssued)
	r := w.record(tok)
	at := r.Verify(old.Data["password"])
	if string(w.password(tok)) == string(old.Data["password"]) || at < 0 || !r.Entries[at].Ends.Equal(ends) {
		t.Errorf("what was put back is at %d of %+v, and was to end at %s", at, r.Entries, ends)
	}
}

func TestExpiry(t *testing.T) {
	w := newWorld(t)
	w.reconciler.ExpiryNotices = []time.Duration{14 * day, 7 * day, day}
	tok := kubetest.Token(w.ns, "ci", func(t *tokensv1alpha1.APIToken) { t.Spec.LifetimeDays = new(int32(30)) })
	w.create(tok)
	w.settled(tok)
	w.expectEvents()
	end := w.record(tok).Entries[0].Issued.Add(30 * day)
	if want := metav1.NewTime(end).Rfc3339Copy(); !tok.Status.ExpirationTime.Equal(&want) {
		t.Errorf("said to expire at %s, want %s", tok.Status.ExpirationTime, want)
	}
	w.clock.SetTime(end.Add(-14*day - 1))
	w.settled(tok)
	w.expectEvents()
	for _, before := range []time.Duration{14 * day, 7 * day, day} {
		for range 2 { // once each
			w.clock.SetTime(end.Add(-before))
			w.settled(tok)
			w.sleep(time.Hour)
			w.settled(tok)
		}
		w.expectEvents(tokensv1alpha1.ReasonExpiresSoon)
		if !apimeta.IsStatusConditionTrue(tok.Status.Conditions, tokensv1alpha1.ConditionExpiring) {
			t.Errorf("%s before the end the condition is %+v", before, tok.Status.Conditions)
		}
	}
	w.clock.SetTime(end)
	w.reconcile(tok, tokensv1alpha1.ReasonExpired)
	w.expectEvents(tokensv1alpha1.ReasonExpired)
	if apimeta.FindStatusCondition(tok.Status.Conditions, tokensv1alpha1.ConditionExpiring) != nil {
		t.Error("what is over is still expiring")
	}
	// An extended token is valid again: nothing was thrown away.
	w.change(tok, func(t *tokensv1alpha1.APIToken) { t.Spec.LifetimeDays = new(int32(60)) })
	w.settled(tok)
	w.expectEvents()
}

func TestExpiredTokensAreRemovedAsTheSiteSays(t *testing.T) {
	w := newWorld(t)
	tok := kubetest.Token(w.ns, "ci", func(t *tokensv1alpha1.APIToken) { t.Spec.LifetimeDays = new(int32(1)) })
	w.create(tok)
	w.settled(tok)
	end := w.record(tok).Entries[0].Issued.Add(day)
	w.clock.SetTime(end.Add(1000 * day))
	w.reconcile(tok, tokensv1alpha1.ReasonExpired)
	w.changeSite(func(s *tokensv1alpha1.AtlassianSite) { s.Spec.TokenPolicy.ExpiredRetentionDays = new(int32(30)) })
	w.clock.SetTime(end.Add(30*day - 1))
	w.reconcile(tok, tokensv1alpha1.ReasonExpired)
	w.clock.SetTime(end.Add(30 * day))
	if _, err := w.reconciler.Reconcile(t.Context(), tok); err != nil {
		t.Fatal(err)
	}
	if err := env.Admin.Get(t.Context(), client.ObjectKeyFromObject(tok), tok.DeepCopy()); !apierrors.IsNotFound(err) {
		t.Fatalf("the expired APIToken is there still: %v", err)
	}
	w.clean(tok)
	if w.secret(w.ns, "ci-token") != nil || w.record(tok).Dead.IsZero() {
		t.Error("its delivered Secret was left, or its record is not dead")
	}
}

// The epoch kills at once, and generated tokens are delivered anew by themselves, without an overlap.
func TestEpoch(t *testing.T) {
	w := newWorld(t)
	tok := kubetest.Token(w.ns, "ci")
	w.create(tok)
	w.settled(tok)
	first := w.password(tok)
	w.sleep(time.Hour)
	epoch := metav1.NewTime(w.clock.Now().Add(time.Minute)).Rfc3339Copy()
	w.changeSite(func(s *tokensv1alpha1.AtlassianSite) { s.Spec.IssuedAfter = epoch })
	w.reconcile(tok, tokensv1alpha1.ReasonEpochPending)
	if string(w.password(tok)) != string(first) {
		t.Error("a token was issued that the epoch revokes")
	}
	w.clock.SetTime(epoch.Time)
	w.settled(tok)
	if w.record(tok).Verify(first) >= 0 || string(w.password(tok)) == string(first) {
		t.Error("the revoked secret is there still")
	}
	w.expectEvents(tokensv1alpha1.ReasonEpochPending, tokensv1alpha1.ReasonRotated)
}

// The epoch of an earlier site of the name counts as the site's own: the projection has it.
func TestEpochOfAnEarlierSite(t *testing.T) {
	w := newWorld(t)
	tok := kubetest.Token(w.ns, "ci")
	w.create(tok)
	w.settled(tok)
	first := w.password(tok)
	w.sleep(time.Hour)
	p := projection.Projection{Namespace: w.ns, Site: "main", IssuedAfter: w.clock.Now().Add(time.Minute).UTC()}
	data, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	w.create(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: kubetest.SystemNamespace, Name: p.SecretName()},
		Type:       projection.SecretType, Data: map[string][]byte{projection.DataKey: data},
	})
	w.reconcile(tok, tokensv1alpha1.ReasonEpochPending)
	w.clock.SetTime(p.IssuedAfter)
	w.settled(tok)
	if w.record(tok).Verify(first) >= 0 || string(w.password(tok)) == string(first) {
		t.Error("the revoked secret is there still")
	}
}

func TestSuspended(t *testing.T) {
	w := newWorld(t)
	tok := kubetest.Token(w.ns, "ci")
	w.create(tok)
	w.settled(tok)
	before := w.record(tok)
	w.change(tok, func(t *tokensv1alpha1.APIToken) { t.Spec.State = tokensv1alpha1.StateSuspended })
	w.reconcile(tok, tokensv1alpha1.ReasonSuspended)
	w.change(tok, func(t *tokensv1alpha1.APIToken) { t.Spec.State = tokensv1alpha1.StateActive })
	w.settled(tok)
	if w.record(tok).Entries[0] != before.Entries[0] {
		t.Error("the record was written for it")
	}
}

// A user's older tokens are within the quota, in whatever order they are reconciled.
func TestQuota(t *testing.T) {
	w := newWorld(t)
	w.changeSite(func(s *tokensv1alpha1.AtlassianSite) { s.Spec.TokenPolicy.MaxTokensPerUser = new(int32(2)) })
	w.holdUpstream("bob", "http://jira."+w.ns+".svc:8080")
	var tokens []*tokensv1alpha1.APIToken
	for i := range 3 {
		tok := kubetest.Token(w.ns, fmt.Sprintf("ci-%d", i), func(t *tokensv1alpha1.APIToken) { t.Spec.User = []string{"alice", "Alice", "ALICE"}[i] })
		w.create(tok)
		tokens = append(tokens, tok)
	}
	bobs := kubetest.Token(w.ns, "bobs", func(t *tokensv1alpha1.APIToken) { t.Spec.User = "bob" })
	w.create(bobs)
	w.settled(bobs)
	violates := 0
	for i := range tokens {
		tok := tokens[len(tokens)-1-i]
		if _, err := w.pass(w.reconciler, tok); err != nil {
			t.Fatal(err)
		}
		if w.secret(w.ns, tok.Spec.Delivery.SecretName) == nil {
			violates++
			w.reconcile(tok, tokensv1alpha1.ReasonPolicyViolation)
			defer w.settled(tok) // once there is room
		}
	}
	if violates != 1 {
		t.Errorf("%d of 3 tokens were refused, where 2 are allowed", violates)
	}
	for _, tok := range tokens {
		if w.secret(w.ns, tok.Spec.Delivery.SecretName) != nil {
			if err := env.Admin.Delete(t.Context(), tok); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
}

func TestSiteOfAnotherNamespace(t *testing.T) {
	w := newWorld(t)
	elsewhere := env.Namespace(t)
	tok := kubetest.Token(elsewhere, "ci", func(t *tokensv1alpha1.APIToken) { t.Spec.SiteRef.Namespace = w.ns })
	w.create(tok)
	w.reconcile(tok, tokensv1alpha1.ReasonNamespaceNotAllowed)
	if w.secret(elsewhere, "ci-token") != nil {
		t.Fatal("a token was issued in a namespace that is not allowed")
	}
	w.changeSite(func(s *tokensv1alpha1.AtlassianSite) {
		s.Spec.AllowedNamespaces = tokensv1alpha1.AllowedNamespaces{
			From: tokensv1alpha1.NamespacesFromSelector, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"jira": "yes"}},
		}
	})
	w.reconcile(tok, tokensv1alpha1.ReasonNamespaceNotAllowed)
	label := func(value string) {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: elsewhere}}
		patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"jira":"`+value+`"}}}`))
		if err := env.Admin.Patch(t.Context(), namespace, patch); err != nil {
			t.Fatal(err)
		}
	}
	label("yes")
	w.settled(tok)
	if r := w.record(tok); r.Site != (record.Ref{Namespace: w.ns, Name: "main"}) || r.APIToken.Namespace != elsewhere {
		t.Errorf("the record is %+v", r)
	}
	label("no")
	w.reconcile(tok, tokensv1alpha1.ReasonNamespaceNotAllowed)
	w.changeSite(func(s *tokensv1alpha1.AtlassianSite) {
		s.Spec.AllowedNamespaces = tokensv1alpha1.AllowedNamespaces{
			From: tokensv1alpha1.NamespacesFromSelector, Selector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "jira", Operator: "Like"}}},
		}
	})
	if ready := w.reconcile(tok, tokensv1alpha1.ReasonNamespaceNotAllowed); !strings.Contains(ready.Message, "selector") {
		t.Errorf("the message does not say that the selector cannot be read: %s", ready.Message)
	}
}
