// Package recordstore keeps records as Secrets in the operator's own namespace, one for each APIToken, named by its UID.
package recordstore

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"apitokens.dev/operator/internal/record"
)

const managedByLabel = "app.kubernetes.io/managed-by"

// Store writes records.
type Store struct {
	Client client.Writer
	// Namespace holds the records.
	Namespace string
	// ManagedBy is the value of the label app.kubernetes.io/managed-by.
	ManagedBy string
	// Annotations are added to the records that are created.
	Annotations map[string]string
}

// Create stores the record of a new APIToken. It fails with AlreadyExists if there is one.
func (s Store) Create(ctx context.Context, uid types.UID, r *record.Record) error {
	_, err := s.Add(ctx, uid, r)
	return err
}

// Add does as Create, and returns the Secret as the API server stored it.
func (s Store) Add(ctx context.Context, uid types.UID, r *record.Record) (*corev1.Secret, error) {
	encoded, err := r.Encode()
	if err != nil {
		return nil, err
	}
	stored := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.Namespace, Name: string(uid), Annotations: s.Annotations,
			Labels: map[string]string{
				managedByLabel: s.ManagedBy, record.LabelTokenID: r.TokenID,
				record.LabelSiteNamespace: r.Site.Namespace, record.LabelSite: r.Site.Name,
			},
		},
		Type: record.SecretType,
		Data: map[string][]byte{record.DataKey: encoded},
	}
	if err := s.Client.Create(ctx, stored); err != nil {
		return nil, fmt.Errorf("creating the record: %w", err)
	}
	return stored, nil
}

// Update stores r in place of the record that stored holds. It fails with Conflict if stored is not the newest version.
func (s Store) Update(ctx context.Context, stored *corev1.Secret, r *record.Record) error {
	encoded, err := r.Encode()
	if err != nil {
		return err
	}
	stored.Data = map[string][]byte{record.DataKey: encoded}
	if err := s.Client.Update(ctx, stored); err != nil {
		return fmt.Errorf("changing the record: %w", err)
	}
	return nil
}

// Decode returns the record that a Secret holds. A Secret of another type holds none.
func Decode(stored *corev1.Secret) (*record.Record, error) {
	if stored.Type != record.SecretType {
		return nil, fmt.Errorf("its Secret is of type '%s'", stored.Type)
	}
	return record.Decode(stored.Data[record.DataKey])
}
