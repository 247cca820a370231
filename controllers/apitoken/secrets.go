package apitoken

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/index"
	"apitokens.dev/operator/controllers/internal/watch"
)

// secretDelay is the time from a change of a watched Secret to the look at its APITokens. Changes that follow each other have one.
const secretDelay = time.Second

// ofChanged has a controller look at the APITokens whose Secret changed. One write can cause very many looks, so they hold up no APIToken
// that itself changed, and take turns with the first looks at a start.
func ofChanged(due <-chan watch.Due) source.Source { return watch.Names(due, handler.LowPriority) }

// watchSecrets adds a controller that has passes made over the APITokens of each Secret that changes. The Secrets have a queue of their
// own: one may change a thousand times a second, and ten thousand APITokens may name it.
func (r *Reconciler) watchSecrets(mgr ctrl.Manager) error {
	if r.Secrets == nil {
		return nil
	}
	itself := func(_ context.Context, secret client.Object) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: client.ObjectKeyFromObject(secret)}}
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("apitoken-secrets").
		WatchesRawSource(r.Secrets.Changes(watch.Later(secretDelay, itself))).
		Complete(reconcile.Func(r.secretChanged))
}

// secretChanged has passes made over the APITokens of a Secret. The next look at each reads the Secret, also if it is the first one.
func (r *Reconciler) secretChanged(ctx context.Context, secret reconcile.Request) (reconcile.Result, error) {
	for _, of := range r.tokensWithSecret(ctx, secret.NamespacedName) {
		r.found.changed(of.NamespacedName)
		select {
		case <-ctx.Done():
			return reconcile.Result{}, ctx.Err()
		case r.ofSecrets <- watch.Due{Object: of.NamespacedName}:
		}
	}
	return reconcile.Result{}, nil
}

// tokensWithSecret returns requests for the APITokens that deliver into a Secret or import from it.
func (r *Reconciler) tokensWithSecret(ctx context.Context, secret types.NamespacedName) []reconcile.Request {
	return r.list(ctx, everyone, client.MatchingFields{index.BySecret: index.Secret(secret.Namespace, secret.Name)})
}

// lacksSecret reports whether the Secret of an APIToken is known not to be there. It reads nothing live.
func (r *Reconciler) lacksSecret(ctx context.Context, t *tokensv1alpha1.APIToken) bool {
	name := index.SecretName(t)
	return name != "" && r.Secrets.Lacks(ctx, types.NamespacedName{Namespace: t.Namespace, Name: name})
}
