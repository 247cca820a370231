package conditions_test

import (
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"apitokens.dev/operator/controllers/internal/conditions"
)

var (
	past = metav1.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	now  = metav1.Date(2026, 1, 1, 13, 0, 0, 0, time.UTC)
)

func condition(name string, status metav1.ConditionStatus, reason string, generation int64, since metav1.Time) metav1.Condition {
	return metav1.Condition{
		Type: name, Status: status, Reason: reason, Message: "because of " + reason, ObservedGeneration: generation, LastTransitionTime: since,
	}
}

func TestMerge(t *testing.T) {
	const yes, no = metav1.ConditionTrue, metav1.ConditionFalse
	ready := condition("Ready", yes, "Good", 1, past)
	reachable := condition("Reachable", no, "Down", 1, past)
	// A found condition has neither time nor generation.
	found := func(name string, status metav1.ConditionStatus, reason string) metav1.Condition {
		return condition(name, status, reason, 0, metav1.Time{})
	}
	for name, tc := range map[string]struct {
		stored, found, want []metav1.Condition
	}{
		"nothing at all":            {nil, nil, nil},
		"the first":                 {nil, []metav1.Condition{found("Ready", yes, "Good")}, []metav1.Condition{condition("Ready", yes, "Good", 2, now)}},
		"the same again":            {[]metav1.Condition{ready}, []metav1.Condition{found("Ready", yes, "Good")}, []metav1.Condition{condition("Ready", yes, "Good", 2, past)}},
		"another reason":            {[]metav1.Condition{ready}, []metav1.Condition{found("Ready", yes, "Better")}, []metav1.Condition{condition("Ready", yes, "Better", 2, past)}},
		"another status":            {[]metav1.Condition{ready}, []metav1.Condition{found("Ready", no, "Bad")}, []metav1.Condition{condition("Ready", no, "Bad", 2, now)}},
		"no news":                   {[]metav1.Condition{ready, reachable}, nil, []metav1.Condition{ready, reachable}},
		"news of one":               {[]metav1.Condition{ready, reachable}, []metav1.Condition{found("Reachable", yes, "Up")}, []metav1.Condition{ready, condition("Reachable", yes, "Up", 2, now)}},
		"one more":                  {[]metav1.Condition{ready}, []metav1.Condition{found("Reachable", no, "Down")}, []metav1.Condition{ready, condition("Reachable", no, "Down", 2, now)}},
		"somebody else's is kept":   {[]metav1.Condition{condition("Theirs", yes, "X", 7, past)}, []metav1.Condition{found("Ready", yes, "Good")}, []metav1.Condition{condition("Theirs", yes, "X", 7, past), condition("Ready", yes, "Good", 2, now)}},
		"a time of its own is none": {nil, []metav1.Condition{condition("Ready", yes, "Good", 9, past)}, []metav1.Condition{condition("Ready", yes, "Good", 2, now)}},
	} {
		stored := slices.Clone(tc.stored)
		if got := conditions.Merge(stored, now, 2, tc.found...); !equality.Semantic.DeepEqual(got, tc.want) {
			t.Errorf("%s: %+v, want %+v", name, got, tc.want)
		}
		// The stored ones are those of a shared object.
		if !equality.Semantic.DeepEqual(stored, tc.stored) {
			t.Errorf("%s: the stored conditions became %+v", name, stored)
		}
	}
}

func TestToApply(t *testing.T) {
	c := condition("Ready", metav1.ConditionTrue, "Good", 3, past)
	got := conditions.ToApply([]metav1.Condition{c, condition("Other", metav1.ConditionFalse, "Bad", 1, now)})
	if len(got) != 2 || *got[1].Type != "Other" {
		t.Fatalf("applied are %+v", got)
	}
	a := got[0]
	if (metav1.Condition{
		Type: *a.Type, Status: *a.Status, Reason: *a.Reason, Message: *a.Message,
		ObservedGeneration: *a.ObservedGeneration, LastTransitionTime: *a.LastTransitionTime,
	}) != c {
		t.Errorf("applied is %+v, want %+v", a, c)
	}
}
