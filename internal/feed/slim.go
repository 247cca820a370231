package feed

import (
	"unique"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/record"
)

// slim drops from an object what neither the index nor the portal reads. The field managers of an object are often longer than the
// object, and conditions have long messages.
func slim(o client.Object) {
	o.SetNamespace(shared(o.GetNamespace()))
	o.SetManagedFields(nil)
	o.SetOwnerReferences(nil)
	switch o := o.(type) {
	case *corev1.Secret:
		o.Labels, o.Annotations = nil, nil
	case *tokensv1alpha1.APIToken:
		o.Spec.SiteRef.Namespace, o.Spec.SiteRef.Name = shared(o.Spec.SiteRef.Namespace), shared(o.Spec.SiteRef.Name)
		for i := range o.Status.Conditions {
			c := &o.Status.Conditions[i]
			c.Type, c.Reason, c.Message = shared(c.Type), shared(c.Reason), ""
		}
	}
}

// shared returns the one copy of a string that many objects have.
func shared(s string) string { return unique.Make(s).Value() }

// slimRecord has a record share what many records say.
func slimRecord(r *record.Record) {
	r.Site = record.Ref{Namespace: shared(r.Site.Namespace), Name: shared(r.Site.Name)}
	r.APIToken.Namespace = shared(r.APIToken.Namespace)
	for _, entries := range [][]record.Entry{r.Entries, r.DeadEntries} {
		for i := range entries {
			entries[i].State = record.State(shared(string(entries[i].State)))
		}
	}
}
