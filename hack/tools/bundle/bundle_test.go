package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/operator-framework/api/pkg/manifests"
	"github.com/operator-framework/api/pkg/validation"
	validator "github.com/operator-framework/api/pkg/validation/interfaces"
	appsv1 "k8s.io/api/apps/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// manifestsOf returns the objects of config/default.
func manifestsOf(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	kubectl := "../../../bin/kube"
	if assets := os.Getenv("KUBEBUILDER_ASSETS"); assets != "" {
		kubectl = assets
	}
	text, err := exec.CommandContext(t.Context(), filepath.Join(kubectl, "kubectl"), "kustomize", config+"default").Output()
	if err != nil {
		t.Fatal(err)
	}
	objects, err := decode(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

// made writes the bundle of a version, and reads it as a catalog does.
func made(t *testing.T, version string) (folder string, b *manifests.Bundle) {
	t.Helper()
	p, err := sort(manifestsOf(t))
	if err != nil {
		t.Fatal(err)
	}
	csv, err := clusterServiceVersion(p, version)
	if err != nil {
		t.Fatal(err)
	}
	folder = t.TempDir()
	if err := write(folder, csv, p); err != nil {
		t.Fatal(err)
	}
	if b, err = manifests.GetBundleFromDir(filepath.Join(folder, "bundle")); err != nil {
		t.Fatal(err)
	}
	return folder, b
}

// checks are those that need no registry, and nothing that only a catalog's own rules ask for.
var checks = append(validator.Validators{
	validation.StandardCapabilitiesValidator, validation.StandardCategoriesValidator, validation.GoodPracticesValidator,
}, validation.DefaultBundleValidators...)

// The bundle is one as the Operator Lifecycle Manager's own checks want it.
func TestBundleIsValid(t *testing.T) {
	for version, name := range map[string]string{"v1.2.3": "apitoken-operator.v1.2.3", "v1.2.3-rc.1": "apitoken-operator.v1.2.3-rc.1", "dev": "apitoken-operator.v0.0.0-dev"} {
		_, b := made(t, version)
		if b.CSV.Name != name {
			t.Errorf("%s is named %s", version, b.CSV.Name)
		}
		for _, result := range checks.Validate(b.ObjectsToValidate()...) {
			for _, e := range append(result.Errors, result.Warnings...) {
				t.Errorf("%s: %s: %s", version, result.Name, e)
			}
		}
	}
	if _, err := semantic("v1.2.x"); err != nil { // a name of somebody's own, behind 0.0.0
		t.Error(err)
	}
	if _, err := semantic("v1.2.3+a b"); err == nil {
		t.Error("a version with a space")
	}
}

// The bundle and the prerequisites together make the same objects as the kustomization.
func TestBundleIsTheKustomization(t *testing.T) {
	folder, b := made(t, "dev")
	before, err := os.Open(filepath.Join(folder, "olm-prerequisites.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = before.Close() }()
	objects, err := decode(before)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range b.Objects {
		if o.GetKind() != "ClusterServiceVersion" {
			objects = append(objects, o)
		}
	}
	strategy := b.CSV.Spec.InstallStrategy.StrategySpec
	want := manifestsOf(t)
	if diff := cmp.Diff(effects(t, want), effects(t, append(objects, asMade(t, b, want[0])...))); diff != "" {
		t.Errorf("the bundle differs from the kustomization (-want +got):\n%s", diff)
	}
	if len(strategy.Permissions) != 3 || len(strategy.ClusterPermissions) != 3 || len(strategy.DeploymentSpecs) != 3 {
		t.Errorf("it has rights for %d and %d accounts, and %d Deployments", len(strategy.Permissions), len(strategy.ClusterPermissions), len(strategy.DeploymentSpecs))
	}
	for _, o := range objects { // no object of a bundle may name a namespace of its own, but its own
		if ns := o.GetNamespace(); ns != "" && ns != "apitoken-system" && o.GetKind() != "Role" && o.GetKind() != "RoleBinding" {
			t.Errorf("%s %s is in %s", o.GetKind(), o.GetName(), ns)
		}
	}
}

// asMade returns what the Operator Lifecycle Manager makes of a ClusterServiceVersion in the namespace that it is installed into.
func asMade(t *testing.T, b *manifests.Bundle, namespace *unstructured.Unstructured) (all []*unstructured.Unstructured) {
	t.Helper()
	add := func(kind, name, in string, fields map[string]any) {
		o := &unstructured.Unstructured{Object: fields}
		o.SetKind(kind)
		o.SetName(name)
		o.SetNamespace(in)
		all = append(all, o)
	}
	home := namespace.GetName()
	strategy := b.CSV.Spec.InstallStrategy.StrategySpec
	for _, d := range strategy.DeploymentSpecs {
		spec, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&d.Spec)
		if err != nil {
			t.Fatal(err)
		}
		add("Deployment", d.Name, home, map[string]any{"spec": spec})
	}
	bind := func(kind, in, account string, rules any) {
		holder := map[string]any{"rules": rules}
		encoded, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&holder)
		if err != nil {
			t.Fatal(err)
		}
		add(kind, "made-"+account, in, encoded)
		add(kind+"Binding", "made-"+account, in, map[string]any{
			"roleRef": map[string]any{"kind": kind, "name": "made-" + account}, "subjects": []any{map[string]any{"kind": "ServiceAccount", "name": account, "namespace": home}},
		})
	}
	for _, p := range strategy.Permissions {
		add("ServiceAccount", p.ServiceAccountName, home, map[string]any{})
		bind("Role", home, p.ServiceAccountName, p.Rules)
	}
	for _, p := range strategy.ClusterPermissions {
		bind("ClusterRole", "", p.ServiceAccountName, p.Rules)
	}
	return all
}

// effects returns what objects do: the rules of each account in each namespace, and everything else as it is.
func effects(t *testing.T, objects []*unstructured.Unstructured) map[string]any {
	t.Helper()
	found, roles := map[string]any{}, map[string]*unstructured.Unstructured{}
	for _, o := range objects {
		switch name := key(o.GetKind(), o.GetNamespace(), o.GetName()); o.GetKind() {
		case "Role", "ClusterRole":
			roles[name] = o
		case "RoleBinding", "ClusterRoleBinding":
		case "ServiceAccount": // the rest of it are labels
			found[name] = true
		case "Deployment":
			var d appsv1.Deployment
			convert(t, o, &d)
			found[name] = d.Spec
		default:
			found[name] = o.Object
		}
	}
	bound := map[string]bool{}
	for _, o := range objects {
		if !strings.HasSuffix(o.GetKind(), "RoleBinding") {
			continue
		}
		var b rbacv1.RoleBinding
		convert(t, o, &b)
		role := key(b.RoleRef.Kind, map[string]string{"Role": b.Namespace}[b.RoleRef.Kind], b.RoleRef.Name)
		var r rbacv1.ClusterRole
		convert(t, roles[role], &r)
		bound[role] = true
		for _, s := range b.Subjects {
			in := "rules of " + s.Namespace + "/" + s.Name + " in " + b.Namespace
			rules, _ := found[in].([]string)
			for _, rule := range r.Rules {
				rules = append(rules, rule.String())
			}
			if r.AggregationRule != nil {
				rules = append(rules, r.AggregationRule.String())
			}
			slices.Sort(rules)
			found[in] = rules
		}
	}
	for name, role := range roles {
		if !bound[name] {
			found[name] = role.Object
		}
	}
	return found
}

func convert(t *testing.T, o *unstructured.Unstructured, to any) {
	t.Helper()
	if o == nil {
		t.Fatal("a binding to a role that is not there")
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, to); err != nil {
		t.Fatal(err)
	}
}

// Somebody has to decide about what this tool does not know.
func TestUnknownObjectsAreRefused(t *testing.T) {
	for says, change := range map[string]func(*unstructured.Unstructured){
		"no rule says where objects of this kind belong": func(o *unstructured.Unstructured) { o.SetKind("Job") },
		"the account apitoken-portal has no rights":      func(o *unstructured.Unstructured) { drop(o, "apitoken-portal", "RoleBinding", "ClusterRoleBinding") },
		"does not bind a role of the manifests":          func(o *unstructured.Unstructured) { drop(o, "apitoken-portal", "Role", "ClusterRole") },
		"one account of the operator":                    func(o *unstructured.Unstructured) { subject(o, "namespace", "elsewhere") },
		"to one account of the operator":                 func(o *unstructured.Unstructured) { subject(o, "kind", "Group") },
	} {
		objects := manifestsOf(t)
		for _, o := range objects {
			change(o)
		}
		if _, err := sort(objects); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want %q", err, says)
		}
	}
}

// drop makes an object with a name and one of these kinds something without rights.
func drop(o *unstructured.Unstructured, name string, kinds ...string) {
	if strings.HasPrefix(o.GetName(), name) && slices.Contains(kinds, o.GetKind()) {
		o.SetKind("NetworkPolicy")
	}
}

func subject(o *unstructured.Unstructured, field, value string) {
	if subjects, found, _ := unstructured.NestedSlice(o.Object, "subjects"); found {
		subjects[0].(map[string]any)[field] = value
		_ = unstructured.SetNestedSlice(o.Object, subjects, "subjects")
	}
}
