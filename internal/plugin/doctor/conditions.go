package doctor

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

// The kinds in findings.
const (
	kindSite  = "AtlassianSite"
	kindToken = "APIToken"
)

// ofSite returns a finding for each condition of a site that is not as it should be.
func ofSite(s *tokensv1alpha1.AtlassianSite) (found []finding) {
	object := named(s, kindSite)
	ready := apimeta.FindStatusCondition(s.Status.Conditions, tokensv1alpha1.ConditionReady)
	if ready == nil || s.Status.ObservedGeneration < s.Generation {
		found = append(found, finding{
			Severity: problem, Object: object, Reason: reasonNotSeen, Found: "The operator has not seen this site since it changed.",
			Do: "kubectl -n apitoken-system get deployments, and see that the controller runs: docs/how-to/runbooks/controller-away.md",
		})
	}
	for _, c := range s.Status.Conditions {
		repeated := c.Type == tokensv1alpha1.ConditionReady && slices.ContainsFunc(s.Status.Conditions, func(other metav1.Condition) bool {
			return other.Type != c.Type && other.Type != tokensv1alpha1.ConditionStalled && other.Status != metav1.ConditionTrue && other.Reason == c.Reason
		})
		if c.Status == metav1.ConditionTrue || c.Type == tokensv1alpha1.ConditionStalled || intended[c.Reason] || repeated {
			continue
		}
		f := finding{Severity: problem, Object: object, Reason: c.Reason, Found: c.Message, Do: adviceOf(c.Reason, kindSite, s.Namespace, s.Name)}
		works := ready != nil && ready.Status == metav1.ConditionTrue && c.Type == tokensv1alpha1.ConditionUpstreamCredentialsReady
		if c.Status == metav1.ConditionUnknown || works {
			f.Severity = warning
		}
		found = append(found, f)
	}
	return found
}

// tampered are the reasons of an APIToken that has lost what the operator keeps of it, or that nobody guarded.
var tampered = map[string]bool{
	tokensv1alpha1.ReasonRecordMissing: true, tokensv1alpha1.ReasonRecordDamaged: true, tokensv1alpha1.ReasonRecordOrphaned: true,
	tokensv1alpha1.ReasonDeclaredUnguarded: true, tokensv1alpha1.ReasonAdmissionPolicyMissing: true, tokensv1alpha1.ReasonAdmissionNotVerified: true,
}

// ofTokens returns a finding for each reason for which APITokens do not work, or end soon. One of them stands for all.
func ofTokens(all []tokensv1alpha1.APIToken) (found []finding) {
	byReason := map[string]*finding{}
	count := map[string]int{}
	for i := range all {
		t := &all[i]
		for _, c := range notAsIntended(t) {
			if count[c.Reason]++; byReason[c.Reason] != nil {
				continue
			}
			f := finding{
				Severity: warning, Object: named(t, kindToken), Reason: c.Reason, Found: c.Message,
				Do: adviceOf(c.Reason, kindToken, t.Namespace, t.Name),
			}
			if tampered[c.Reason] {
				f.Severity = problem
			}
			byReason[c.Reason] = &f
		}
	}
	for _, reason := range slices.Sorted(maps.Keys(byReason)) {
		f := byReason[reason]
		if others := count[reason] - 1; others > 0 {
			f.Found += fmt.Sprintf(" (So it is of %s.)", amount(others, "other APIToken"))
		}
		found = append(found, *f)
	}
	return found
}

// notAsIntended returns the conditions of an APIToken that nobody asked for.
func notAsIntended(t *tokensv1alpha1.APIToken) (all []metav1.Condition) {
	ready := *cmp.Or(apimeta.FindStatusCondition(t.Status.Conditions, tokensv1alpha1.ConditionReady), &metav1.Condition{Status: metav1.ConditionTrue})
	if ready.Status != metav1.ConditionTrue && !intended[ready.Reason] {
		all = append(all, ready)
	}
	if c := apimeta.FindStatusCondition(t.Status.Conditions, tokensv1alpha1.ConditionExpiring); c != nil && c.Reason == tokensv1alpha1.ReasonExpiresSoon {
		all = append(all, *c)
	}
	return all
}
