package main

import (
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// parts are the objects of the manifests by who makes them.
type parts struct {
	// deployments and rights go into the ClusterServiceVersion. The Operator Lifecycle Manager makes accounts and roles from it.
	deployments []*unstructured.Unstructured
	// local are the rights of accounts in their namespace, and everywhere those in all.
	local, everywhere rights
	// bundled are the objects beside the ClusterServiceVersion. before has those that a bundle cannot hold.
	bundled, before []*unstructured.Unstructured
}

// rights are the rules by the name of an account.
type rights map[string][]rbacv1.PolicyRule

// sort tells the objects apart. One of an unknown kind is an error: somebody has to decide where it belongs.
func sort(objects []*unstructured.Unstructured) (parts, error) {
	p := parts{local: rights{}, everywhere: rights{}}
	accounts, roles, namespace := map[string]bool{}, map[string]*unstructured.Unstructured{}, ""
	for _, o := range objects {
		switch o.GetKind() {
		case "ServiceAccount":
			accounts[o.GetName()], namespace = true, o.GetNamespace()
		case "Role", "ClusterRole":
			roles[key(o.GetKind(), o.GetNamespace(), o.GetName())] = o
		}
	}
	granted := map[string]bool{}
	for _, o := range objects {
		var err error
		switch kind := o.GetKind(); kind {
		case "Deployment":
			p.deployments = append(p.deployments, o)
		case "CustomResourceDefinition", "Service", "PodDisruptionBudget":
			p.bundled = append(p.bundled, o)
		case "Namespace", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "NetworkPolicy":
			p.before = append(p.before, o)
		case "ServiceAccount", "Role", "ClusterRole":
		case "RoleBinding", "ClusterRoleBinding":
			err = p.grant(o, roles, namespace, granted)
		default:
			err = fmt.Errorf("%s %s: no rule says where objects of this kind belong", kind, o.GetName())
		}
		if err != nil {
			return parts{}, err
		}
	}
	for _, o := range objects {
		if kind := o.GetKind(); (kind == "ClusterRole" || kind == "Role") && !granted[key(kind, o.GetNamespace(), o.GetName())] {
			p.place(o, namespace)
		}
	}
	for account := range accounts {
		if len(p.local[account])+len(p.everywhere[account]) == 0 {
			return parts{}, fmt.Errorf("the account %s has no rights: the Operator Lifecycle Manager would not make it", account)
		}
	}
	return p, nil
}

func key(kind, namespace, name string) string { return kind + " " + namespace + "/" + name }

// grant notes the rules of a role that is bound to one account of the operator. Bindings elsewhere, and those of an aggregated role,
// whose rules come later, stay what they are.
func (p *parts) grant(o *unstructured.Unstructured, roles map[string]*unstructured.Unstructured, namespace string, granted map[string]bool) error {
	var b rbacv1.RoleBinding // a ClusterRoleBinding has the same fields
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &b); err != nil {
		return fmt.Errorf("reading %s %s: %w", o.GetKind(), o.GetName(), err)
	}
	name := key(b.RoleRef.Kind, map[string]string{"Role": b.Namespace}[b.RoleRef.Kind], b.RoleRef.Name)
	stored, found := roles[name]
	if !found || len(b.Subjects) != 1 || b.Subjects[0].Kind != rbacv1.ServiceAccountKind || b.Subjects[0].Namespace != namespace {
		return fmt.Errorf("%s %s: it does not bind a role of the manifests to one account of the operator", o.GetKind(), o.GetName())
	}
	var role rbacv1.ClusterRole // a Role has the same rules
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(stored.Object, &role); err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	account := b.Subjects[0].Name
	switch {
	case role.AggregationRule != nil, b.Namespace != "" && b.Namespace != namespace, b.Namespace != "" && b.RoleRef.Kind == "ClusterRole":
		p.place(o, namespace)
		return nil
	case b.Namespace == namespace:
		p.local[account] = append(p.local[account], role.Rules...)
	default:
		p.everywhere[account] = append(p.everywhere[account], role.Rules...)
	}
	granted[name] = true
	return nil
}

// place puts a role or a binding into the bundle, whose objects all lie in one namespace or in none.
func (p *parts) place(o *unstructured.Unstructured, namespace string) {
	if o.GetNamespace() == "" || o.GetNamespace() == namespace {
		p.bundled = append(p.bundled, o)
	} else {
		p.before = append(p.before, o)
	}
}
