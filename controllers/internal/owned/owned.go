// Package owned labels and removes the Secrets that the operator keeps for a site.
package owned

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"apitokens.dev/operator/internal/record"
)

const (
	managedByLabel = "app.kubernetes.io/managed-by"
	managedBy      = "apitoken-operator"
)

// Labels returns the labels of every Secret that is kept for a site.
func Labels(site types.NamespacedName) map[string]string {
	return map[string]string{managedByLabel: managedBy, record.LabelSiteNamespace: site.Namespace, record.LabelSite: site.Name}
}

// Remove deletes a Secret as it was read: one that was changed or replaced since then is a conflict. One that is gone is
// no error.
func Remove(ctx context.Context, c client.Client, s *corev1.Secret) error {
	err := c.Delete(ctx, s, client.Preconditions{UID: &s.UID, ResourceVersion: &s.ResourceVersion})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("removing Secret %s/%s: %w", s.Namespace, s.Name, err)
	}
	return nil
}
