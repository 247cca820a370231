package config_test

import (
	"slices"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"apitokens.dev/operator/hack/lib/gatewaytest"
)

// kindsOfOthers are kinds in the sample repository whose CRDs are not ours.
var kindsOfOthers = []string{"ExternalSecret", "SealedSecret"}

// The sample repository can be applied in its order, with the rights that it grants and no more.
func TestSampleRepository(t *testing.T) {
	admin := clients[clusterAdmin]
	_, objects := build(t, "samples/gitops/jira")
	for _, o := range objects {
		if slices.Contains(kindsOfOthers, o.GetKind()) {
			continue
		}
		if err := admin.Create(t.Context(), o); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatalf("%s %s: %v", o.GetKind(), o.GetName(), err)
		}
	}
	_, objects = build(t, "samples/gitops/team-a")
	for _, deployer := range []string{"system:serviceaccount:flux-system:deployer", "system:serviceaccount:team-a:deployer"} {
		team := impersonate(t, deployer)
		applied := 0
		for _, o := range objects {
			if slices.Contains(kindsOfOthers, o.GetKind()) {
				continue
			}
			create := func() error { return team.Create(t.Context(), o.DeepCopy(), client.DryRunAll) }
			if err := eventually(t.Context(), deployer+" may create "+o.GetName(), create); err != nil {
				t.Error(err)
			}
			applied++
			ofAlice := o.DeepCopy()
			if err := unstructured.SetNestedField(ofAlice.Object, "alice", "spec", "user"); err != nil {
				t.Fatal(err)
			}
			if err := refusedByIssuePolicy.check(team.Create(t.Context(), ofAlice, client.DryRunAll)); err != nil {
				t.Errorf("a token of alice for %s: %v", deployer, err)
			}
		}
		if applied < 3 {
			t.Errorf("found %d APITokens", applied)
		}
	}
}

// A sync that prunes must remove neither the CRDs, with every APIToken, nor the namespaces, with every record.
func TestSampleRepositoryKeepsRecords(t *testing.T) {
	_, objects := build(t, "samples/gitops/operator")
	kept := 0
	for _, o := range objects {
		if !slices.Contains([]string{"CustomResourceDefinition", "Namespace"}, o.GetKind()) {
			continue
		}
		kept++
		annotations := o.GetAnnotations()
		if annotations["argocd.argoproj.io/sync-options"] != "Prune=false,Delete=false" || annotations["kustomize.toolkit.fluxcd.io/prune"] != "disabled" {
			t.Errorf("%s %s can be pruned: %v", o.GetKind(), o.GetName(), annotations)
		}
	}
	if kept != 5 {
		t.Errorf("found %d CRDs and namespaces", kept)
	}
}

// The folders of the sample repository are applied one after the other: operator, site, tokens.
func TestSampleRepositoryHasAnOrder(t *testing.T) {
	waves := map[string]string{}
	for _, o := range gatewaytest.Read(t, "samples/gitops/argocd/applications.yaml") {
		if o.GetKind() == "Application" {
			waves[o.GetName()] = o.GetAnnotations()["argocd.argoproj.io/sync-wave"]
		}
	}
	if waves["apitoken-operator"] != "0" || waves["jira"] != "1" || waves["team-a"] != "2" || len(waves) != 3 {
		t.Errorf("waves of Argo CD: %v", waves)
	}
	after := map[string]string{}
	for _, o := range gatewaytest.Read(t, "samples/gitops/flux/kustomizations.yaml") {
		needs, _, err := unstructured.NestedSlice(o.Object, "spec", "dependsOn")
		if wait, _, _ := unstructured.NestedBool(o.Object, "spec", "wait"); err != nil || !wait {
			t.Errorf("%s does not wait: %v", o.GetName(), err)
		}
		after[o.GetName()] = ""
		for _, need := range needs {
			after[o.GetName()] += need.(map[string]any)["name"].(string)
		}
	}
	if after["jira"] != "apitoken-operator" || after["team-a"] != "jira" || len(after) != 3 {
		t.Errorf("dependencies of Flux: %v", after)
	}
}
