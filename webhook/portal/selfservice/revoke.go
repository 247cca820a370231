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
	"apitokens.dev/operator/internal/username"
)

// Revoke revokes one of the caller's own tokens. With descendants, it also revokes all that were created with it, with those,
// and so on.
func (s *Service) Revoke(ctx context.Context, c *Caller, id string, descendants bool) error {
	found, err := s.withTokenID(ctx, c.Site, id, c.owner().has)
	if err != nil {
		return err
	}
	return s.revokeFound(ctx, c, found, descendants, errNotYours)
}

// revokeFound revokes tokens, or returns an error if there is nothing to revoke: each is deleted already, and so are their
// descendants if it was asked to revoke those. A thief may delete a stolen token to save what they created with it, and a revocation that
// was cut off is repeated.
func (s *Service) revokeFound(ctx context.Context, c *Caller, found []doomed, descendants bool, none error) error {
	n, err := s.revoke(ctx, c, found, descendants)
	if err == nil && n == 0 && !slices.ContainsFunc(found, func(d doomed) bool { return !d.gone }) {
		return none
	}
	return err
}

// RevokeAll revokes all of the caller's own tokens, and returns how many there were.
func (s *Service) RevokeAll(ctx context.Context, c *Caller) (int, error) {
	return s.revokeAllOf(ctx, c, c.owner())
}

// RevokePresented revokes the token whose secret is text, with its descendants, because everybody who holds a secret may revoke
// it. It succeeds for every other text too, so that the answer reveals nothing.
func (s *Service) RevokePresented(ctx context.Context, c *Caller, text string) error {
	found, err := s.presented(ctx, c.Site, text)
	if err != nil {
		return err
	}
	_, err = s.revoke(ctx, c, found, true)
	return err
}

// revokeAllOf revokes all tokens of an owner, including those that another of their tokens is creating on any replica. Nothing has
// to be created for that, so a full quota is no obstacle.
func (s *Service) revokeAllOf(ctx context.Context, c *Caller, of owner) (n int, err error) {
	names := map[string]bool{of.user: true}
	more := func(deleted deletions) ([]doomed, error) { return s.allOf(ctx, c.Site, of, names, deleted) }
	first, err := more(nil)
	if err != nil {
		return 0, err
	}
	return s.revokeUntilNone(ctx, c, first, more)
}

// revoke revokes tokens, with their descendants if asked to. It returns how many issued tokens it deleted.
func (s *Service) revoke(ctx context.Context, c *Caller, found []doomed, descendants bool) (int, error) {
	more := func(deleted deletions) ([]doomed, error) { return s.childrenOf(ctx, c.Site, found, deleted) }
	if !descendants {
		more = func(deletions) ([]doomed, error) { return nil, nil }
	}
	return s.revokeUntilNone(ctx, c, found, more)
}

// deletions are the names of deleted APITokens by UID.
type deletions map[types.UID]types.NamespacedName

// revokeUntilNone is the stopper of the protocol: it deletes APITokens, then repeats the step *list live*, and deletes, until the API
// server, and not only the feed, has no more. A token that is written after the last list finds that its parent is gone (see
// checkParent), and is taken back. It returns how many issued tokens it deleted.
func (s *Service) revokeUntilNone(ctx context.Context, c *Caller, next []doomed, more func(deletions) ([]doomed, error)) (n int, err error) {
	deleted := deletions{}
	for len(next) > 0 {
		revoked, err := s.revokeEach(ctx, c, next)
		n += revoked
		if err != nil {
			return n, err
		}
		for _, d := range next {
			deleted[d.uid] = d.NamespacedName
		}
		if next, err = more(deleted); err != nil {
			return n, err
		}
	}
	return n, s.awaitDeleted(ctx, deleted)
}

