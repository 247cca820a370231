// Package rights_test runs the three processes with the rights of an installation, has them do everything that they do, and
// compares their requests with the rules of their roles.
package rights_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"

	"apitokens.dev/operator/hack/lib/controlplane"
	"apitokens.dev/operator/hack/lib/kubetest"
)

// right is one verb on one resource, or on one object of it. An empty namespace means all of them.
type right struct{ namespace, group, resource, name, verb string }

func (r right) String() string {
	return strings.TrimRight(fmt.Sprintf("%s %s/%s %s", r.verb, r.group, r.resource, r.name), " ") + " in " + max(r.namespace, "(all namespaces)")
}

// allows reports whether the right is enough for a request.
func (r right) allows(asked right) bool {
	return (r.namespace == "" || r.namespace == asked.namespace) && r.group == asked.group && r.resource == asked.resource &&
		r.verb == asked.verb && (r.name == "" || r.name == asked.name)
}

// Every right of the roles is used, and everything that is used is a right: nothing can be taken away, and nothing is missing.
// In namespaces that are not served, `namespaced` does nothing.
func TestEveryRightIsUsed(t *testing.T) {
	binary := operator(t)
	for _, kind := range []string{"namespaced", "default"} {
		t.Run(kind, func(t *testing.T) {
			w := install(t, kind, binary)
			w.live(t)
			for _, p := range w.processes {
				granted, used := w.granted(t, p.account), p.requests()
				for _, r := range granted {
					if notAsked[r.verb+" "+r.group+"/"+r.resource] == "" && !slices.ContainsFunc(used, w.servedBy(r)) {
						t.Errorf("%s never does this, so it needs no right for it: %s", p.mode, r)
					}
				}
				for _, asked := range used {
					if !slices.ContainsFunc(granted, func(r right) bool { return r.allows(asked) }) {
						t.Errorf("%s has no right for this: %s", p.mode, asked)
					}
				}
				for _, refused := range p.refused() {
					t.Errorf("%s was refused by RBAC: %s", p.mode, refused)
				}
				if log := p.log.String(); strings.Contains(log, "unknown namespace for the cache") {
					t.Errorf("%s looks into namespaces that it does not serve", p.mode)
				}
				if len(granted) < 8 || len(used) < 8 {
					t.Errorf("%s has %d rights and used %d", p.mode, len(granted), len(used))
				}
			}
		})
	}
}

// notAsked are the rights that no request of the life below needs.
var notAsked = map[string]string{
	"issue apitokens.dev/apitokens": "the admission policy asks for it",
	"patch events.k8s.io/events":    "an Event that repeats, about the same version of an object, is a change of the first one",
}

// servedBy returns a function that reports whether a right is enough for a request. What a role allows in one of the namespaces
// that are served, it allows in each.
func (w *world) servedBy(r right) func(right) bool {
	return func(asked right) bool {
		if slices.Contains(w.served, r.namespace) && slices.Contains(w.served, asked.namespace) {
			asked.namespace = r.namespace
		}
		return r.allows(asked)
	}
}

// granted returns the rights of an account: those of the kustomization, and those of config/access in the namespaces that are
// served.
func (w *world) granted(t *testing.T, account string) (all []right) {
	t.Helper()
	objects := built(t, w.kind)
	if w.kind == "namespaced" {
		for _, namespace := range w.served {
			for _, o := range built(t, "access") {
				o.SetNamespace(namespace)
				objects = append(objects, o)
			}
		}
	}
	rules := map[string][]rbacv1.PolicyRule{}
	for _, o := range objects {
		switch o.GetKind() {
		case "ClusterRole":
			rules[o.GetKind()+"/"+o.GetName()] = into[rbacv1.ClusterRole](t, o).Rules
		case "Role":
			rules[o.GetKind()+"/"+o.GetNamespace()+"/"+o.GetName()] = into[rbacv1.Role](t, o).Rules
		}
	}
	for _, o := range objects {
		var binding rbacv1.RoleBinding
		switch o.GetKind() {
		case "ClusterRoleBinding", "RoleBinding":
			binding = into[rbacv1.RoleBinding](t, o)
		default:
			continue
		}
		if !slices.ContainsFunc(binding.Subjects, func(s rbacv1.Subject) bool { return s.Name == account }) {
			continue
		}
		role := "ClusterRole/" + binding.RoleRef.Name
		if binding.RoleRef.Kind == "Role" {
			role = "Role/" + binding.Namespace + "/" + binding.RoleRef.Name
		}
		if _, there := rules[role]; !there {
			t.Errorf("a binding is for %s, which is not there", role)
		}
		all = append(all, expand(binding.Namespace, rules[role])...)
	}
	return all
}

func expand(namespace string, rules []rbacv1.PolicyRule) (all []right) {
	for _, rule := range rules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					for _, name := range append(slices.Clone(rule.ResourceNames), "")[:max(1, len(rule.ResourceNames))] {
						all = append(all, right{namespace, group, resource, name, verb})
					}
				}
			}
		}
	}
	return all
}

// built returns the objects of config/NAME.
func built(t *testing.T, name string) (objects []*unstructured.Unstructured) {
	t.Helper()
	text, err := exec.CommandContext(t.Context(), env.Kubectl(), "kustomize", filepath.Join(controlplane.RepositoryRoot(), "config", name)).Output()
	must(t, err)
	for decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096); ; {
		o := &unstructured.Unstructured{}
		if err := decoder.Decode(&o.Object); errors.Is(err, io.EOF) {
			return objects
		} else if err != nil {
			t.Fatal(err)
		}
		objects = append(objects, o)
	}
}

func into[T any](t *testing.T, o *unstructured.Unstructured) (typed T) {
	t.Helper()
	must(t, runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &typed))
	return typed
}

var env kubetest.Env

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
