package config_test

import (
	"path/filepath"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"apitokens.dev/operator/hack/lib/gatewaytest"
)

// withoutDefinition are samples whose CRDs are in no Go module.
var withoutDefinition = map[string]bool{"apisix": true}

// The API server accepts each sample, with the gateway's own CRDs and no unknown field.
func TestSamplesOfGateways(t *testing.T) {
	admin := clients[clusterAdmin]
	gatewaytest.Install(t, admin, gatewaytest.All()...)
	samples, err := filepath.Glob("samples/gateways/*/*.yaml")
	if err != nil || len(samples) < 7 {
		t.Fatalf("%d samples, %v", len(samples), err)
	}
	for _, sample := range samples {
		gateway := filepath.Base(filepath.Dir(sample))
		t.Run(gateway, func(t *testing.T) {
			for _, o := range gatewaytest.Read(t, sample, "AUTH_URL", "http://webhook/forward/KEY/jira/main", ": PATH", ": /envoy/KEY/jira/main", "CALLER_KEY", "KEY") {
				if withoutDefinition[gateway] {
					continue // it is YAML, at least
				}
				createOnce(t, admin, namespace(o.GetNamespace()))
				if err := admin.Create(t.Context(), o, client.FieldValidation("Strict"), client.DryRunAll); err != nil {
					t.Errorf("%s %s: %v", o.GetKind(), o.GetName(), err)
				}
			}
		})
	}
}

func namespace(name string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{}
	o.SetAPIVersion("v1")
	o.SetKind("Namespace")
	o.SetName(name)
	return o
}

func createOnce(t *testing.T, c client.Client, o *unstructured.Unstructured) {
	t.Helper()
	if err := c.Create(t.Context(), o); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
}
