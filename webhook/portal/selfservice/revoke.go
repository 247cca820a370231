package selfservice

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/audit"
)

// Revoke revokes one of the caller's own tokens.
func (s *Service) Revoke(ctx context.Context, c *Caller, id string) error {
	t, err := s.Get(ctx, c, id)
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
	t, err := s.get(ctx, name)
	if err != nil {
		return err
	}
	shown, ok := s.view(t)
	if !ok {
		return nil
	}
	return s.revoke(ctx, c, shown)
}

// revokeAllOf revokes all tokens of a user, including those that another of their tokens is creating on any replica. It first
// creates a barrier, an APIToken that is never finished. The cache shows creations before the barrier together with it, and
// creations after the barrier find it (see settle).
func (s *Service) revokeAllOf(ctx context.Context, c *Caller, user string) (n int, err error) {
	barrier := barrierFor(c.Site, user)
	switch err := s.Client.Create(ctx, barrier); {
	case apierrors.IsInvalid(err): // a user of this name can have no tokens
		return 0, nil
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause): // no new tokens are possible
	case err != nil:
		return 0, fmt.Errorf("creating a barrier: %w", err)
	default:
		defer s.removeUnfinished(ctx, barrier)
		if err := s.awaitCreated(ctx, barrier); err != nil {
			return 0, err
		}
	}
	objects, err := s.objects(ctx, ownedBy(c.Site, user))
	if err != nil {
		return 0, err
	}
	return s.revokeEach(ctx, c, objects)
}

// pendingBarrier is the value of the annotation "pending" on a barrier. The controller removes a barrier that is left behind, as
// it removes any pending APIToken.
const pendingBarrier = "barrier"

func barrierFor(s *Site, user string) *tokensv1alpha1.APIToken {
	t := newAPIToken(s, user, "All API tokens of this user are being revoked.")
	t.Annotations[tokensv1alpha1.AnnotationPending] = pendingBarrier
	return t
}

func isBarrier(t tokensv1alpha1.APIToken) bool {
	return t.Annotations[tokensv1alpha1.AnnotationPending] == pendingBarrier
}

// revokeEach deletes tokens, including those that are still being created, and waits until they are gone from the cache. It
// returns how many there were. It leaves declared APITokens alone that were not issued yet. It deletes those that cannot be
// decoded: whether they were issued is unknown, and they would work again once somebody corrects them.
func (s *Service) revokeEach(ctx context.Context, c *Caller, objects []tokensv1alpha1.APIToken) (n int, err error) {
	deleted := map[types.UID]types.NamespacedName{}
	for i := range objects {
		t, shown := s.view(&objects[i])
		pending := objects[i].Annotations[tokensv1alpha1.AnnotationPending] != ""
		if isBarrier(objects[i]) || !shown && !pending && objects[i].Malformed == "" {
			continue
		}
		ours, err := s.remove(ctx, &objects[i])
		if err != nil {
			return n, err
		}
		if ours && shown {
			s.logEvent(c, audit.Revoked, t)
			n++
		}
		deleted[objects[i].UID] = client.ObjectKeyFromObject(&objects[i])
	}
	return n, s.awaitDeleted(ctx, deleted)
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
