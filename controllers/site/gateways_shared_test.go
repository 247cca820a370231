package site_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/gatewaytest"
	"apitokens.dev/operator/hack/lib/kubetest"
)

var tlsPolicies = schema.GroupVersionKind{Group: "gateway.networking.k8s.io", Version: "v1", Kind: "BackendTLSPolicy"}

// sharedPolicy returns the policy for TLS with the webhook, nil if there is none.
func (w *world) sharedPolicy() *unstructured.Unstructured {
	w.Helper()
	return w.object(tlsPolicies, kubetest.SystemNamespace, "apitokens.apitoken-webhook")
}

// expectShared checks that there is one policy for each Service, and that it names these sites.
func (w *world) expectShared(sites ...*tokensv1alpha1.AtlassianSite) {
	w.Helper()
	var want []string
	for _, s := range sites {
		want = append(want, s.Namespace+"/"+s.Name)
	}
	slices.Sort(want)
	for _, service := range []string{"apitoken-webhook", "apitoken-portal"} {
		policy := w.object(tlsPolicies, kubetest.SystemNamespace, "apitokens."+service)
		if policy == nil {
			w.Fatalf("there is no policy for %s", service)
		}
		if diff := cmp.Diff(want, slices.Sorted(maps.Values(policy.GetAnnotations()))); diff != "" {
			w.Errorf("sites of the policy for %s (-want +got): %s", service, diff)
		}
		if got := valueAt(w.T, policy, []string{"spec", "validation", "hostname"}); got != service+"."+kubetest.SystemNamespace+".svc" {
			w.Errorf("the host is %v", got)
		}
		labels := policy.GetLabels()
		if !slices.Contains(want, labels["apitokens.dev/site-namespace"]+"/"+labels["apitokens.dev/site"]) {
			w.Errorf("a change would be told to %v", labels)
		}
		for _, entry := range policy.GetManagedFields() {
			if entry.Operation != metav1.ManagedFieldsOperationApply && len(sites) > 1 {
				w.Errorf("%s has fields that no later pass can remove", service)
			}
		}
	}
}

// Two policies for one Service conflict, so all sites share one. It is mended by each, and goes with the last.
func TestSitesShareTheTLSPolicy(t *testing.T) {
	w := gatewayWorld(t, gatewaytest.RightsFiles()...)
	w.reconciler.WebhookURL, w.reconciler.PortalURL = strings.Replace(webhookURL, "http:", "https:", 1), strings.Replace(portalURL, "http:", "https:", 1)
	w.route("jira")
	w.route("wiki")
	first, second := w.site("first", gateways(routeEntry("jira"))), w.site("second", gateways(routeEntry("wiki")))
	w.reconcile(first)
	w.expectShared(first)
	w.reconcile(second)
	w.expectShared(first, second)
	for _, s := range []*tokensv1alpha1.AtlassianSite{first, second} {
		w.expectGateways(s, tokensv1alpha1.ReasonConfigured, "BackendTLSPolicy")
		version := w.sharedPolicy().GetResourceVersion()
		w.reconcile(s)
		if now := w.sharedPolicy().GetResourceVersion(); now != version {
			t.Errorf("an idle pass of %s wrote", s.Name)
		}
		w.edit(w.sharedPolicy(), `{"spec":{"validation":{"hostname":"elsewhere.example.com"}}}`)
		w.reconcile(s)
		w.expectShared(first, second)
		w.remove(w.sharedPolicy())
		w.reconcile(first)
		w.reconcile(second)
	}
	w.expectShared(first, second)

	// The site that the labels name leaves first, with its entry.
	w.change(first, gateways())
	w.reconcile(first)
	w.expectShared(second)
	w.reconcile(second)
	w.expectShared(second)
	w.change(first, gateways(routeEntry("jira")))
	w.reconcile(first)
	w.expectShared(first, second)

	w.remove(second.DeepCopy())
	if _, err := w.pass(w.reconciler, second); err != nil {
		t.Fatal(err)
	}
	w.expectShared(first)
	w.remove(first.DeepCopy())
	if _, err := w.pass(w.reconciler, first); err != nil {
		t.Fatal(err)
	}
	if policy := w.sharedPolicy(); policy != nil {
		t.Errorf("the policy is left: %v", policy.GetAnnotations())
	}
}

// A policy of a person is left alone, and so is the one of an earlier version that named its site.
func TestTLSPolicyOfOthers(t *testing.T) {
	w := gatewayWorld(t, gatewaytest.RightsFiles()...)
	w.reconciler.WebhookURL, w.reconciler.PortalURL = strings.Replace(webhookURL, "http:", "https:", 1), strings.Replace(portalURL, "http:", "https:", 1)
	w.route("jira")
	theirs := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"targetRefs": []any{map[string]any{"group": "", "kind": "Service", "name": "apitoken-webhook"}},
		"validation": map[string]any{"hostname": "x.example.com", "wellKnownCACertificates": "System"},
	}}}
	theirs.SetGroupVersionKind(tlsPolicies)
	theirs.SetNamespace(kubetest.SystemNamespace)
	theirs.SetName("apitokens.apitoken-webhook")
	if err := env.Admin.Create(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	s := w.site("main", gateways(routeEntry("jira")))
	w.reconcile(s)
	w.expectGateways(s, tokensv1alpha1.ReasonGatewayConflict, "BackendTLSPolicy 'apitoken-system/apitokens.apitoken-webhook' exists")
	w.remove(s.DeepCopy())
	if _, err := w.pass(w.reconciler, s); err != nil {
		t.Fatal(err)
	}
	if now := w.sharedPolicy(); now == nil || now.GetResourceVersion() != theirs.GetResourceVersion() {
		t.Error("the policy of a person was touched")
	}
	w.remove(theirs)
}
