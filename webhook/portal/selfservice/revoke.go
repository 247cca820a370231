package selfservice

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/audit"
	"apitokens.dev/operator/internal/terms"
)

// Revoke revokes one of the caller's own tokens.
func (s *Service) Revoke(ctx context.Context, c *Caller, id string) error {
	t, err := s.Get(c, id)
	if err != nil {
		return err
	}
	return s.revoke(ctx, c, t)
}

// RevokeAll revokes all of the caller's own tokens, and returns how many there were.
func (s *Service) RevokeAll(ctx context.Context, c *Caller) (int, error) {
	return s.revokeAllOf(ctx, c, c.User)
}

// RevokePresented revokes the token whose secret is text, because everybody who holds a secret may revoke it. It succeeds for
// every other text too, so that the answer reveals nothing.
func (s *Service) RevokePresented(ctx context.Context, c *Caller, text string) error {
	name, ok := s.Index.Presented(c.Ref(), []byte(text))
	if !ok {
		return nil
	}
	t, err := s.get(name)
	if err != nil {
		return err
	}
	shown, ok := s.view(t)
	if !ok {
		return nil
	}
	return s.revoke(ctx, c, shown)
}

// revokeAllOf revokes all tokens of a user, including those that another of their tokens is creating on any replica. It deletes
// and lists again until the API server, and not only the feed, has none. A token that is written after the last list finds that
// its parent is gone (see settle), and is taken back. Nothing has to be created, so a full quota is no obstacle.
func (s *Service) revokeAllOf(ctx context.Context, c *Caller, user string) (n int, err error) {
	deleted := map[types.UID]types.NamespacedName{}
	for {
		objects, err := s.allOf(ctx, c.Site, user, deleted)
		if err != nil {
			return n, err
		}
		if len(objects) == 0 {
			return n, s.awaitDeleted(ctx, deleted)
		}
		revoked, err := s.revokeEach(ctx, c, objects)
		n += revoked
		if err != nil {
			return n, err
		}
		for _, t := range objects {
			deleted[t.UID] = client.ObjectKeyFromObject(t)
		}
	}
}

// allOf returns the APITokens of a user that are not deleted yet: those in the feed, and those of this very name that the API
// server has. All tokens that the portal creates bear the folded name, and lie in the site's namespace.
//
// The API server reads every APIToken of the namespaces that it is asked for. So it is asked for the others only when the
// site's own has none left: tokens that multiply would win against a slower list.
func (s *Service) allOf(ctx context.Context, site *Site, user string, deleted map[types.UID]types.NamespacedName) ([]*tokensv1alpha1.APIToken, error) {
	all := slices.DeleteFunc(s.Objects.OwnedBy(site.Ref(), user), func(t *tokensv1alpha1.APIToken) bool { return deleted[t.UID].Name != "" })
	all, err := s.addLive(ctx, all, site, user, client.InNamespace(site.Namespace))
	if err != nil {
		return nil, err
	}
	others, _ := terms.OtherNamespaces(site.AtlassianSite) // a selector that cannot be read selects none
	if len(all) > 0 || others == nil {
		return all, nil
	}
	return s.addLive(ctx, all, site, user, client.InNamespace(metav1.NamespaceAll))
}

// addLive adds the user's APITokens of the namespace that the API server has.
func (s *Service) addLive(
	ctx context.Context, all []*tokensv1alpha1.APIToken, site *Site, user string, in client.InNamespace,
) ([]*tokensv1alpha1.APIToken, error) {
	var live tokensv1alpha1.APITokenList
	if err := s.Client.List(ctx, &live, in, client.MatchingFields{"spec.user": user, "spec.siteRef.name": site.Name}); err != nil {
		return nil, fmt.Errorf("listing APITokens: %w", err)
	}
	for i := range live.Items {
		t := &live.Items[i]
		known := slices.ContainsFunc(all, func(o *tokensv1alpha1.APIToken) bool { return o.UID == t.UID })
		if !known && t.SiteNamespace() == site.Namespace && t.DeletionTimestamp.IsZero() {
			all = append(all, t)
		}
	}
	return all, nil
}

// maxDeletions is how many APITokens are deleted at the same time. A thousand must be gone within AnswerTimeout.
const maxDeletions = 16

// revokeEach deletes APITokens, also those that were not issued yet: what the feed has not seen yet is no reason to leave a
// token alive. It returns how many of them the owner could see.
func (s *Service) revokeEach(ctx context.Context, c *Caller, objects []*tokensv1alpha1.APIToken) (int, error) {
	var n atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxDeletions)
	for _, object := range objects {
		group.Go(func() error {
			t, shown := s.view(object)
			ours, err := s.remove(ctx, object)
			if ours && shown {
				s.logEvent(c, audit.Revoked, t)
				n.Add(1)
			}
			return err
		})
	}
	err := group.Wait()
	return int(n.Load()), err
}

// revoke deletes the APIToken and waits until it no longer authenticates here. The controller removes its record.
func (s *Service) revoke(ctx context.Context, c *Caller, t Token) error {
	ours, err := s.remove(ctx, t.object)
	if err != nil {
		return err
	}
	if ours {
		s.logEvent(c, audit.Revoked, t)
	}
	return s.awaitDeleted(ctx, map[types.UID]types.NamespacedName{t.object.UID: client.ObjectKeyFromObject(t.object)})
}

// remove deletes the APIToken with the UID of t. ours reports whether this call deleted it.
func (s *Service) remove(ctx context.Context, t *tokensv1alpha1.APIToken) (ours bool, err error) {
	doomed := &tokensv1alpha1.APIToken{}
	doomed.SetNamespace(t.Namespace)
	doomed.SetName(t.Name)
	switch err := s.Client.Delete(ctx, doomed, client.Preconditions{UID: &t.UID}); {
	case err == nil:
		return true, nil
	case apierrors.IsNotFound(err), apierrors.IsConflict(err): // another APIToken has this name now
		return false, nil
	default:
		return false, fmt.Errorf("deleting the APIToken: %w", err)
	}
}

// logEvent writes an audit line about a change of a token.
func (s *Service) logEvent(c *Caller, action audit.Action, t Token) {
	e := audit.Event{
		Action: action, TokenID: t.ID, Owner: t.User, Actor: c.User, With: c.tokenID, Site: c.Ref(),
		Client: c.claimed.Client, RequestID: c.claimed.RequestID,
	}
	s.Log.EmitEvent(e)
}
