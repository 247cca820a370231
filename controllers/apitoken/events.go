package apitoken

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/admission"
	"apitokens.dev/operator/controllers/index"
	"apitokens.dev/operator/controllers/internal/packed"
	"apitokens.dev/operator/internal/enrolment"
	"apitokens.dev/operator/internal/projection"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/recordstore"
	"apitokens.dev/operator/internal/upstream"
)

// tokensOfSite returns requests for the APITokens of a site that changed. The next look at each reads the Secret, also if it is the first
// one.
func (r *Reconciler) tokensOfSite(ctx context.Context, site client.Object) []reconcile.Request {
	all := r.tokensAt(ctx, site.GetNamespace(), site.GetName())
	for _, of := range all {
		r.found.changed(of.NamespacedName)
	}
	return all
}

func (r *Reconciler) tokensAt(ctx context.Context, namespace, site string) []reconcile.Request {
	return r.list(ctx, everyone, client.MatchingFields{index.BySite: index.Site(namespace, site)})
}

// tokensOfNamespace returns requests for the APITokens of a namespace that refer to sites elsewhere, and for those that were
// created with a token of the namespace.
func (r *Reconciler) tokensOfNamespace(ctx context.Context, namespace client.Object) []reconcile.Request {
	if !r.Scope.Has(namespace.GetName()) {
		return nil
	}
	elsewhere := func(t *tokensv1alpha1.APIToken) bool { return t.SiteNamespace() != t.Namespace }
	return append(r.list(ctx, elsewhere, client.InNamespace(namespace.GetName())),
		r.list(ctx, everyone, client.MatchingFields{index.ByParent: namespace.GetName()})...)
}

func everyone(*tokensv1alpha1.APIToken) bool { return true }

// concernsTokens reports whether an update of a Secret can change what is decided about an APIToken. A new licence or authority of a
// site cannot, nor a renewed personal access token.
func concernsTokens(old, now client.Object) bool {
	before, after := packed.Secret(old), packed.Secret(now)
	if before == nil || after == nil {
		return true
	}
	switch after.Type {
	case projection.SecretType:
		was, err := projection.Decode(before.Data[projection.DataKey])
		is, unreadable := projection.Decode(after.Data[projection.DataKey])
		return err != nil || unreadable != nil || !was.IssuedAfter.Equal(is.IssuedAfter) || !was.LimitsSince.Equal(is.LimitsSince)
	case upstream.SecretType:
		was, err := upstream.Decode(before.Data[upstream.DataKey])
		is, unreadable := upstream.Decode(after.Data[upstream.DataKey])
		return err != nil || unreadable != nil || was.Origin != is.Origin || was.Usable() != is.Usable() || was.UserKey != is.UserKey
	case enrolment.SecretType:
		was, err := enrolment.Decode(before.Data[enrolment.DataKey])
		is, unreadable := enrolment.Decode(after.Data[enrolment.DataKey])
		return err != nil || unreadable != nil || was.UserKey != is.UserKey || was.Name != is.Name || !was.Checked.Equal(is.Checked)
	default:
		return true
	}
}

// tokensOfSecret returns requests for the APITokens of a record, an upstream credential, an enrolment or the projection of a site, or
// for all after a change of the admission policies. A damaged Secret names no APIToken: the next periodic pass finds it.
func (r *Reconciler) tokensOfSecret(ctx context.Context, o client.Object) []reconcile.Request {
	if !slices.Contains(typesOfTokens, packed.SecretType(o)) {
		return nil
	}
	s := packed.Secret(o)
	switch {
	case s.Type == admission.SecretType && s.Namespace == r.Namespace:
		return r.list(ctx, everyone)
	case s.Type == record.SecretType && s.Namespace == r.Namespace:
		if stored, err := record.Decode(s.Data[record.DataKey]); err == nil {
			return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: stored.APIToken.Namespace, Name: stored.APIToken.Name}}}
		}
	case s.Type == projection.SecretType && s.Namespace == r.Namespace:
		if p, err := projection.Decode(s.Data[projection.DataKey]); err == nil {
			return r.tokensAt(ctx, p.Namespace, p.Site)
		}
	case s.Type == upstream.SecretType && s.Namespace == r.CredentialsNamespace:
		if c, err := upstream.Decode(s.Data[upstream.DataKey]); err == nil {
			return r.list(ctx, everyone, client.MatchingFields{index.ByOwner: index.Owner(c.Namespace, c.Site, c.User)})
		}
	case s.Type == enrolment.SecretType && s.Namespace == r.Namespace:
		if e, err := enrolment.Decode(s.Data[enrolment.DataKey]); err == nil {
			return r.list(ctx, r.lacksOwner(ctx), client.MatchingFields{index.ByOwner: index.Owner(e.Namespace, e.Site, e.User)})
		}
	}
	return nil
}

// lacksOwner reports for an APIToken whether its record in the cache has no owner. Only these depend on the user's enrolment, which
// changes every few hours.
func (r *Reconciler) lacksOwner(ctx context.Context) func(*tokensv1alpha1.APIToken) bool {
	return func(t *tokensv1alpha1.APIToken) bool {
		s, err := getSecret(ctx, r.Client, r.Namespace, string(t.UID))
		if err != nil || s == nil {
			return true
		}
		stored, err := recordstore.Decode(s)
		return err != nil || stored.UserKey == ""
	}
}

// typesOfTokens are those of the Secrets that tokensOfSecret reads.
var typesOfTokens = []corev1.SecretType{admission.SecretType, record.SecretType, projection.SecretType, upstream.SecretType, enrolment.SecretType}

func (r *Reconciler) list(ctx context.Context, wanted func(*tokensv1alpha1.APIToken) bool, scope ...client.ListOption) []reconcile.Request {
	var list tokensv1alpha1.APITokenList
	if err := r.Client.List(ctx, &list, scope...); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Listing APITokens to reconcile")
		return nil
	}
	var requests []reconcile.Request
	for i := range list.Items {
		if wanted(&list.Items[i]) {
			requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
		}
	}
	return requests
}
