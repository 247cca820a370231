package config_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"apitokens.dev/operator/hack/lib/gatewaytest"
)

// TestRightsForGateways lists what an administrator may add for gateways. By default the controller has none of it, as TestRights
// says. The API server accepts each file.
func TestRightsForGateways(t *testing.T) {
	const own = "get,list,watch,create,patch,delete "
	want := map[string][]string{
		"ingress.yaml": {"ClusterRole " + own + "networking.k8s.io/ingresses", "ClusterRole " + own + "/services"},
		"traefik.yaml": {"ClusterRole " + own + "traefik.io/middlewares,ingressroutes,serverstransports"},
		"istio.yaml":   {"ClusterRole " + own + "security.istio.io/authorizationpolicies", "ClusterRole " + own + "gateway.networking.k8s.io/httproutes", "Role " + own + "gateway.networking.k8s.io/referencegrants"},
		"envoy-gateway.yaml": {
			"ClusterRole " + own + "gateway.envoyproxy.io/securitypolicies,backends", "ClusterRole " + own + "gateway.networking.k8s.io/httproutes",
			"Role " + own + "gateway.networking.k8s.io/referencegrants,backendtlspolicies",
		},
	}
	aggregated := &rbacv1.ClusterRole{}
	if err := clients[clusterAdmin].Get(t.Context(), client.ObjectKey{Name: "apitoken-controller-gateways"}, aggregated); err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	files, err := filepath.Glob("rbac/gateways/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		for _, o := range gatewaytest.Read(t, file) {
			if err := clients[clusterAdmin].Create(t.Context(), o.DeepCopy(), client.FieldValidation("Strict"), client.DryRunAll); err != nil {
				t.Errorf("%s: %v", file, err)
			}
			var role rbacv1.ClusterRole
			if o.GetKind() == "RoleBinding" {
				continue
			}
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &role); err != nil {
				t.Fatal(err)
			}
			for key, value := range aggregated.AggregationRule.ClusterRoleSelectors[0].MatchLabels {
				if (role.Labels[key] == value) != (role.Kind == "ClusterRole") {
					t.Errorf("%s: %s has the labels %v", file, role.Kind, role.Labels)
				}
			}
			for _, rule := range role.Rules {
				got[filepath.Base(file)] = append(got[filepath.Base(file)], role.Kind+" "+strings.Join(rule.Verbs, ",")+" "+rule.APIGroups[0]+"/"+strings.Join(rule.Resources, ","))
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rights (-want +got):\n%s", diff)
	}
	installed, err := os.ReadFile("rbac/kustomization.yaml")
	if err != nil || slices.Contains(strings.Fields(string(installed)), "gateways") || strings.Contains(string(installed), "gateways/") {
		t.Errorf("they are part of the default installation: %v", err)
	}
}
