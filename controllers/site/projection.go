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
	"apitokens.dev/operator/controllers/internal/secretref"
	"apitokens.dev/operator/internal/license"
	"apitokens.dev/operator/internal/projection"
)

// named is the content of the Secrets that a site names: authorities of its product and of its gateways, and its licence.
type named struct {
	cas, callers authorities
	license      entry
}

func (r *Reconciler) readNamed(ctx context.Context, s *tokensv1alpha1.AtlassianSite) (n named, err error) {
	if n.cas, err = r.readAuthorities(ctx, s, upstreamCARef(s)); err != nil {
		return n, err
	}
	if n.callers, err = r.readAuthorities(ctx, s, callerCARef(s)); err != nil {
		return n, err
	}
	n.license, err = r.read(ctx, s, s.Spec.LicenseSecretRef.Name, licenseKey(s.Spec.LicenseSecretRef), secretref.License)
	return n, err
}

func (r *Reconciler) readAuthorities(ctx context.Context, s *tokensv1alpha1.AtlassianSite, ref authoritiesRef) (authorities, error) {
	found, err := r.read(ctx, s, ref.name, ref.key, ref.allowed)
	return ref.read(found), err
}

// entry is the value of a key in a Secret that a site names.
type entry struct {
	secret, key bool // whether the Secret and the key exist
	// refused says why the Secret is not read, after its name in a message.
	refused error
	data    []byte
}

// read reads a key of a Secret beside the site, if allowed lets it. Without a name it returns an empty entry.
func (r *Reconciler) read(ctx context.Context, s *tokensv1alpha1.AtlassianSite, name, key string, allowed func(*corev1.Secret) error) (entry, error) {
	if name == "" {
		return entry{}, nil
	}
	var source corev1.Secret
	err := r.Live.Get(ctx, types.NamespacedName{Namespace: s.Namespace, Name: name}, &source)
	if apierrors.IsNotFound(err) {
		return entry{}, nil
	}
	if err != nil {
		return entry{}, fmt.Errorf("reading Secret %s/%s: %w", s.Namespace, name, err)
	}
	if err := allowed(&source); err != nil {
		return entry{secret: true, refused: err}, nil
	}
	data, found := source.Data[key]
	return entry{secret: true, key: found, data: data}, nil
}

// projectSite writes the projection of a site. The gateway and the portal read it, because they may not read the Secrets that a
// site names. Nothing may be sent to the upstream of a site that is not served, and no ingress of its is answered.
func (r *Reconciler) projectSite(ctx context.Context, s *tokensv1alpha1.AtlassianSite, n named, m memory, served bool) error {
	p := projection.Projection{
		Namespace: s.Namespace, Site: s.Name, UID: string(m.UID), IssuedAfter: m.IssuedAfter, LimitsSince: m.LimitsSince,
		License: license.Clip(n.license.data),
	}
	if served {
		p.UpstreamURL, p.UpstreamCAs, p.CallerCAs = s.Spec.UpstreamURL, n.cas.text, n.callers.text
	}
	encoded, err := p.Encode()
	if err != nil {
		return err
	}
	if err := r.writeKept(ctx, client.ObjectKeyFromObject(s), p.SecretName(), projection.SecretType, projection.DataKey, encoded); err != nil {
		return fmt.Errorf("writing the projection of the site: %w", err)
	}
	return nil
}

// writeKept writes a Secret that the operator keeps for a site in its own namespace, if it differs. One of another type under
// this name is left alone.
func (r *Reconciler) writeKept(ctx context.Context, site types.NamespacedName, name string, secretType corev1.SecretType, key string, data []byte) error {
	want := map[string][]byte{key: data}
	var stored corev1.Secret
	err := r.Live.Get(ctx, types.NamespacedName{Namespace: r.Namespace, Name: name}, &stored)
	switch {
	case apierrors.IsNotFound(err):
		return r.Client.Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: name, Labels: owned.Labels(site)}, Type: secretType, Data: want,
		})
	case err != nil:
		return err
	case stored.Type != secretType:
		return fmt.Errorf("secret %s/%s was not written by the operator: delete it", r.Namespace, name)
	case bytes.Equal(stored.Data[key], data):
		return nil
	}
	stored.Data = want
	return r.Client.Update(ctx, &stored)
}
