package site

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/internal/apierror"
	"apitokens.dev/operator/controllers/internal/owned"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/probe"
	"apitokens.dev/operator/internal/projection"
	"apitokens.dev/operator/internal/upstream"
)

// keysRetention is how long the caller keys of a deleted site are kept, for one of the same name, product and base URL.
const keysRetention = 7 * 24 * time.Hour

// ofSite reports whether the operator keeps Secrets of a type for sites.
func ofSite(secretType corev1.SecretType) bool {
	return slices.Contains([]corev1.SecretType{authurl.KeysSecretType, upstream.SecretType, projection.SecretType, memoryType, probe.SecretType}, secretType)
}

// removeGone removes what is kept for a site that is gone.
func (r *Reconciler) removeGone(ctx context.Context, name types.NamespacedName) (ctrl.Result, error) {
	again, err := r.removeSite(ctx, name)
	gone := &tokensv1alpha1.AtlassianSite{ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name}}
	if apierror.EmitRefusal(ctx, r.Events, gone, err) {
		return ctrl.Result{RequeueAfter: recheckPeriod}, nil
	}
	return retryRace(ctrl.Result{RequeueAfter: again}, err)
}

// removeSite removes the working copies, the projection, the auth URLs and what was written for gateways of a site that is gone,
// and its caller keys after keysRetention. It returns the time until then. The cache alone removes nothing: what is gone there
// may be back already.
func (r *Reconciler) removeSite(ctx context.Context, site types.NamespacedName) (again time.Duration, err error) {
	var s tokensv1alpha1.AtlassianSite
	if err := r.Live.Get(ctx, site, &s); !apierrors.IsNotFound(err) {
		return retryPeriod, client.IgnoreNotFound(err)
	}
	again, err = r.retainKeys(ctx, site)
	if err != nil {
		return 0, err
	}
	if err := r.Keeper().RemoveAll(ctx, site); err != nil {
		return 0, err
	}
	if err := r.removeProbeKey(ctx, site); err != nil {
		return 0, err
	}
	projected := types.NamespacedName{Namespace: r.Namespace, Name: projection.SecretName(site.Namespace, site.Name)}
	urls := types.NamespacedName{Namespace: site.Namespace, Name: authURLSecretName(site.Name)}
	return again, errors.Join(
		r.removeOwn(ctx, projected, projection.SecretType), r.unwire(ctx, site), r.removeOwn(ctx, urls, authurl.SecretType))
}

// retainKeys has no caller answered with the keys of a site that is gone, and removes them when the time is over. It returns the
// time until then. Without a memory nobody could tell for which site they are.
func (r *Reconciler) retainKeys(ctx context.Context, site types.NamespacedName) (time.Duration, error) {
	m, err := r.recall(ctx, site)
	if errors.Is(err, errMemoryDamaged) {
		return 0, r.retireKeys(ctx, site)
	}
	if err != nil {
		return 0, err
	}
	gone := m.gone(r.Clock.Now())
	gone.raise(r.notedEpoch(site))
	if m, err = r.store(ctx, m, gone); err != nil {
		return 0, err
	}
	left := m.Gone.Add(keysRetention).Sub(r.Clock.Now())
	if m.UID == "" || left <= 0 {
		return 0, r.removeKeys(ctx, site)
	}
	return left, r.retireKeys(ctx, site)
}

// removeOwn removes a Secret of the operator's. One of another type under its name is left alone.
func (r *Reconciler) removeOwn(ctx context.Context, name types.NamespacedName, secretType corev1.SecretType) error {
	var s corev1.Secret
	err := r.Live.Get(ctx, name, &s)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("reading Secret %s: %w", name, err)
	}
	if err != nil || s.Type != secretType {
		return nil
	}
	return owned.Remove(ctx, r.Client, &s)
}
