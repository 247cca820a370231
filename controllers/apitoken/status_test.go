package apitoken_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/kubetest"
)

// Flux, Argo CD and kpt compute from a status whether they have to wait, may go on, or should give up.
func TestStatusAsGitOpsToolsSeeIt(t *testing.T) {
	w := newWorld(t)
	tok := kubetest.Token(w.ns, "ci")
	w.create(tok)
	want := func(when string, want status.Status) {
		t.Helper()
		if got := env.Status(t, tok); got != want {
			t.Errorf("%s: %s, want %s", when, got, want)
		}
	}
	want("before the first pass", status.InProgressStatus)
	w.reconcile(tok, tokensv1alpha1.ReasonIssued)
	want("issued", status.CurrentStatus)

	tok.Spec.Label = "changed"
	if err := env.Admin.Update(t.Context(), tok); err != nil {
		t.Fatal(err)
	}
	want("changed since the last pass", status.InProgressStatus)
	w.reconcile(tok, tokensv1alpha1.ReasonIssued)
	want("issued again", status.CurrentStatus)

	w.change(tok, func(t *tokensv1alpha1.APIToken) { t.Spec.State = tokensv1alpha1.StateSuspended })
	w.reconcile(tok, tokensv1alpha1.ReasonSuspended)
	want("suspended", status.InProgressStatus)
	w.change(tok, func(t *tokensv1alpha1.APIToken) { t.Spec.State = tokensv1alpha1.StateActive })

	w.reconcile(tok, tokensv1alpha1.ReasonIssued)
	delivered := w.secret(w.ns, tok.Spec.Delivery.SecretName)
	delivered.Data[corev1.BasicAuthPasswordKey] = []byte("foreign")
	if err := env.Admin.Update(t.Context(), delivered); err != nil {
		t.Fatal(err)
	}
	w.reconcile(tok, tokensv1alpha1.ReasonDeliveryConflict)
	want("in need of a person", status.FailedStatus)
	if err := env.Admin.Delete(t.Context(), delivered); err != nil {
		t.Fatal(err)
	}
	w.reconcile(tok, tokensv1alpha1.ReasonIssued)
	want("mended", status.CurrentStatus)
}

// An APIToken that cannot be decoded has a condition that says so, and is issued once it is corrected.
func TestMalformedToken(t *testing.T) {
	w := newWorld(t)
	tok := kubetest.Token(w.ns, "ci")
	w.create(tok)
	w.reconcile(tok, tokensv1alpha1.ReasonIssued)
	issued := w.record(tok)
	env.Malform(t, tok, "expirationTime", "2027-06-30t00:00:00z")
	ready := w.reconcile(tok, tokensv1alpha1.ReasonInvalid)
	if !strings.Contains(ready.Message, "2027-06-30t00:00:00z") || !apimeta.IsStatusConditionTrue(tok.Status.Conditions, tokensv1alpha1.ConditionStalled) {
		t.Errorf("%s; %+v", ready.Message, tok.Status)
	}
	before := tok.ResourceVersion
	w.reconcile(tok, tokensv1alpha1.ReasonInvalid)
	if tok.ResourceVersion != before {
		t.Error("the status is written in each pass")
	}
	correct := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"expirationTime":null}}`))
	if err := env.Admin.Patch(t.Context(), tok, correct); err != nil {
		t.Fatal(err)
	}
	w.reconcile(tok, tokensv1alpha1.ReasonIssued)
	if now := w.record(tok); now.TokenID != issued.TokenID || len(now.Entries) != len(issued.Entries) {
		t.Errorf("the record changed from %+v to %+v", issued, now)
	}
}

// The API server checks the whole object with its status. Where the schema refuses it now, an Event says why.
func TestMalformedTokenWhoseStatusIsRefused(t *testing.T) {
	w := newWorld(t)
	tok := kubetest.Token(w.ns, "ci")
	w.create(tok)
	restore := env.Malform(t, tok, "expirationTime", "2027-06-30t00:00:00z")
	restore()
	if _, err := w.pass(w.reconciler, tok); err != nil {
		t.Fatal(err)
	}
	if events := strings.Join(w.eventsSoFar(), "\n"); !strings.Contains(events, "2027-06-30t00:00:00z") {
		t.Errorf("the Events are %s", events)
	}
	if w.secret(w.ns, tok.Spec.Delivery.SecretName) != nil {
		t.Error("a token was delivered")
	}
}

// Nothing is issued by a site whose limits are unknown.
func TestTokenOfMalformedSite(t *testing.T) {
	w := newWorld(t)
	issued, other := kubetest.Token(w.ns, "issued"), kubetest.Token(w.ns, "new")
	w.create(issued)
	w.reconcile(issued, tokensv1alpha1.ReasonIssued)
	w.create(other)
	env.Malform(t, kubetest.Site(w.ns, "main"), "issuedAfter", "2027-06-30t00:00:00z")
	w.reconcile(issued, tokensv1alpha1.ReasonSiteInvalid)
	w.reconcile(other, tokensv1alpha1.ReasonSiteInvalid)
	if w.secret(w.ns, other.Spec.Delivery.SecretName) != nil {
		t.Error("a token was delivered")
	}
	if stored := (&tokensv1alpha1.APIToken{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "issued"}}); env.Status(t, stored) != status.FailedStatus {
		t.Errorf("status %s, want %s", env.Status(t, stored), status.FailedStatus)
	}
}
