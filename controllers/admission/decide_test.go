package admission

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

const operatorNamespace = "apitoken-system"

// asInstalled returns the policies and bindings of config/admission.
func asInstalled(t *testing.T) installed {
	t.Helper()
	in := installed{map[string]*admissionv1.ValidatingAdmissionPolicy{}, map[string]*admissionv1.ValidatingAdmissionPolicyBinding{}}
	for _, file := range []string{"issue.yaml", "secrets.yaml", "status.yaml"} {
		text, err := os.ReadFile(filepath.Join("../../config/admission", file))
		if err != nil {
			t.Fatal(err)
		}
		for document := range strings.SplitSeq(string(text), "\n---\n") {
			var kind metav1.TypeMeta
			var policy admissionv1.ValidatingAdmissionPolicy
			var binding admissionv1.ValidatingAdmissionPolicyBinding
			into := any(&policy)
			if err := yaml.Unmarshal([]byte(document), &kind); err != nil {
				t.Fatal(err)
			}
			if kind.Kind == kindBinding {
				into = &binding
			}
			if err := yaml.UnmarshalStrict([]byte(document), into); err != nil {
				t.Fatal(err)
			}
			if policy.Generation = 1; policy.Name != "" {
				in.policies[policy.Name] = &policy
			}
			if binding.Generation = 1; binding.Name != "" {
				in.bindings[binding.Name] = &binding
			}
		}
	}
	return in
}

// Each change that takes requests away from a policy is found, at each of the three.
func TestJudge(t *testing.T) {
	if problems := judge(asInstalled(t), operatorNamespace); len(problems) != 0 {
		t.Fatalf("the policies of config/admission are not in force: %v", problems)
	}
	some := &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}
	excluded := []admissionv1.NamedRuleWithOperations{{}}
	type (
		policy  = admissionv1.ValidatingAdmissionPolicy
		binding = admissionv1.ValidatingAdmissionPolicyBinding
	)
	for name, change := range map[string]func(*policy, *binding){
		"ignores failures":     func(p *policy, _ *binding) { p.Spec.FailurePolicy = new(admissionv1.Ignore) },
		"has parameters":       func(p *policy, _ *binding) { p.Spec.ParamKind = &admissionv1.ParamKind{} },
		"validates nothing":    func(p *policy, _ *binding) { p.Spec.Validations = nil },
		"matches nothing":      func(p *policy, _ *binding) { p.Spec.MatchConstraints = nil },
		"sees some namespaces": func(p *policy, _ *binding) { p.Spec.MatchConstraints.NamespaceSelector = some },
		"sees some objects":    func(p *policy, _ *binding) { p.Spec.MatchConstraints.ObjectSelector = some },
		"excludes requests":    func(p *policy, _ *binding) { p.Spec.MatchConstraints.ExcludeResourceRules = excluded },
		"sees no creations": func(p *policy, _ *binding) {
			p.Spec.MatchConstraints.ResourceRules[0].Operations = []admissionv1.OperationType{"UPDATE"}
		},
		"sees no updates": func(p *policy, _ *binding) {
			p.Spec.MatchConstraints.ResourceRules[0].Operations = []admissionv1.OperationType{"CREATE"}
		},
		"sees some names":       func(p *policy, _ *binding) { p.Spec.MatchConstraints.ResourceRules[0].ResourceNames = []string{"x"} },
		"sees another resource": func(p *policy, _ *binding) { p.Spec.MatchConstraints.ResourceRules[0].Resources = []string{"x"} },
		"sees another group":    func(p *policy, _ *binding) { p.Spec.MatchConstraints.ResourceRules[0].APIGroups = []string{"x"} },
		"sees one version":      func(p *policy, _ *binding) { p.Spec.MatchConstraints.ResourceRules[0].APIVersions = []string{"v9"} },
		"sees objects of the cluster": func(p *policy, _ *binding) {
			p.Spec.MatchConstraints.ResourceRules[0].Scope = new(admissionv1.ClusterScope)
		},
		"is bound to another policy": func(_ *policy, b *binding) { b.Spec.PolicyName = "x" },
		"warns": func(_ *policy, b *binding) {
			b.Spec.ValidationActions = []admissionv1.ValidationAction{admissionv1.Warn}
		},
		"is bound with parameters": func(_ *policy, b *binding) { b.Spec.ParamRef = &admissionv1.ParamRef{} },
		"is bound to some namespaces": func(_ *policy, b *binding) {
			b.Spec.MatchResources = &admissionv1.MatchResources{NamespaceSelector: some}
		},
		"is bound to some objects": func(_ *policy, b *binding) { b.Spec.MatchResources = &admissionv1.MatchResources{ObjectSelector: some} },
		"is bound to some resources": func(_ *policy, b *binding) {
			b.Spec.MatchResources = &admissionv1.MatchResources{ResourceRules: excluded}
		},
		"is bound with exclusions": func(_ *policy, b *binding) {
			b.Spec.MatchResources = &admissionv1.MatchResources{ExcludeResourceRules: excluded}
		},
		"is of another installation": func(p *policy, _ *binding) {
			for i, v := range p.Spec.Variables {
				p.Spec.Variables[i].Expression = strings.ReplaceAll(v.Expression, operatorNamespace, "apitoken-system-2")
			}
			for i, v := range p.Spec.Validations {
				p.Spec.Validations[i].Expression = strings.ReplaceAll(v.Expression, operatorNamespace, "apitoken-system-2")
			}
		},
		"is missing":   nil,
		"is not bound": nil,
	} {
		for _, p := range policies {
			in := asInstalled(t)
			switch name {
			case "is missing":
				delete(in.policies, p.name)
			case "is not bound":
				delete(in.bindings, p.name)
			default:
				change(in.policies[p.name], in.bindings[p.name])
			}
			problems := judge(in, operatorNamespace)
			if len(problems) != 1 || problems[p.name] == "" {
				t.Errorf("%s %s: found %v", p.name, name, problems)
			}
			if s := (memory{Problems: problems, Objects: inForce(in)}).state(); s.InForce() || !strings.Contains(s.Message, p.name) {
				t.Errorf("%s %s: state %+v", p.name, name, s)
			}
		}
	}
}

