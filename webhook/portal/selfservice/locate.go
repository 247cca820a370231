package selfservice

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/projection"
	"apitokens.dev/operator/internal/siteurl"
)

func notServed(name types.NamespacedName) *Problem {
	return problem(Unavailable, "This site is not served. The conditions of AtlassianSite '%s' in namespace '%s' say why.", name.Name, name.Namespace)
}

// locate reads the URL and the certificate authorities of a site's product from the controller's projection, and not from
// the site: sessions and passwords are sent there, and the controller checks that they may be.
func (s *Service) locate(ctx context.Context, site *Site) error {
	var stored corev1.Secret
	err := s.Client.Get(ctx, types.NamespacedName{Namespace: s.Namespace, Name: projection.SecretName(site.Namespace, site.Name)}, &stored)
	if apierrors.IsNotFound(err) {
		return notServed(client.ObjectKeyFromObject(site.AtlassianSite))
	}
	if err != nil {
		return fmt.Errorf("reading the projection of the site: %w", err)
	}
	projected, err := projection.Decode(stored.Data[projection.DataKey])
	if err != nil {
		return err
	}
	if projected.SecretName() != stored.Name || projected.UpstreamURL != site.Spec.UpstreamURL {
		return notServed(client.ObjectKeyFromObject(site.AtlassianSite))
	}
	url, err := siteurl.Parse(projected.UpstreamURL)
	if err != nil {
		return err
	}
	site.origin, site.upstream = url.Origin, atlassian.Upstream{Product: atlassian.Product(site.Spec.Product), URL: projected.UpstreamURL}
	if site.Spec.UpstreamCARef.Name == "" {
		return nil
	}
	if site.upstream.CAs, err = atlassian.ParseCAs([]byte(projected.UpstreamCAs)); err != nil {
		return notServed(client.ObjectKeyFromObject(site.AtlassianSite))
	}
	return nil
}
