package config_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Each policy denies, in every namespace, and also if its evaluation fails.
func TestPoliciesHoldEverywhere(t *testing.T) {
	admin := clients[clusterAdmin]
	policies := &admissionv1.ValidatingAdmissionPolicyList{}
	bindings := &admissionv1.ValidatingAdmissionPolicyBindingList{}
	if err := admin.List(t.Context(), policies); err != nil {
		t.Fatal(err)
	}
	if err := admin.List(t.Context(), bindings); err != nil {
		t.Fatal(err)
	}
	want := map[string]admissionv1.ValidatingAdmissionPolicyBindingSpec{}
	for _, policy := range policies.Items {
		if !strings.HasSuffix(policy.Name, "."+group) {
			t.Errorf("policy %s is not named after the API", policy.Name)
		}
		want[policy.Name] = admissionv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName:        policy.Name,
			ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny},
		}
		if got := policy.Spec.FailurePolicy; got == nil || *got != admissionv1.Fail {
			t.Errorf("failurePolicy of %s is %v", policy.Name, got)
		}
		match := policy.Spec.MatchConstraints
		for _, selector := range []*metav1.LabelSelector{match.NamespaceSelector, match.ObjectSelector} {
			if len(selector.MatchLabels)+len(selector.MatchExpressions) > 0 {
				t.Errorf("%s holds for some objects only: %v", policy.Name, selector)
			}
		}
		// A controller manager fills this field. Without one, the tests of each policy show that it refuses with its own
		// message, and not because of a type error.
		if checking := policy.Status.TypeChecking; checking != nil && len(checking.ExpressionWarnings) > 0 {
			t.Errorf("type checking of %s warns: %v", policy.Name, checking.ExpressionWarnings)
		}
	}
	if len(want) != 5 {
		t.Errorf("there are %d policies, want 5", len(want))
	}
	got := map[string]admissionv1.ValidatingAdmissionPolicyBindingSpec{}
	for _, binding := range bindings.Items {
		got[binding.Name] = binding.Spec
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("bindings (-want +got):\n%s", diff)
	}
}
