package apitoken

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/projection"
)

// raiseEpoch sets `issuedAfter` of a site that was read to the highest one of its name, as the gateway does. The projection has
// it: a site that was created again with a lower epoch revives nothing.
func (r *Reconciler) raiseEpoch(ctx context.Context, reader client.Reader, site *tokensv1alpha1.AtlassianSite) error {
	stored, err := getSecret(ctx, reader, r.Namespace, projection.SecretName(site.Namespace, site.Name))
	if err != nil {
		return fmt.Errorf("reading the projection of the site: %w", err)
	}
	if stored == nil || stored.Type != projection.SecretType {
		return nil
	}
	p, err := projection.Decode(stored.Data[projection.DataKey])
	if err == nil && p.Site == site.Name && p.Namespace == site.Namespace && p.IssuedAfter.After(site.Spec.IssuedAfter.Time) {
		site.Spec.IssuedAfter = metav1.NewTime(p.IssuedAfter)
	}
	return nil // the site reports one that cannot be read
}
