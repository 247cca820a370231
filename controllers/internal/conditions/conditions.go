// Package conditions carries conditions from one pass to the next.
package conditions

import (
	"slices"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

// Merge returns the stored conditions with those that a pass found. A condition whose status did not change keeps its
// transition time. A stored condition that is not among found stays as it is.
func Merge(stored []metav1.Condition, now metav1.Time, generation int64, found ...metav1.Condition) []metav1.Condition {
	merged := slices.Clone(stored)
	for _, c := range found {
		c.LastTransitionTime, c.ObservedGeneration = now, generation
		apimeta.SetStatusCondition(&merged, c)
	}
	return merged
}

// Stalled returns the Stalled condition of an object that is not ready until a person changes something.
func Stalled(ready metav1.Condition) metav1.Condition {
	ready.Type, ready.Status = tokensv1alpha1.ConditionStalled, metav1.ConditionTrue
	return ready
}

// ToApply returns the conditions as apply configurations.
func ToApply(conditions []metav1.Condition) []*metav1ac.ConditionApplyConfiguration {
	apply := make([]*metav1ac.ConditionApplyConfiguration, len(conditions))
	for i, c := range conditions {
		apply[i] = metav1ac.Condition().
			WithType(c.Type).WithStatus(c.Status).WithReason(c.Reason).WithMessage(c.Message).
			WithObservedGeneration(c.ObservedGeneration).WithLastTransitionTime(c.LastTransitionTime)
	}
	return apply
}
