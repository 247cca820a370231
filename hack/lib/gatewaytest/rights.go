package gatewaytest

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"apitokens.dev/operator/hack/lib/controlplane"
	"apitokens.dev/operator/hack/lib/kubetest"
)

// resources has a resource of each file in config/rbac/gateways, with its group.
var resources = map[string][2]string{
	"ingress": {"networking.k8s.io", "ingresses"}, "traefik": {"traefik.io", "middlewares"},
	"istio": {"security.istio.io", "authorizationpolicies"}, "envoy-gateway": {"gateway.networking.k8s.io", "referencegrants"},
}

// RightsFiles returns the names of the files in config/rbac/gateways, without suffix.
func RightsFiles() []string { return slices.Sorted(maps.Keys(resources)) }

// Allow gives the controller the rights in files of config/rbac/gateways, and no others for gateways. Kubernetes' controller for
// aggregated roles does not run in tests: it is done as that would. asController is a client of the controller's account.
func Allow(t *testing.T, admin, asController client.Client, files ...string) {
	t.Helper()
	aggregated := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "apitoken-controller-gateways"}}
	if err := admin.Get(t.Context(), client.ObjectKeyFromObject(aggregated), aggregated); err != nil {
		t.Fatal(err)
	}
	aggregated.Rules = nil
	for _, file := range RightsFiles() {
		aggregated.Rules = append(aggregated.Rules, rules(t, admin, aggregated, file, slices.Contains(files, file))...)
	}
	if err := admin.Update(t.Context(), aggregated); err != nil {
		t.Fatal(err)
	}
	for file, resource := range resources {
		kubetest.Eventually(t, func() error { return expectRight(t, asController, resource, slices.Contains(files, file)) })
	}
}

// rules applies or removes the objects of a file, and returns the rules that are aggregated.
func rules(t *testing.T, admin client.Client, aggregated *rbacv1.ClusterRole, file string, allowed bool) (rules []rbacv1.PolicyRule) {
	t.Helper()
	for _, o := range Read(t, filepath.Join(controlplane.RepositoryRoot(), "config/rbac/gateways", file+".yaml")) {
		if !allowed {
			if err := client.IgnoreNotFound(admin.Delete(t.Context(), o)); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := admin.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(o), client.FieldOwner("test"), client.ForceOwnership); err != nil {
			t.Fatal(err)
		}
		var role rbacv1.ClusterRole
		if o.GetKind() != "ClusterRole" {
			continue
		}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &role); err != nil {
			t.Fatal(err)
		}
		if maps.Equal(role.Labels, aggregated.AggregationRule.ClusterRoleSelectors[0].MatchLabels) {
			rules = append(rules, role.Rules...)
		}
	}
	return rules
}

func expectRight(t *testing.T, c client.Client, resource [2]string, want bool) error {
	t.Helper()
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
		Namespace: kubetest.SystemNamespace, Group: resource[0], Resource: resource[1], Verb: "patch",
	}}}
	if err := c.Create(t.Context(), review); err != nil {
		return err
	}
	if review.Status.Allowed != want {
		return fmt.Errorf("patch %s: allowed is %t", resource[1], review.Status.Allowed)
	}
	return nil
}
