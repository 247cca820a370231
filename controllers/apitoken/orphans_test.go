package apitoken_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/apitoken"
	"apitokens.dev/operator/hack/lib/kubetest"
)

const (
	since = "apitokens.dev/orphaned-since"
	month = 30 * 24 * time.Hour
)

// care reconciles the record of an APIToken once, if there is one, and returns it.
func (w *world) care(tok *tokensv1alpha1.APIToken) *corev1.Secret {
	w.Helper()
	orphans := &apitoken.Orphans{
		Client: w.reconciler.Client, Live: w.reconciler.Client, Events: w.events, Clock: w.clock, Namespace: kubetest.SystemNamespace,
	}
	stored := w.secret(kubetest.SystemNamespace, string(tok.UID))
	if stored == nil {
		return nil
	}
	if _, err := orphans.Reconcile(w.Context(), stored); err != nil {
		w.Fatal(err)
	}
	return w.secret(kubetest.SystemNamespace, string(tok.UID))
}

func TestRecordWithItsAPITokenIsNoOrphan(t *testing.T) {
	w := newWorld(t)
	tok := kubetest.Token(w.ns, "ci")
	w.create(tok)
	w.settled(tok)
	before := w.secret(kubetest.SystemNamespace, string(tok.UID))
	if after := w.care(tok); after.ResourceVersion != before.ResourceVersion {
		t.Error("a record in use was touched")
	}
	before.Annotations = map[string]string{since: w.clock.Now().Add(-2 * month).Format(time.RFC3339)}
	if err := w.as().Update(t.Context(), before); err != nil {
		t.Fatal(err)
	}
	if after := w.care(tok); after == nil || after.Annotations[since] != "" {
		t.Error("a record in use was taken for an orphan because somebody said so")
	}
	w.settled(tok)
}

