package site

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"apitokens.dev/operator/controllers/internal/owned"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/projection"
	"apitokens.dev/operator/internal/upstream"
)

// ofSite reports whether the operator keeps a Secret for a site.
func ofSite(s *corev1.Secret) bool {
	return s.Type == authurl.KeysSecretType || s.Type == upstream.SecretType || s.Type == projection.SecretType || s.Type == memoryType
}

// removeSite removes what is kept for a site that is gone or not served: caller keys, working copies by removeCopies, then the
// auth URLs. The projection goes with the site only: it says which tokens are dead.
func (r *Reconciler) removeSite(
	ctx context.Context, site types.NamespacedName, gone bool, removeCopies func(context.Context, types.NamespacedName) error,
) error {
	var list corev1.SecretList
	if err := r.Client.List(ctx, &list, client.InNamespace(r.Namespace), client.MatchingLabels(owned.Labels(site))); err != nil {
		return fmt.Errorf("listing the Secrets of the site: %w", err)
	}
	for i := range list.Items {
		if t := list.Items[i].Type; t != authurl.KeysSecretType && (t != projection.SecretType || !gone) {
			continue
		}
		if err := owned.Remove(ctx, r.Client, &list.Items[i]); err != nil {
			return err
		}
	}
	if err := removeCopies(ctx, site); err != nil {
		return err
	}
	var urls corev1.Secret
	err := r.Live.Get(ctx, types.NamespacedName{Namespace: site.Namespace, Name: authURLSecretName(site.Name)}, &urls)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("reading the auth URLs: %w", err)
	}
	if err == nil && urls.Type == authurl.SecretType {
		return owned.Remove(ctx, r.Client, &urls)
	}
	return nil
}
