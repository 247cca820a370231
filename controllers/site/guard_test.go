package site_test

import (
	"context"
	"strings"
	"testing"
	"time"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/admission"
)

// policies are the state of the admission policies.
type policies struct{ *admission.State }

func (p policies) Stored(context.Context) (admission.State, error) { return *p.State, nil }

// A condition says whether the admission policies are in force. It follows them.
func TestAdmissionPolicies(t *testing.T) {
	w := newWorld(t)
	state := &admission.State{GuardedSince: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	w.reconciler.Guard = policies{state}
	s := w.site("main")
	w.reconcile(s)
	if c := w.expect(s, tokensv1alpha1.ConditionAdmissionGuarded, tokensv1alpha1.ReasonPoliciesInForce); c.Status != "True" || !strings.Contains(c.Message, "2026-11-23T12:00:00Z") {
		t.Errorf("condition %+v", c)
	}
	*state = admission.State{Reason: tokensv1alpha1.ReasonAdmissionPolicyMissing, Message: "It is missing."}
	w.reconcile(s)
	if c := w.expect(s, tokensv1alpha1.ConditionAdmissionGuarded, tokensv1alpha1.ReasonAdmissionPolicyMissing); c.Status != "False" || c.Message != "It is missing." {
		t.Errorf("condition %+v", c)
	}
	w.expectReady(s, tokensv1alpha1.ReasonAdmissionPolicyMissing)
}
