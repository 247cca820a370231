package site

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/internal/owned"
	"apitokens.dev/operator/internal/authurl"
)

// ensureKeys returns the caller keys of a site. It makes them once, and never replaces keys that an ingress may use.
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
		ObjectMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: name, Labels: owned.Labels(client.ObjectKeyFromObject(s))},
		Type:       authurl.KeysSecretType,
		Data:       map[string][]byte{authurl.KeysDataKey: encoded},
	})
	if err != nil {
		return authurl.Keys{}, nil, fmt.Errorf("storing the caller keys: %w", err)
	}
	return keys, nil, nil
}
