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

// ensureKeys returns the caller keys of a site. It makes a key for each contract without one, and never changes a key, which an
// ingress may use.
func (r *Reconciler) ensureKeys(ctx context.Context, s *tokensv1alpha1.AtlassianSite) (authurl.Keys, *problem, error) {
	name := authurl.KeysSecretName(s.Namespace, s.Name)
	var stored corev1.Secret
	err := r.Live.Get(ctx, client.ObjectKey{Namespace: r.Namespace, Name: name}, &stored)
	if apierrors.IsNotFound(err) {
		keys, err := r.createKeys(ctx, s)
		return keys, nil, err
	}
	if err != nil {
		return authurl.Keys{}, nil, fmt.Errorf("reading the caller keys: %w", err)
	}
	keys, err := authurl.DecodeKeys(stored.Data[authurl.KeysDataKey])
	if err != nil || stored.Type != authurl.KeysSecretType || keys.SecretName() != name {
		return authurl.Keys{}, &problem{tokensv1alpha1.ReasonCallerKeysDamaged, fmt.Sprintf(
			"The caller keys in Secret '%s/%s' cannot be read, so the webhook does not answer for this site. Restore it, or delete it to have new keys made: "+
				"the auth URLs change then, and the ingress has to be given the new ones.",
			r.Namespace, name)}, nil
	}
	if len(keys.Missing()) == 0 {
		return keys, nil, nil
	}
	keys, err = r.addKeys(ctx, &stored)
	return keys, nil, err
}

func (r *Reconciler) createKeys(ctx context.Context, s *tokensv1alpha1.AtlassianSite) (authurl.Keys, error) {
	keys := authurl.NewKeys(s.Namespace, s.Name)
	encoded, err := keys.Encode()
	if err != nil {
		return authurl.Keys{}, err
	}
	err = r.Client.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: keys.SecretName(), Labels: owned.Labels(client.ObjectKeyFromObject(s))},
		Type:       authurl.KeysSecretType,
		Data:       map[string][]byte{authurl.KeysDataKey: encoded},
	})
	if err != nil {
		return authurl.Keys{}, fmt.Errorf("storing the caller keys: %w", err)
	}
	return keys, nil
}

// addKeys adds a key for each contract that the stored keys lack, as after an upgrade.
func (r *Reconciler) addKeys(ctx context.Context, stored *corev1.Secret) (authurl.Keys, error) {
	encoded, err := authurl.AddMissing(stored.Data[authurl.KeysDataKey])
	if err != nil {
		return authurl.Keys{}, err
	}
	stored.Data = map[string][]byte{authurl.KeysDataKey: encoded}
	if err := r.Client.Update(ctx, stored); err != nil {
		return authurl.Keys{}, fmt.Errorf("adding caller keys: %w", err)
	}
	return authurl.DecodeKeys(encoded)
}
