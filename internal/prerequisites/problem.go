package prerequisites

import (
	"fmt"
	"slices"
	"strconv"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/version"

	"apitokens.dev/operator/config"
)

// OldestKubernetes is the oldest version of Kubernetes that the manifests work with: it has selectable fields of CRDs.
const OldestKubernetes = "1.32"

// versionProblem says whether an API server is too old. It is empty if it is not.
func versionProblem(server string) string {
	found, err := version.ParseGeneric(server)
	switch {
	case err != nil:
		return fmt.Sprintf("the API server's version %q is not one of Kubernetes", server)
	case found.LessThan(version.MustParseGeneric(OldestKubernetes)):
		return fmt.Sprintf("Kubernetes %s is too old: upgrade the cluster to %s or newer", server, OldestKubernetes)
	}
	return ""
}

// Problem says why an installed object is not the one that this version needs. It is empty if it is, or if it is of a later
// version: in an upgrade and in a rollback the manifests and the processes change one after the other.
func Problem(want, got metav1.Object) string {
	needed, found := Revision(want), Revision(got)
	switch {
	case found > needed:
		return ""
	case found < needed:
		return fmt.Sprintf("it is too old (revision %d, and this version needs %d)", found, needed)
	}
	switch want := want.(type) {
	case *admissionv1.ValidatingAdmissionPolicy:
		if got, ok := got.(*admissionv1.ValidatingAdmissionPolicy); !ok || !equality.Semantic.DeepEqual(defaulted(want.Spec), defaulted(got.Spec)) {
			return "it differs from that of this version: somebody changed it, or it belongs to an installation in other namespaces. " +
				"A cluster has one installation"
		}
	case *admissionv1.ValidatingAdmissionPolicyBinding:
		if got, ok := got.(*admissionv1.ValidatingAdmissionPolicyBinding); !ok || !binds(got, want.Spec.PolicyName) {
			return "it does not bind the policy " + want.Spec.PolicyName + " everywhere with the action Deny"
		}
	}
	return ""
}

// Revision returns the revision of an installed object, or of one that is needed.
func Revision(o metav1.Object) int {
	found, err := strconv.Atoi(o.GetAnnotations()[config.RevisionAnnotation])
	if err != nil {
		return 0 // older than every revision
	}
	return found
}

// defaulted sets what the API server sets. Audit annotations refuse nothing, so more of them make no difference.
func defaulted(s admissionv1.ValidatingAdmissionPolicySpec) admissionv1.ValidatingAdmissionPolicySpec {
	s = *s.DeepCopy()
	s.AuditAnnotations = nil
	if s.FailurePolicy == nil {
		s.FailurePolicy = new(admissionv1.Fail)
	}
	m := s.MatchConstraints
	if m == nil {
		return s
	}
	if m.MatchPolicy == nil {
		m.MatchPolicy = new(admissionv1.Equivalent)
	}
	if m.NamespaceSelector == nil {
		m.NamespaceSelector = &metav1.LabelSelector{}
	}
	if m.ObjectSelector == nil {
		m.ObjectSelector = &metav1.LabelSelector{}
	}
	for i := range m.ResourceRules {
		if m.ResourceRules[i].Scope == nil {
			m.ResourceRules[i].Scope = new(admissionv1.AllScopes)
		}
	}
	return s
}

// binds reports whether a binding applies a policy to every request, and denies.
func binds(b *admissionv1.ValidatingAdmissionPolicyBinding, policy string) bool {
	selects := func(s *metav1.LabelSelector) bool { return s != nil && len(s.MatchLabels)+len(s.MatchExpressions) > 0 }
	m := b.Spec.MatchResources
	limited := m != nil && (selects(m.NamespaceSelector) || selects(m.ObjectSelector) || len(m.ExcludeResourceRules)+len(m.ResourceRules) > 0)
	return b.Spec.PolicyName == policy && b.Spec.ParamRef == nil && !limited && slices.Contains(b.Spec.ValidationActions, admissionv1.Deny)
}
