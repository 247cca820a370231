package apitoken

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/index"
	"apitokens.dev/operator/controllers/internal/secretref"
	"apitokens.dev/operator/internal/lifetime"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/recordstore"
	"apitokens.dev/operator/internal/username"
)

// observeSource reads the Secret to import from: until the import, or in each pass with mode Follow.
func (r *Reconciler) observeSource(ctx context.Context, s *observed, of *tokensv1alpha1.ImportedCredential) error {
	s.source = &importSource{}
	if s.record != nil && of.Mode != tokensv1alpha1.ImportFollow && !s.justImported() {
		return nil
	}
	secret, err := getSecret(ctx, r.Live, s.token.Namespace, of.SecretName)
	if err != nil {
		return fmt.Errorf("reading the Secret to import from: %w", err)
	}
	if secret == nil {
		return nil
	}
	if s.source.refused = secretref.Import(secret); s.source.refused != nil || len(secret.Data[of.Key]) == 0 {
		return nil
	}
	s.secret, s.source.found = string(secret.Data[of.Key]), true
	if s.source.slow, s.source.err = record.CheckImported(s.secret); s.source.err != nil {
		return nil
	}
	s.source.held = s.record != nil && s.record.Verify([]byte(s.secret)) >= 0
	if s.record != nil && !s.source.held && s.site != nil {
		dead := s.record.VerifyDead([]byte(s.secret))
		s.source.revoked = dead >= 0 && s.validity(s.record.DeadEntries[dead]) == lifetime.Revoked
	}
	if s.source.held && !s.justImported() {
		return nil
	}
	return r.compare(ctx, s)
}

// justImported reports whether the import is so recent that another APIToken may have imported the same secret at the same
// time.
func (s *observed) justImported() bool {
	return s.now.Sub(s.current().Issued) < freshness
}

// compare looks for the same secret among the user's other imported ones, and counts them. Of two APITokens with the same
// secret, only the later one is a duplicate.
func (r *Reconciler) compare(ctx context.Context, s *observed) error {
	t := s.token
	var records corev1.SecretList
	user := index.Owner(t.SiteNamespace(), t.Spec.SiteRef.Name, username.Fold(t.Spec.User))
	err := r.Client.List(ctx, &records, client.InNamespace(r.Namespace), client.MatchingFields{index.ByImporter: user})
	if err != nil {
		return fmt.Errorf("looking for the same secret among those of the user: %w", err)
	}
	for i := range records.Items {
		other, err := recordstore.Decode(&records.Items[i])
		if err != nil || records.Items[i].Name == string(t.UID) {
			continue
		}
		if lives, err := r.isLive(ctx, records.Items[i].Name, other.APIToken); err != nil {
			return err
		} else if !lives {
			continue // an orphan: after a restore from a backup it is the earlier record of this APIToken
		}
		hash := &other.Entries[0].Hash
		s.source.others++
		if hash.Slow() {
			s.source.slowOthers++
		}
		first := s.record == nil || !s.source.held || !s.record.Entries[0].Issued.Before(other.Entries[0].Issued)
		if first && hash.Verify([]byte(s.secret)) {
			s.source.duplicate = other.APIToken
		}
	}
	return nil
}

// isLive reports whether the APIToken of a record exists.
func (r *Reconciler) isLive(ctx context.Context, uid string, ref record.Ref) (bool, error) {
	var t tokensv1alpha1.APIToken
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name}, &t)
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("reading another APIToken of the user: %w", err)
	}
	return err == nil && string(t.UID) == uid, nil
}
