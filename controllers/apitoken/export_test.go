package apitoken

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

// TokensOfSecret returns the requests after a change of a Secret.
func TokensOfSecret(ctx context.Context, r *Reconciler, o client.Object) []reconcile.Request {
	return r.tokensOfSecret(ctx, o)
}

// TokensOfNamespace returns the requests after a change of a namespace.
func TokensOfNamespace(ctx context.Context, r *Reconciler, o client.Object) []reconcile.Request {
	return r.tokensOfNamespace(ctx, o)
}

// ConcernsTokens reports whether an update of a Secret reconciles APITokens.
var ConcernsTokens = concernsTokens

// Observe notes an observed deletion, as a Cleaner does.
func Observe(d *Deletions, t *tokensv1alpha1.APIToken) { (&Cleaner{Deletions: d}).observed(t) }

// CreatedByOthers has a reconciler note the records that it creates, as in a manager. It returns the predicate of their events.
func CreatedByOthers(r *Reconciler) predicate.Predicate {
	r.created = &created{names: map[string]struct{}{}}
	return r.created.byOthers(r.Namespace)
}

// OwnerWait is how long a new token waits for its owner.
const OwnerWait = ownerWait
