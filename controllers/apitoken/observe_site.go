package apitoken

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/projection"
)

// observeMemory adds to a site that was read what the operator remembers of its name, from the projection. Its epoch becomes the
// highest of the name, as for the gateway: a site that was created again with a lower one revives nothing.
func (r *Reconciler) observeMemory(ctx context.Context, reader client.Reader, s *observed, site *tokensv1alpha1.AtlassianSite) error {
	stored, err := getSecret(ctx, reader, r.Namespace, projection.SecretName(site.Namespace, site.Name))
	if err != nil {
		return fmt.Errorf("reading the projection of the site: %w", err)
	}
	if stored == nil || stored.Type != projection.SecretType {
		return nil
	}
	p, err := projection.Decode(stored.Data[projection.DataKey])
	if err != nil || p.Site != site.Name || p.Namespace != site.Namespace {
		return nil // the site controller writes it again
	}
	if p.IssuedAfter.After(site.Spec.IssuedAfter.Time) {
		site.Spec.IssuedAfter = metav1.NewTime(p.IssuedAfter)
	}
	s.limitsSince = p.LimitsSince
	return nil
}
