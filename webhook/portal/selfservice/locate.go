package selfservice

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/projection"
	"apitokens.dev/operator/internal/siteurl"
)

// locate finds out where the product of a site is, and whom its certificate must be signed by. Sessions and passwords are sent
// there, so it is the controller that says that they may be.
func (p *Service) locate(ctx context.Context, s *Site) error {
	notServed := problem(Unavailable, "This site is not served. Its administrator finds the reason in the conditions of AtlassianSite '%s' in namespace '%s'.",
		s.Name, s.Namespace)
	var stored corev1.Secret
	err := p.Client.Get(ctx, types.NamespacedName{Namespace: p.Namespace, Name: projection.SecretName(s.Namespace, s.Name)}, &stored)
	if apierrors.IsNotFound(err) {
		return notServed
	}
	if err != nil {
		return fmt.Errorf("reading what is projected of the site: %w", err)
	}
	of, err := projection.Decode(stored.Data[projection.DataKey])
	if err != nil {
		return err
	}
	if of.SecretName() != stored.Name || of.UpstreamURL != s.Spec.UpstreamURL {
		return notServed
	}
	url, err := siteurl.Parse(of.UpstreamURL)
	if err != nil {
		return err
	}
	s.origin, s.upstream = url.Origin, atlassian.Upstream{Product: atlassian.Product(s.Spec.Product), URL: of.UpstreamURL}
	if s.Spec.UpstreamCARef.Name == "" {
		return nil
	}
	if s.upstream.CAs, err = atlassian.ParseCAs([]byte(of.UpstreamCAs)); err != nil {
		return notServed
	}
	return nil
}