// allOf returns the APITokens of an owner that are not deleted yet: those in the feed, and those that the API server has under the
// names of the owner. It adds to names the earlier ones that a token in the feed has. All tokens that the portal creates bear a folded
// name, and lie in the site's namespace.
//
// The API server reads every APIToken of the namespaces that it is asked for. So it is asked for the others only when the
// site's own has none left: tokens that multiply would win against a slower list.
func (s *Service) allOf(ctx context.Context, site *Site, of owner, names map[string]bool, deleted deletions) (all []doomed, err error) {
	seen := s.ownedBy(site.Ref(), of)
	for _, t := range seen {
		names[username.Fold(t.Spec.User)] = true
	}
	for _, namespace := range []string{site.Namespace, metav1.NamespaceAll} {
		live, err := s.liveOwnedBy(ctx, site, of, names, namespace)
		if err != nil {
			return nil, err
		}
		for _, t := range append(live, seen...) {
			if _, gone := deleted[t.UID]; !gone && !slices.ContainsFunc(all, func(d doomed) bool { return d.uid == t.UID }) {
				all = append(all, s.doomedOf(t))
			}
		}
		if len(all) > 0 {
			break
		}
	}
	return all, nil
}

// liveOwnedBy returns the APITokens of an owner that the API server has under these names in a namespace, or in all.
func (s *Service) liveOwnedBy(
	ctx context.Context, site *Site, of owner, names map[string]bool, namespace string,
) (owned []*tokensv1alpha1.APIToken, err error) {
	for name := range names {
		live, err := s.live(ctx, site, name, namespace)
		if err != nil {
			return nil, err
		}
		for _, t := range live {
			switch mine, err := s.isOwnedBy(ctx, of, t); {
			case err != nil:
				return nil, err
			case mine:
				owned = append(owned, t)
			}
		}
	}
	return owned, nil
}

// isOwnedBy reads the record of an APIToken at the API server if the portal has not seen it. Without a record, the name counts.
func (s *Service) isOwnedBy(ctx context.Context, of owner, t *tokensv1alpha1.APIToken) (bool, error) {
	r := s.Index.Record(string(t.UID))
	if r == nil && of.key != "" {
		stored, now, err := s.readRecord(ctx, t.UID)
		if err != nil && stored == nil {
			return false, err
		}
		r = now
	}
	if r == nil {
		return username.Fold(t.Spec.User) == of.user, nil
	}
	return of.has(r), nil
}

// childrenOf returns the tokens that descend from a deleted one. Only tokens of the same owner are, in the namespace of the
// site.
func (s *Service) childrenOf(ctx context.Context, site *Site, roots []doomed, deleted deletions) (children []doomed, err error) {
	owners := map[string]bool{}
	for _, root := range roots {
		if owners[root.owner] {
			continue
		}
		owners[root.owner] = true
		live, err := s.live(ctx, site, root.owner, site.Namespace)
		if err != nil {
			return nil, err
		}
		for _, t := range live {
			switch descends, err := s.descends(ctx, t, deleted); {
			case err != nil:
				return nil, err
			case descends:
				children = append(children, s.doomedOf(t))
			}
		}
	}
	return children, nil
}

// descends reports whether a deleted token is in the line that created t. The record has the whole line: an APIToken between them
// may be gone, because a thief could delete it to save the rest.
func (s *Service) descends(ctx context.Context, t *tokensv1alpha1.APIToken, deleted deletions) (bool, error) {
	if t.Spec.CreatedBy.UID == "" {
		return false, nil
	}
	if _, child := deleted[types.UID(t.Spec.CreatedBy.UID)]; child {
		return true, nil
	}
	r := s.Index.Record(string(t.UID))
	if r == nil {
		stored, now, err := s.readRecord(ctx, t.UID)
		if err != nil && stored == nil {
			return false, err
		}
		r = now
	}
	return r != nil && slices.ContainsFunc(r.Ancestors, func(uid string) bool { _, gone := deleted[types.UID(uid)]; return gone }), nil
}

// live returns the APITokens of this very name that the API server has in a namespace, or in all, and that are not being deleted.
func (s *Service) live(ctx context.Context, site *Site, user, namespace string) (live []*tokensv1alpha1.APIToken, err error) {
	var list tokensv1alpha1.APITokenList
	err = s.Client.List(ctx, &list, client.InNamespace(namespace), client.MatchingFields{"spec.user": user, "spec.siteRef.name": site.Name})
	if err != nil {
		return nil, fmt.Errorf("listing APITokens: %w", err)
	}
	for i := range list.Items {
		if t := &list.Items[i]; t.SiteNamespace() == site.Namespace && t.DeletionTimestamp.IsZero() {
			live = append(live, t)
		}
	}
	return live, nil
}

