package site

import (
	"bytes"
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/internal/owned"
	"apitokens.dev/operator/internal/authurl"
)

// ensureKeys returns the caller keys of a site that is served. It makes a key for each contract without one, and replaces the
// current ones only on request, because an ingress uses them. rotated tells that it did.
func (r *Reconciler) ensureKeys(ctx context.Context, s *tokensv1alpha1.AtlassianSite) (keys authurl.Keys, rotated bool, damaged *problem, err error) {
	name := client.ObjectKeyFromObject(s)
	stored, err := r.storedKeys(ctx, name)
	if err != nil {
		return keys, false, nil, err
	}
	now := r.Clock.Now()
	if stored == nil {
		keys = authurl.NewKeys(s.Namespace, s.Name, now)
		encoded, err := keys.Encode()
		if err != nil {
			return keys, false, nil, err
		}
		_, err = r.createKeys(ctx, name, map[string][]byte{authurl.KeysDataKey: encoded})
		return keys, false, nil, err
	}
	if !readable(stored, name) {
		return keys, false, &problem{tokensv1alpha1.ReasonCallerKeysDamaged, fmt.Sprintf(
			"The caller keys in Secret '%s/%s' cannot be read, so the webhook does not answer for this site. Restore it, or delete it to have new keys made: "+
				"the auth URLs change then, and the ingress has to be given the new ones.",
			stored.Namespace, stored.Name)}, nil
	}
	keys, err = r.editKeys(ctx, stored, func(k *authurl.Keys) {
		k.Served = true
		k.AddMissing()
		rotated = k.Rotate(s.Spec.CallerVerification.RotationRequestedTime.Time, now)
		k.DropEnded(now)
	})
	return keys, rotated, nil, err
}

// retireKeys has no caller answered with the keys of a site. The keys stay: the site may be served again.
func (r *Reconciler) retireKeys(ctx context.Context, site types.NamespacedName) error {
	stored, err := r.storedKeys(ctx, site)
	if err != nil || stored == nil || !readable(stored, site) {
		return err // those that cannot be read are used by nobody
	}
	_, err = r.editKeys(ctx, stored, func(k *authurl.Keys) { k.Served = false })
	return err
}

// removeKeys removes the keys of a site for good. A Secret of another type under their name is left alone.
func (r *Reconciler) removeKeys(ctx context.Context, site types.NamespacedName) error {
	stored, err := r.storedKeys(ctx, site)
	if err != nil || stored == nil || stored.Type != authurl.KeysSecretType {
		return err
	}
	return owned.Remove(ctx, r.Client, stored)
}

// readable reports whether a Secret holds the caller keys that its name stands for.
func readable(s *corev1.Secret, site types.NamespacedName) bool {
	keys, err := authurl.DecodeKeys(s.Data[authurl.KeysDataKey])
	return err == nil && s.Type == authurl.KeysSecretType && keys.Namespace == site.Namespace && keys.Site == site.Name
}

func (r *Reconciler) editKeys(ctx context.Context, stored *corev1.Secret, change func(*authurl.Keys)) (authurl.Keys, error) {
	before := stored.Data[authurl.KeysDataKey]
	after, err := authurl.Edit(before, change)
	if err != nil {
		return authurl.Keys{}, err
	}
	if !bytes.Equal(before, after) {
		stored.Data = map[string][]byte{authurl.KeysDataKey: after}
		if err := r.Client.Update(ctx, stored); err != nil {
			return authurl.Keys{}, fmt.Errorf("changing the caller keys: %w", err)
		}
	}
	return authurl.DecodeKeys(after)
}

// storedKeys reads the Secret with the caller keys of a site, or returns nil. Keys of an earlier version, which kept them beside
// the records, are moved with their values.
func (r *Reconciler) storedKeys(ctx context.Context, site types.NamespacedName) (*corev1.Secret, error) {
	name := authurl.KeysSecretName(site.Namespace, site.Name)
	var stored, earlier corev1.Secret
	err := r.Live.Get(ctx, types.NamespacedName{Namespace: r.CredentialsNamespace, Name: name}, &stored)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("reading the caller keys: %w", err)
	}
	found := err == nil
	err = r.Client.Get(ctx, types.NamespacedName{Namespace: r.Namespace, Name: name}, &earlier)
	switch {
	case apierrors.IsNotFound(err) || err == nil && earlier.Type != authurl.KeysSecretType:
		if !found {
			return nil, nil
		}
		return &stored, nil
	case err != nil:
		return nil, fmt.Errorf("reading the caller keys of an earlier version: %w", err)
	}
	moved := &stored
	if !found {
		if moved, err = r.createKeys(ctx, site, earlier.Data); err != nil {
			return nil, err
		}
	}
	return moved, owned.Remove(ctx, r.Client, &earlier)
}

func (r *Reconciler) createKeys(ctx context.Context, site types.NamespacedName, data map[string][]byte) (*corev1.Secret, error) {
	made := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: r.CredentialsNamespace, Name: authurl.KeysSecretName(site.Namespace, site.Name), Labels: owned.Labels(site),
		},
		Type: authurl.KeysSecretType,
		Data: data,
	}
	if err := r.Client.Create(ctx, made); err != nil {
		return nil, fmt.Errorf("storing the caller keys: %w", err)
	}
	return made, nil
}
