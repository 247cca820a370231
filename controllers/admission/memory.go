package admission

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/storedjson"
)

const (
	// SecretType is the type of the Secret with the memory. Nobody but the operator writes Secrets of this type.
	SecretType = "apitokens.dev/admission"
	// SecretName is its name, in the operator's own namespace.
	SecretName = "apitoken-admission"

	dataKey = "admission.json"
	version = 1
)

// memory is what the controller remembers about the admission policies, across restarts.
type memory struct {
	Version int      `json:"version"`
	Objects []object `json:"objects"`
	// NotBefore is set when the API server let a probe pass although the policies were installed: they count from then on.
	NotBefore time.Time `json:"notBefore,omitzero"`
	// Problems are the policies that are not in force, and why.
	Problems map[string]string `json:"problems,omitempty"`
}

func (m memory) encode() (map[string][]byte, error) {
	m.Version = version
	b, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encoding the memory of the admission policies: %w", err)
	}
	return map[string][]byte{dataKey: b}, nil
}

// decode reads the memory. A missing or damaged one is empty: then every object counts as new.
func decode(s *corev1.Secret) memory {
	if s == nil || s.Type != SecretType {
		return memory{}
	}
	m, err := storedjson.Decode[memory](s.Data[dataKey])
	if err != nil || m.Version != version {
		return memory{}
	}
	return m
}

func (m memory) equal(other memory) bool {
	same := slices.EqualFunc(m.Objects, other.Objects, func(a, b object) bool { return a.same(b) && a.Since.Equal(b.Since) })
	return same && m.NotBefore.Equal(other.NotBefore) && fmt.Sprint(m.Problems) == fmt.Sprint(other.Problems)
}

// State says whether the admission policies are in force, and since when.
type State struct {
	// GuardedSince is the API server's time from which on every APIToken was admitted by the policies. It is zero while they
	// are not in force.
	GuardedSince time.Time
	// Reason and Message say why nothing may be issued. They are empty while the policies are in force.
	Reason, Message string
}

// InForce reports whether every policy is in force.
func (s State) InForce() bool { return s.Reason == "" && !s.GuardedSince.IsZero() }

// Condition returns the condition of a site about the policies.
func (s State) Condition() metav1.Condition {
	c := metav1.Condition{
		Type: tokensv1alpha1.ConditionAdmissionGuarded, Status: metav1.ConditionFalse, Reason: s.Reason, Message: s.Message,
	}
	if s.InForce() {
		c.Status, c.Reason = metav1.ConditionTrue, tokensv1alpha1.ReasonPoliciesInForce
		c.Message = fmt.Sprintf("The admission policies are in force since %s.", s.GuardedSince.UTC().Format(time.RFC3339))
	}
	return c
}

func (m memory) state() State {
	for _, p := range policies {
		if problem := m.Problems[p.name]; problem != "" {
			return missing(p.name, problem)
		}
	}
	if len(m.Objects) != 2*len(policies) {
		return missing(IssuePolicy, "the operator has not seen it yet")
	}
	since := m.NotBefore
	for _, o := range m.Objects {
		if o.Since.After(since) {
			since = o.Since
		}
	}
	return State{GuardedSince: since}
}

func missing(policy, problem string) State {
	return State{Reason: tokensv1alpha1.ReasonAdmissionPolicyMissing, Message: fmt.Sprintf(
		"The ValidatingAdmissionPolicy '%s' is not in force (%s), so anyone who may create APITokens could issue one for anybody. "+
			"Nothing is issued until it is installed, with its binding (config/admission).", policy, problem)}
}