// The controller did not run while an APIToken was deleted: its Secrets are dead, kept for 30 days, then removed.
func TestUnseenDeletion(t *testing.T) {
	w := newWorld(t)
	tok := kubetest.Token(w.ns, "ci")
	w.create(tok)
	w.settled(tok)
	w.eventsSoFar()
	if err := env.Admin.Delete(t.Context(), tok.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	if kept := w.care(tok); kept.Annotations[since] != w.clock.Now().UTC().Format(time.RFC3339) {
		t.Errorf("marked %v", kept.Annotations)
	}
	if got := w.eventsSoFar(); len(got) != 1 || !strings.Contains(got[0], "Warning RecordOrphaned") || !strings.Contains(got[0], tok.Status.TokenID) {
		t.Errorf("events %q", got)
	}
	w.clock.SetTime(w.clock.Now().Truncate(time.Second).Add(month - time.Nanosecond))
	if w.care(tok) == nil || w.secret(w.ns, "ci-token") == nil {
		t.Fatal("removed before 30 days were over")
	}
	w.clock.SetTime(w.clock.Now().Add(time.Nanosecond))
	if w.care(tok) != nil || w.secret(w.ns, "ci-token") != nil {
		t.Error("something is left after 30 days")
	}
	if got := w.eventsSoFar(); len(got) != 0 {
		t.Errorf("another Event for the same: %q", got)
	}
}

// Each record is swept again and again, so that a deletion that no watch showed is found too. One that was observed is left to
// the clean-up.
func TestRecordsAreSwept(t *testing.T) {
	w := newWorld(t)
	tok := kubetest.Token(w.ns, "ci")
	w.create(tok)
	w.settled(tok)
	w.eventsSoFar()
	orphans := &apitoken.Orphans{
		Client: w.reconciler.Client, Live: w.reconciler.Client, Events: w.events, Clock: w.clock, Namespace: kubetest.SystemNamespace,
		Deletions: &apitoken.Deletions{},
	}
	sweep := func() *corev1.Secret {
		t.Helper()
		result, err := orphans.Reconcile(t.Context(), w.secret(kubetest.SystemNamespace, string(tok.UID)))
		if err != nil || result.RequeueAfter <= 0 || result.RequeueAfter > 5*time.Minute {
			t.Fatalf("sweeps again after %s: %v", result.RequeueAfter, err)
		}
		return w.secret(kubetest.SystemNamespace, string(tok.UID))
	}
	if stored := sweep(); stored.Annotations[since] != "" {
		t.Error("a record in use was marked")
	}
	if err := env.Admin.Delete(t.Context(), tok); err != nil {
		t.Fatal(err)
	}
	w.create(kubetest.Token(w.ns, "ci"))
	apitoken.Observe(orphans.Deletions, tok)
	if stored := sweep(); stored.Annotations[since] != "" {
		t.Error("a record was marked that the clean-up is going to remove")
	}
	orphans.Deletions = &apitoken.Deletions{} // the controller restarted
	if stored := sweep(); stored.Annotations[since] == "" {
		t.Error("a record of another UID was not found")
	}
	w.expectEvents(tokensv1alpha1.ReasonRecordOrphaned)
}

// restored simulates a restore from a backup: all objects are there again, the APIToken with a new UID.
func (w *world) restored() (old, restored *tokensv1alpha1.APIToken) {
	w.Helper()
	old = kubetest.Token(w.ns, "ci")
	w.create(old)
	w.settled(old)
	if err := env.Admin.Delete(w.Context(), old.DeepCopy()); err != nil {
		w.Fatal(err)
	}
	restored = kubetest.Token(w.ns, "ci")
	w.create(restored)
	w.care(old)
	return old, restored
}

func TestRestoreIsDeadAndSaysHowToRepair(t *testing.T) {
	w := newWorld(t)
	old, restored := w.restored()
	ready := w.reconcile(restored, tokensv1alpha1.ReasonRecordOrphaned)
	for _, name := range []string{string(old.UID), string(restored.UID), "'ci-token'", "docs/how-to/restore.md"} {
		if !strings.Contains(ready.Message, name) {
			t.Errorf("the message does not name %s: %s", name, ready.Message)
		}
	}
	if w.secret(kubetest.SystemNamespace, string(restored.UID)) != nil || w.secret(kubetest.SystemNamespace, string(old.UID)) == nil {
		t.Error("the restored APIToken was given a record, or the old one is gone")
	}
	if err := env.Admin.Delete(t.Context(), w.secret(w.ns, "ci-token")); err != nil {
		t.Fatal(err)
	}
	w.settled(restored)
	if restored.Status.TokenID == old.Status.TokenID {
		t.Error("a token was revived without anybody asking for it")
	}
}

// The repair of docs/how-to/restore.md: the record is copied under the new UID by somebody with the right to restore.
func TestRestoreRepaired(t *testing.T) {
	w := newWorld(t)
	old, restored := w.restored()
	delivered := w.password(old)
	orphan := w.secret(kubetest.SystemNamespace, string(old.UID))
	w.create(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: orphan.Namespace, Name: string(restored.UID), Labels: orphan.Labels}, Type: orphan.Type, Data: orphan.Data,
	})
	w.settled(restored)
	if restored.Status.TokenID != old.Status.TokenID || !bytes.Equal(w.password(restored), delivered) {
		t.Error("the token that was restored is another one")
	}
	w.clock.SetTime(w.clock.Now().Add(month))
	if w.care(old) != nil {
		t.Error("the orphan is left after 30 days")
	}
	w.settled(restored)
	if !bytes.Equal(w.password(restored), delivered) {
		t.Error("the delivered Secret of the repaired APIToken went with the orphan")
	}
}

// A dead record stays dead, whatever is created under its name: the same APIToken, the same delivered Secret, a copy of the record
// under the new UID. It is there for 30 days, and is not looked at until then.
func TestDeadRecordStaysDead(t *testing.T) {
	w := newWorld(t)
	old := kubetest.Token(w.ns, "ci")
	w.create(old)
	w.settled(old)
	delivered, stored := w.secret(w.ns, "ci-token"), w.secret(kubetest.SystemNamespace, string(old.UID))
	if err := env.Admin.Delete(t.Context(), old.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	w.clean(old)
	dead := w.secret(kubetest.SystemNamespace, string(old.UID))

	again := kubetest.Token(w.ns, "ci")
	delivered.ResourceVersion, delivered.UID = "", ""
	w.create(again, delivered)
	ready := w.reconcile(again, tokensv1alpha1.ReasonRecordOrphaned)
	if !strings.Contains(ready.Message, "stays dead") || !strings.Contains(ready.Message, "Delete Secret 'ci-token'") {
		t.Errorf("the message is %q", ready.Message)
	}
	copied := func(of *corev1.Secret) {
		t.Helper()
		if now := w.secret(kubetest.SystemNamespace, string(again.UID)); now != nil {
			if err := w.as().Delete(t.Context(), now); err != nil {
				t.Fatal(err)
			}
		}
		w.create(&corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: of.Namespace, Name: string(again.UID), Labels: of.Labels}, Type: of.Type, Data: of.Data,
		})
	}
	copied(dead)
	if ready := w.reconcile(again, tokensv1alpha1.ReasonRecordDamaged); !strings.Contains(ready.Message, "stays dead") {
		t.Errorf("the message is %q", ready.Message)
	}
	// Only the record of before brings it back, by the hand of somebody with the right to restore.
	copied(stored)
	w.settled(again)

	orphans := &apitoken.Orphans{Client: w.reconciler.Client, Live: w.reconciler.Client, Events: w.events, Clock: w.clock, Namespace: kubetest.SystemNamespace}
	w.sleep(time.Hour)
	if result, err := orphans.Reconcile(t.Context(), dead); err != nil || result.RequeueAfter != month-time.Hour {
		t.Errorf("looks again after %s (%v)", result.RequeueAfter, err)
	}
	w.clock.SetTime(w.record(old).Dead.Add(month - 1))
	if kept := w.care(old); kept == nil || kept.ResourceVersion != dead.ResourceVersion {
		t.Error("a dead record was not kept for 30 days, or was touched")
	}
	w.clock.SetTime(w.clock.Now().Add(1))
	if w.care(old) != nil || w.secret(w.ns, "ci-token") == nil {
		t.Error("a dead record was kept for more than 30 days, or somebody's Secret went with it")
	}
	w.settled(again)
}