// maxDeletions is how many APITokens are deleted at the same time. A thousand must be gone within AnswerTimeout.
const maxDeletions = 16

// revokeEach deletes APITokens, also those that were not issued yet: what the feed has not seen yet is no reason to leave a
// token alive. It returns how many issued ones it deleted.
func (s *Service) revokeEach(ctx context.Context, c *Caller, each []doomed) (int, error) {
	var n atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxDeletions)
	for _, d := range each {
		group.Go(func() error {
			issued, err := s.revokeOne(ctx, c, d)
			if issued {
				n.Add(1)
			}
			return err
		})
	}
	err := group.Wait()
	return int(n.Load()), err
}

// revokeOne deletes an APIToken. Every deletion of an issued one gets an audit line: if the answer to the deletion is lost, or if the
// portal has to look for the id and cannot, it tries again until it knows, also after the request. issued reports whether there is a
// line.
func (s *Service) revokeOne(ctx context.Context, c *Caller, d doomed) (issued bool, err error) {
	if err := ctx.Err(); err != nil { // nothing is deleted, so nothing has to be found out later
		return false, err
	}
	ours, err := s.remove(ctx, d)
	deleted := err == nil
	if !isUnclear(err) && (!deleted || !ours) {
		return false, err
	}
	err = s.insist(ctx, func(ctx context.Context) (err error) {
		if !deleted { // if it is gone by now, the first try counts as the deletion
			_, err = s.remove(ctx, d)
			deleted = err == nil
		}
		if deleted && d.id == "" {
			d.id, err = s.idOf(ctx, d.uid)
		}
		if err == nil && d.id != "" {
			s.logRevocation(ctx, c, d)
		}
		return err
	}, func(last error) {
		s.Logger.Error(last, "It is not known whether an APIToken was deleted, or which token it was", "apiToken", d.String(), "deleted", deleted)
		if deleted {
			s.logRevocation(ctx, c, d)
		}
	})
	return err == nil && d.id != "", err
}

// idOf returns the id in the record of an APIToken whose record the portal has not seen. It returns "" if there is none, because
// the token was never issued.
func (s *Service) idOf(ctx context.Context, uid types.UID) (string, error) {
	stored, r, err := s.readRecord(ctx, uid)
	switch {
	case r != nil:
		return r.TokenID, nil
	case stored != nil: // it cannot be read, so it authenticated nobody
		return "", nil
	default:
		return "", err
	}
}

// remove deletes an APIToken: the step *write the stop* for the parent of others. ours reports whether this call deleted it.
func (s *Service) remove(ctx context.Context, d doomed) (ours bool, err error) {
	object := &tokensv1alpha1.APIToken{}
	object.SetNamespace(d.Namespace)
	object.SetName(d.Name)
	switch err := s.Client.Delete(ctx, object, client.Preconditions{UID: &d.uid}); {
	case err == nil:
		return true, nil
	case apierrors.IsNotFound(err), apierrors.IsConflict(err): // another APIToken has this name now
		return false, nil
	default:
		return false, fmt.Errorf("deleting the APIToken: %w", err)
	}
}

// logRevocation writes an audit line about a token that was revoked, and an Event if it leaked.
func (s *Service) logRevocation(ctx context.Context, c *Caller, d doomed) {
	e := c.event(audit.Revoked, d.id, d.owner)
	e.Scanner, e.FoundAt = c.scanner, d.foundAt
	s.Log.EmitEvent(e)
	if c.scanner != "" {
		s.tellOwner(ctx, c, d)
	}
}

// logEvent writes an audit line about a change of the token of an owner.
func (s *Service) logEvent(c *Caller, action audit.Action, id, owner string) {
	s.Log.EmitEvent(c.event(action, id, owner))
}

func (c *Caller) event(action audit.Action, id, owner string) audit.Event {
	return audit.Event{
		Action: action, TokenID: id, Owner: owner, Actor: c.User, With: c.tokenID, Site: c.Ref(),
		Client: c.claimed.Client, RequestID: c.claimed.RequestID,
	}
}