// A selector that selects everything is no limit.
func TestJudgeAcceptsDefaults(t *testing.T) {
	in := asInstalled(t)
	for _, p := range policies {
		in.policies[p.name].Spec.MatchConstraints.NamespaceSelector = &metav1.LabelSelector{}
		in.policies[p.name].Spec.MatchConstraints.ResourceRules[0].Scope = new(admissionv1.AllScopes)
		in.bindings[p.name].Spec.MatchResources = &admissionv1.MatchResources{ObjectSelector: &metav1.LabelSelector{}}
		in.bindings[p.name].Spec.ValidationActions = []admissionv1.ValidationAction{admissionv1.Audit, admissionv1.Deny}
	}
	if problems := judge(in, operatorNamespace); len(problems) != 0 {
		t.Errorf("found %v", problems)
	}
}

// The times are per UID and generation: they stay over changes of metadata, and begin anew with each new object or spec.
func TestGuardedSince(t *testing.T) {
	created := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	later := created.Add(time.Hour)
	asked := 0
	since := func(known []object, in installed) (time.Time, []object) {
		t.Helper()
		objects, err := remember(known, inForce(in), func() (time.Time, error) { asked++; return later, nil })
		if err != nil {
			t.Fatal(err)
		}
		return (memory{Objects: objects}).state().GuardedSince, objects
	}
	fresh := func() installed {
		in := asInstalled(t)
		for _, p := range policies {
			in.policies[p.name].CreationTimestamp, in.bindings[p.name].CreationTimestamp = metav1.NewTime(created), metav1.NewTime(created)
		}
		return in
	}
	first, known := since(nil, fresh())
	if !first.Equal(created.Add(enforcementLag)) || asked != 0 {
		t.Errorf("in force since %s, and asked %d times", first, asked)
	}
	for name, change := range map[string]func(*metav1.ObjectMeta){
		"labels": func(m *metav1.ObjectMeta) { m.Labels = map[string]string{"a": "b"}; m.ResourceVersion = "9" },
	} {
		in := fresh()
		for _, p := range policies {
			change(&in.policies[p.name].ObjectMeta)
			change(&in.bindings[p.name].ObjectMeta)
		}
		if got, _ := since(known, in); !got.Equal(first) {
			t.Errorf("%s moved it to %s", name, got)
		}
	}
	for _, p := range policies {
		for _, binding := range []bool{false, true} {
			for name, change := range map[string]struct {
				change func(*metav1.ObjectMeta)
				want   time.Time
			}{
				"another spec": {func(m *metav1.ObjectMeta) { m.Generation = 2 }, later.Add(enforcementLag)},
				"another one":  {func(m *metav1.ObjectMeta) { m.UID, m.CreationTimestamp = "new", metav1.NewTime(later) }, later.Add(enforcementLag)},
			} {
				in := fresh()
				m := &in.policies[p.name].ObjectMeta
				if binding {
					m = &in.bindings[p.name].ObjectMeta
				}
				change.change(m)
				moved, now := since(known, in)
				if !moved.Equal(change.want) {
					t.Errorf("%s, binding: %t: %s: in force since %s, want %s", p.name, binding, name, moved, change.want)
				}
				if again, _ := since(now, in); !again.Equal(moved) {
					t.Errorf("%s, binding: %t: %s: then moved to %s", p.name, binding, name, again)
				}
			}
		}
	}
	if _, err := remember(nil, []object{{Generation: 2}}, func() (time.Time, error) { return later, errors.New("away") }); err == nil {
		t.Error("guessed the time")
	}
}

func TestNotBefore(t *testing.T) {
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	objects := make([]object, 2*len(policies))
	for i := range objects {
		objects[i].Since = at.Add(-time.Duration(i) * time.Hour)
	}
	if got := (memory{Objects: objects}).state().GuardedSince; !got.Equal(at) {
		t.Errorf("in force since %s", got)
	}
	if got := (memory{Objects: objects, NotBefore: at.Add(1)}).state().GuardedSince; !got.Equal(at.Add(1)) {
		t.Errorf("in force since %s", got)
	}
	if s := (memory{Objects: objects[1:]}).state(); s.InForce() {
		t.Error("in force without one of them")
	}
}
