package apitoken

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/projection"
	"apitokens.dev/operator/internal/terms"
)

// observeSite reads the site and its stops: the revocation epoch, and whether it is open to the namespaces of the token.
func (r *Reconciler) observeSite(ctx context.Context, s *observed, reader client.Reader) error {
	t, site := s.token, &tokensv1alpha1.AtlassianSite{}
	switch err := reader.Get(ctx, client.ObjectKey{Namespace: t.SiteNamespace(), Name: t.Spec.SiteRef.Name}, site); {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("reading the AtlassianSite: %w", err)
	}
	s.site = site
	if err := r.observeMemory(ctx, s, reader); err != nil {
		return err
	}
	return s.observeNamespaces(ctx, reader)
}

// observeMemory adds to the site what the operator remembers of its name, from the projection. Its epoch becomes the highest of the
// name, as for the gateway: a site that was created again with a lower one revives nothing.
func (r *Reconciler) observeMemory(ctx context.Context, s *observed, reader client.Reader) error {
	stored, err := getSecret(ctx, reader, r.Namespace, projection.SecretName(s.site.Namespace, s.site.Name))
	if err != nil {
		return fmt.Errorf("reading the projection of the site: %w", err)
	}
	if stored == nil || stored.Type != projection.SecretType {
		return nil
	}
	p, err := projection.Decode(stored.Data[projection.DataKey])
	if err != nil || p.Site != s.site.Name || p.Namespace != s.site.Namespace {
		return nil // the site controller writes it again
	}
	if p.IssuedAfter.After(s.site.Spec.IssuedAfter.Time) {
		s.site.Spec.IssuedAfter, s.inherited = metav1.NewTime(p.IssuedAfter), true
	}
	s.limitsSince = p.LimitsSince
	return nil
}

// observeNamespaces finds out whether the site is open to the namespaces of the APIToken, and of the token with which it was created.
func (s *observed) observeNamespaces(ctx context.Context, reader client.Reader) (err error) {
	if s.namespaceErr, err = namespaceRefusal(ctx, reader, s.token.Namespace, s.site); err != nil {
		return err
	}
	if parent := s.token.Spec.CreatedBy.Namespace; parent != "" {
		s.parentErr, err = namespaceRefusal(ctx, reader, parent, s.site)
	}
	return err
}

// namespaceRefusal returns why a site is not open to a namespace, or nil if it is.
func namespaceRefusal(ctx context.Context, reader client.Reader, name string, site *tokensv1alpha1.AtlassianSite) (why, err error) {
	if name == site.Namespace {
		return nil, nil
	}
	allows, unreadable := terms.OtherNamespaces(site)
	namespace := &metav1.PartialObjectMetadata{}
	namespace.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	switch err := reader.Get(ctx, client.ObjectKey{Name: name}, namespace); {
	case apierrors.IsNotFound(err):
		return errors.New("it does not exist"), nil
	case err != nil:
		return nil, fmt.Errorf("reading the labels of the namespace: %w", err)
	}
	switch {
	case unreadable != nil:
		return unreadable, nil
	case !allows(namespace.Labels):
		return fmt.Errorf("its `allowedNamespaces.from` is `%s`", cmp.Or(site.Spec.AllowedNamespaces.From, tokensv1alpha1.NamespacesFromSame)), nil
	}
	return nil, nil
}
