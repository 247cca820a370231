package selfservice

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/username"
)

// pollPeriod is how often awaitCache looks.
const pollPeriod = 2 * time.Millisecond

// awaitCache waits until done returns true, which it does once the portal's cache contains a write, or until ctx is done.
// Other replicas follow within milliseconds.
func awaitCache(ctx context.Context, done func() bool) error {
	err := wait.PollUntilContextCancel(ctx, pollPeriod, true, func(context.Context) (bool, error) { return done(), nil })
	if err != nil {
		return problem(Unavailable, "Kubernetes accepted the change, but the portal cannot see it yet. Check whether it is there before you try again.")
	}
	return nil
}

// awaitDeleted waits until none of the APITokens authenticates here or is listed.
func (s *Service) awaitDeleted(ctx context.Context, deleted map[types.UID]types.NamespacedName) error {
	return awaitCache(ctx, func() bool {
		for uid, name := range deleted {
			if _, authenticates := s.Index.Describe(string(uid)); authenticates {
				return false
			}
			var t tokensv1alpha1.APIToken
			if err := s.Client.Get(ctx, name, &t); err == nil && t.UID == uid && t.DeletionTimestamp.IsZero() {
				return false
			}
			delete(deleted, uid)
		}
		return true
	})
}

// Names of the indices of APITokens in the cache.
const (
	bySite  = "site"
	byOwner = "owner"
)

func ownerKey(site authn.SiteName, user string) string { return site.String() + "/" + user }

func ownedBy(site *Site, user string) client.ListOption {
	return client.MatchingFields{byOwner: ownerKey(site.Ref(), user)}
}

func (c *Caller) ownTokens() client.ListOption { return ownedBy(c.Site, c.User) }

// Indices indexes the APITokens of a cache by site and by owner.
func Indices(ctx context.Context, indexer client.FieldIndexer) error {
	siteOf := func(t *tokensv1alpha1.APIToken) authn.SiteName {
		return authn.SiteName{Namespace: t.SiteNamespace(), Name: t.Spec.SiteRef.Name}
	}
	for name, key := range map[string]func(*tokensv1alpha1.APIToken) string{
		bySite:  func(t *tokensv1alpha1.APIToken) string { return siteOf(t).String() },
		byOwner: func(t *tokensv1alpha1.APIToken) string { return ownerKey(siteOf(t), username.Fold(t.Spec.User)) },
	} {
		err := indexer.IndexField(ctx, &tokensv1alpha1.APIToken{}, name, func(o client.Object) []string {
			t, _ := o.(*tokensv1alpha1.APIToken)
			return []string{key(t)}
		})
		if err != nil {
			return fmt.Errorf("indexing APITokens by %s: %w", name, err)
		}
	}
	return nil
}
