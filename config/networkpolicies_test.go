package config_test

import (
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"apitokens.dev/operator/hack/lib/gatewaytest"
)

// The API server accepts each network policy of the samples, with no unknown field.
func TestSampleNetworkPolicies(t *testing.T) {
	admin := clients[clusterAdmin]
	policies := gatewaytest.Read(t, "samples/network_policies.yaml")
	for _, o := range policies {
		createOnce(t, admin, namespace(o.GetNamespace()))
		if err := admin.Create(t.Context(), o, client.FieldValidation("Strict"), client.DryRunAll); err != nil {
			t.Errorf("%s %s: %v", o.GetKind(), o.GetName(), err)
		}
	}
	if len(policies) != 1 {
		t.Errorf("found %d policies", len(policies))
	}
}
