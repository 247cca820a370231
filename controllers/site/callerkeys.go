package site

import (
	"context"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/projection"
	"apitokens.dev/operator/internal/upstream"
)

const (
	managedByLabel = "app.kubernetes.io/managed-by"
	managedBy      = "apitoken-operator"
)

// portalKey is the key of the URL of the portal, beside those of the contracts.
const portalKey = "portal"

func authURLSecretName(site string) string { return site + "-auth-urls" }

// ofSite reports whether a Secret is one that the operator keeps for a site.
func ofSite(s *corev1.Secret) bool {
	return s.Type == authurl.KeysSecretType || s.Type == upstream.SecretType || s.Type == projection.SecretType
}

func labels(site types.NamespacedName) map[string]string {
	return map[string]string{managedByLabel: managedBy, labelNamespace: site.Namespace, labelSite: site.Name}
}

// ensureKeys makes the caller keys of a site once. They are never made anew under an ingress that uses them.
func (r *Reconciler) ensureKeys(ctx context.Context, s *tokensv1alpha1.AtlassianSite) (authurl.Keys, *problem, error) {
	name := authurl.KeysSecretName(s.Namespace, s.Name)
	var stored corev1.Secret
	err := r.Live.Get(ctx, client.ObjectKey{Namespace: r.Namespace, Name: name}, &stored)
	if err == nil {
		keys, err := authurl.DecodeKeys(stored.Data[authurl.KeysDataKey])
		if err != nil || stored.Type != authurl.KeysSecretType || keys.SecretName() != name {
			return authurl.Keys{}, &problem{tokensv1alpha1.ReasonCallerKeysDamaged, fmt.Sprintf(
				"The caller keys in Secret '%s/%s' cannot be read, so the webhook does not answer for this site. Restore it, or delete it to have new keys made: "+
					"the auth URLs change then, and the ingress has to be given the new ones.",
				r.Namespace, name)}, nil
		}
		return keys, nil, nil
	}
	if !apierrors.IsNotFound(err) {
		return authurl.Keys{}, nil, fmt.Errorf("reading the caller keys: %w", err)
	}
	keys := authurl.NewKeys(s.Namespace, s.Name)
	encoded, err := keys.Encode()
	if err != nil {
		return authurl.Keys{}, nil, err
	}
	err = r.Client.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: name, Labels: labels(client.ObjectKeyFromObject(s))},
		Type:       authurl.KeysSecretType,
		Data:       map[string][]byte{authurl.KeysDataKey: encoded},
	})
	if err != nil {
		return authurl.Keys{}, nil, fmt.Errorf("storing the caller keys: %w", err)
	}
	return keys, nil, nil
}

// writeAuthURLs writes what the ingress is to be given, beside the site. A Secret of another type is somebody else's:
// only the operator can write Secrets of this one.
func (r *Reconciler) writeAuthURLs(ctx context.Context, s *tokensv1alpha1.AtlassianSite, keys authurl.Keys) (*problem, error) {
	want := map[string][]byte{portalKey: []byte(r.PortalURL + "/portal/" + s.Namespace + "/" + s.Name)}
	for _, c := range authurl.Contracts() {
		want[string(c)] = []byte(r.WebhookURL + keys.Address(c).String())
	}
	name := client.ObjectKey{Namespace: s.Namespace, Name: authURLSecretName(s.Name)}
	var stored corev1.Secret
	err := r.Live.Get(ctx, name, &stored)
	switch {
	case apierrors.IsNotFound(err):
		stored = corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name, Labels: labels(client.ObjectKeyFromObject(s))},
			Type:       authurl.SecretType,
			Data:       want,
		}
		err = r.Client.Create(ctx, &stored)
	case err != nil:
	case stored.Type != authurl.SecretType:
		return &problem{tokensv1alpha1.ReasonAuthURLConflict, fmt.Sprintf(
			"Secret '%s' exists and was not written by the operator; it is left alone. "+
				"Move what is in it elsewhere and delete it: the auth URLs of this site go there.", name.Name)}, nil
	case !maps.EqualFunc(stored.Data, want, func(a, b []byte) bool { return string(a) == string(b) }):
		stored.Data = want
		err = r.Client.Update(ctx, &stored)
	}
	if err != nil {
		return nil, fmt.Errorf("writing the auth URLs: %w", err)
	}
	return nil, nil
}

// removeAll removes these of all that the operator keeps for a site that is gone or not served, and its auth URLs.
func (r *Reconciler) removeAll(ctx context.Context, site types.NamespacedName, these func(*corev1.Secret) bool) error {
	for _, namespace := range []string{r.Namespace, r.CredentialsNamespace} {
		var list corev1.SecretList
		if err := r.Client.List(ctx, &list, client.InNamespace(namespace), client.MatchingLabels(labels(site))); err != nil {
			return fmt.Errorf("listing the Secrets of the site: %w", err)
		}
		for i := range list.Items {
			if these(&list.Items[i]) {
				if err := r.remove(ctx, &list.Items[i]); err != nil {
					return err
				}
			}
		}
	}
	var urls corev1.Secret
	err := r.Live.Get(ctx, types.NamespacedName{Namespace: site.Namespace, Name: authURLSecretName(site.Name)}, &urls)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("reading the auth URLs: %w", err)
	}
	if err == nil && urls.Type == authurl.SecretType {
		return r.remove(ctx, &urls)
	}
	return nil
}

// remove deletes exactly what was looked at.
func (r *Reconciler) remove(ctx context.Context, s *corev1.Secret) error {
	err := r.Client.Delete(ctx, s, client.Preconditions{UID: &s.UID, ResourceVersion: &s.ResourceVersion})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("removing Secret %s/%s: %w", s.Namespace, s.Name, err)
	}
	return nil
}
