package site_test

import (
	"strings"
	"testing"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

// Flux, Argo CD and kpt compute from a status whether they have to wait, may go on, or should give up.
func TestStatusAsGitOpsToolsSeeIt(t *testing.T) {
	w := newWorld(t)
	w.jira("jira")
	s := w.site("main")
	want := func(when string, want status.Status) {
		t.Helper()
		if got := env.Status(t, s); got != want {
			t.Errorf("%s: %s, want %s", when, got, want)
		}
	}
	want("before the first pass", status.InProgressStatus)
	w.reconcile(s)
	want("served", status.CurrentStatus)
	w.change(s, upstreamURL("http://elsewhere.example:8080/jira"))
	want("changed since the last pass", status.InProgressStatus)
	w.reconcile(s)
	w.expectReady(s, tokensv1alpha1.ReasonUpstreamNotAllowed)
	want("in need of a person", status.FailedStatus)
	w.change(s, upstreamURL(w.origin("jira")+"/jira"))
	w.reconcile(s)
	want("mended", status.CurrentStatus)
}

// A site that cannot be decoded keeps its Secrets. Its condition says that it cannot be read, and other sites are served.
func TestMalformedSite(t *testing.T) {
	w := newWorld(t)
	w.jira("jira")
	s, other := w.site("main"), w.site("other")
	w.reconcile(s)
	keys := w.keysSecret(s)
	env.Malform(t, s, "issuedAfter", "2027-06-30t00:00:00z")
	w.reconcile(s)
	if ready := w.expectReady(s, tokensv1alpha1.ReasonInvalid); !strings.Contains(ready.Message, "2027-06-30t00:00:00z") {
		t.Error(ready.Message)
	}
	if !apimeta.IsStatusConditionTrue(s.Status.Conditions, tokensv1alpha1.ConditionStalled) {
		t.Errorf("status %+v", s.Status)
	}
	if now := w.keysSecret(s); now == nil || now.UID != keys.UID || now.ResourceVersion != keys.ResourceVersion {
		t.Errorf("the caller keys are %v", now)
	}
	w.reconcile(other)
	w.expectReady(other, tokensv1alpha1.ReasonServing)
}
