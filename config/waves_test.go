package config_test

import (
	"os"
	"strconv"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

// Argo CD applies what has a lower wave first, and waits 2 s behind each. An APIToken that is declared within 5 s of the
// admission policies is never issued, so that three waves have to lie between them.
func TestPoliciesAreAppliedLongBeforeTokens(t *testing.T) {
	var policies admissionregistrationv1.ValidatingAdmissionPolicyList
	if err := clients[clusterAdmin].List(t.Context(), &policies); err != nil {
		t.Fatal(err)
	}
	last := -100
	for _, p := range policies.Items {
		if p.Name != "issue.apitokens.dev" && p.Name != "secrets.apitokens.dev" && p.Name != "status.apitokens.dev" {
			continue
		}
		last = max(last, wave(t, &p))
	}
	for _, sample := range []string{"samples/apitoken.yaml", "samples/confluence/apitoken.yaml"} {
		text, err := os.ReadFile(sample)
		if err != nil {
			t.Fatal(err)
		}
		var token tokensv1alpha1.APIToken
		if err := yaml.UnmarshalStrict(text, &token); err != nil {
			t.Fatal(err)
		}
		if of := wave(t, &token); of-last < 3 {
			t.Errorf("%s has the wave %d, the policies %d", sample, of, last)
		}
	}
}

func wave(t *testing.T, o client.Object) int {
	t.Helper()
	n, err := strconv.Atoi(o.GetAnnotations()["argocd.argoproj.io/sync-wave"])
	if err != nil {
		t.Errorf("the wave of %s: %v", o.GetName(), err)
	}
	return n
}
