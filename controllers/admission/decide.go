package admission

import (
	"cmp"
	"slices"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// IssuePolicy says who may issue tokens for whom.
const IssuePolicy = "issue.apitokens.dev"

// policy is an admission policy without which nothing is issued, with the resources whose creations and updates it must see.
// Its binding has the same name.
type policy struct {
	name, group string
	resources   []string
}

var policies = []policy{
	{IssuePolicy, "apitokens.dev", []string{"apitokens"}},
	{"secrets.apitokens.dev", "", []string{"secrets"}},
	{"status.apitokens.dev", "apitokens.dev", []string{"apitokens/status", "atlassiansites/status"}},
}

// enforcementLag is how long after a change of a policy an API server may still decide by the state before it.
const enforcementLag = 5 * time.Second

// Kinds of objects in the memory.
const (
	kindPolicy  = "ValidatingAdmissionPolicy"
	kindBinding = "ValidatingAdmissionPolicyBinding"
)

// installed are the policies and bindings of the cluster, by name.
type installed struct {
	policies map[string]*admissionv1.ValidatingAdmissionPolicy
	bindings map[string]*admissionv1.ValidatingAdmissionPolicyBinding
}

// judge returns why policies are not in force for the operator in a namespace, by policy. It is empty if all are.
func judge(in installed, namespace string) map[string]string {
	problems := map[string]string{}
	for _, p := range policies {
		if problem := cmp.Or(
			policyProblem(in.policies[p.name], p.group, p.resources), accountsProblem(in.policies[p.name], namespace),
			bindingProblem(in.bindings[p.name], p.name),
		); problem != "" {
			problems[p.name] = problem
		}
	}
	return problems
}

func policyProblem(p *admissionv1.ValidatingAdmissionPolicy, group string, resources []string) string {
	switch {
	case p == nil:
		return "it is missing"
	case p.Spec.FailurePolicy != nil && *p.Spec.FailurePolicy != admissionv1.Fail:
		return "its `failurePolicy` is not Fail"
	case p.Spec.ParamKind != nil || len(p.Spec.Validations) == 0:
		return "it has parameters, or no validations"
	case p.Spec.MatchConstraints == nil || limited(p.Spec.MatchConstraints):
		return "it is limited to some namespaces or objects"
	}
	for _, resource := range resources {
		if !slices.ContainsFunc(p.Spec.MatchConstraints.ResourceRules, func(r admissionv1.NamedRuleWithOperations) bool { return sees(r, group, resource) }) {
			return "it does not see every creation and update of " + resource
		}
	}
	return ""
}

// accountsProblem says whether a policy is that of another installation. It makes exceptions for the operator's accounts.
func accountsProblem(p *admissionv1.ValidatingAdmissionPolicy, namespace string) string {
	names := func(expression string) bool {
		return strings.Contains(expression, "'system:serviceaccount:"+namespace+":")
	}
	if p == nil || slices.ContainsFunc(p.Spec.Variables, func(v admissionv1.Variable) bool { return names(v.Expression) }) ||
		slices.ContainsFunc(p.Spec.Validations, func(v admissionv1.Validation) bool { return names(v.Expression) }) {
		return ""
	}
	return "it belongs to an installation in another namespace than " + namespace + ": a cluster has one installation"
}

func bindingProblem(b *admissionv1.ValidatingAdmissionPolicyBinding, policy string) string {
	switch {
	case b == nil:
		return "its binding is missing"
	case b.Spec.PolicyName != policy:
		return "its binding is for another policy"
	case !slices.Contains(b.Spec.ValidationActions, admissionv1.Deny):
		return "its binding does not deny"
	case b.Spec.ParamRef != nil || b.Spec.MatchResources != nil && (limited(b.Spec.MatchResources) || len(b.Spec.MatchResources.ResourceRules) > 0):
		return "its binding is limited to some namespaces or objects"
	}
	return ""
}

// limited reports whether selectors or exclusions take requests out.
func limited(m *admissionv1.MatchResources) bool {
	selects := func(s *metav1.LabelSelector) bool { return s != nil && len(s.MatchLabels)+len(s.MatchExpressions) > 0 }
	return selects(m.NamespaceSelector) || selects(m.ObjectSelector) || len(m.ExcludeResourceRules) > 0
}

// sees reports whether a rule covers every creation and update of a resource.
func sees(r admissionv1.NamedRuleWithOperations, group, resource string) bool {
	does := func(op admissionv1.OperationType) bool {
		return slices.Contains(r.Operations, op) || slices.Contains(r.Operations, admissionv1.OperationAll)
	}
	has := func(all []string, one string) bool { return slices.Contains(all, one) || slices.Contains(all, "*") }
	everywhere := r.Scope == nil || *r.Scope == admissionv1.AllScopes || *r.Scope == admissionv1.NamespacedScope
	return len(r.ResourceNames) == 0 && everywhere && does(admissionv1.Create) && does(admissionv1.Update) &&
		has(r.APIGroups, group) && slices.Contains(r.APIVersions, "*") && slices.Contains(r.Resources, resource)
}

// object is one policy or binding in the memory.
type object struct {
	Kind       string    `json:"kind"`
	Name       string    `json:"name"`
	UID        types.UID `json:"uid"`
	Generation int64     `json:"generation"`
	// Since is the API server's time from which on the object is in force with this generation.
	Since time.Time `json:"since"`
}

func (o object) same(other object) bool {
	return o.Kind == other.Kind && o.Name == other.Name && o.UID == other.UID && o.Generation == other.Generation
}

// inForce returns the objects that are installed. Since is set for the first generation: it is the one that was created.
func inForce(in installed) (all []object) {
	add := func(kind string, m metav1.ObjectMeta) {
		o := object{Kind: kind, Name: m.Name, UID: m.UID, Generation: m.Generation}
		if m.Generation == 1 {
			o.Since = m.CreationTimestamp.Add(enforcementLag).UTC()
		}
		all = append(all, o)
	}
	for _, p := range policies {
		if found := in.policies[p.name]; found != nil {
			add(kindPolicy, found.ObjectMeta)
		}
		if found := in.bindings[p.name]; found != nil {
			add(kindBinding, found.ObjectMeta)
		}
	}
	return all
}

// remember takes the times of known objects from the memory. Other objects count from now on, unless their time is set. now is
// asked only if it is needed.
func remember(known, found []object, now func() (time.Time, error)) ([]object, error) {
	for i, o := range found {
		if k := slices.IndexFunc(known, o.same); k >= 0 {
			found[i].Since = known[k].Since
			continue
		}
		if !o.Since.IsZero() {
			continue
		}
		seen, err := now()
		if err != nil {
			return nil, err
		}
		found[i].Since = seen.Add(enforcementLag).UTC()
	}
	return found, nil
}