// A secret that was replaced stays known for 30 days, and authenticates nobody.
func TestDeadEntriesAreKept(t *testing.T) {
	w := newWorld(t)
	generated, follow := kubetest.Token(w.ns, "ci"), w.importing("old", tokensv1alpha1.ImportFollow)
	w.create(generated, follow)
	w.source("old", firstImport)
	w.settled(generated)
	w.reconcile(follow, tokensv1alpha1.ReasonImported)
	first := w.password(generated)
	w.sleep(time.Hour)
	ended := w.clock.Now()
	w.source("old", secondImport)
	w.reconcile(follow, tokensv1alpha1.ReasonImported)
	w.change(generated, func(t *tokensv1alpha1.APIToken) {
		t.Spec.Rotation.OverlapHours, t.Spec.Rotation.RequestedTime = new(int32), metav1.NewTime(w.clock.Now())
	})
	w.settled(generated)
	// A person who deletes the delivered Secret wants its token dead at once. The epoch kills too.
	second := w.password(generated)
	w.sleep(time.Hour)
	if err := env.Admin.Delete(t.Context(), w.secret(w.ns, "ci-token")); err != nil {
		t.Fatal(err)
	}
	w.settled(generated)
	third := w.password(generated)
	w.sleep(time.Hour)
	w.changeSite(func(s *tokensv1alpha1.AtlassianSite) { s.Spec.IssuedAfter = metav1.NewTime(w.clock.Now()) })
	w.settled(generated)

	r := w.record(generated)
	for i, text := range [][]byte{first, second, third} {
		if dead := r.VerifyDead(text); dead != i || !r.DeadEntries[i].Ends.Equal(ended.Add(time.Duration(i)*time.Hour)) {
			t.Errorf("secret %d is the dead entry %d of %+v", i, dead, r.DeadEntries)
		}
	}
	if r := w.record(follow); r.VerifyDead([]byte(firstImport)) != 0 || !r.DeadEntries[0].Ends.Equal(ended) {
		t.Errorf("what was followed before is not known as dead: %+v", r)
	}
	w.clock.SetTime(ended.Add(month))
	w.care(generated)
	w.care(follow)
	if r := w.record(generated); r.VerifyDead(first) >= 0 || r.VerifyDead(second) < 0 {
		t.Errorf("after 30 days the dead entries are %+v", r.DeadEntries)
	}
	if r := w.record(follow); len(r.DeadEntries) > 0 || r.Verify([]byte(secondImport)) != 0 {
		t.Errorf("after 30 days the followed record is %+v", r)
	}
}

// A foreign token in the Secret is no reason to offer its revival.
func TestOrphanOfAnotherAPITokenIsNotOffered(t *testing.T) {
	w := newWorld(t)
	other := kubetest.Token(w.ns, "other")
	w.create(other)
	w.settled(other)
	stolen := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "ci-token"}, Type: corev1.SecretTypeBasicAuth,
		Data: map[string][]byte{"username": []byte("alice"), "password": w.password(other)},
	}
	tok := kubetest.Token(w.ns, "ci")
	w.create(stolen, tok)
	w.reconcile(tok, tokensv1alpha1.ReasonDeliveryConflict)
}
