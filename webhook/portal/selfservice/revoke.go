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

// Revoke ends one of the caller's own tokens.
func (p *Service) Revoke(ctx context.Context, c *Caller, id string) error {
	t, err := p.Get(ctx, c, id)
	if err != nil {
		return err
	}
	return p.revoke(ctx, c, t)
}

// RevokeAll ends all of them, and returns how many there were.
func (p *Service) RevokeAll(ctx context.Context, c *Caller) (int, error) {
	return p.revokeAllOf(ctx, c, c.User)
}

// RevokePresented ends the token that a text is a secret of, if it is one: whoever holds it may. Nobody learns whether it was.
func (p *Service) RevokePresented(ctx context.Context, c *Caller, text string) error {
	name, ok := p.Index.Presented(c.Ref(), []byte(text))
	if !ok {
		return nil
	}
	t, err := p.get(ctx, name)
	if err != nil {
		return err
	}
	shown, ok := p.view(t)
	if !ok {
		return nil
	}
	return p.revoke(ctx, c, shown)
}

// revokeAllOf ends all tokens of a user, also those that another token of his is making, on whatever replica. For that it puts up a
// barrier: what was begun before is seen with it, and what is begun after sees it (see settle).
func (p *Service) revokeAllOf(ctx context.Context, c *Caller, user string) (n int, err error) {
	barrier := barrierFor(c.Site, user)
	switch err := p.Client.Create(ctx, barrier); {
	case apierrors.IsInvalid(err): // somebody of this name can have none
		return 0, nil
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause): // there can be no new ones
	case err != nil:
		return 0, fmt.Errorf("creating a barrier: %w", err)
	default:
		defer p.takeBack(ctx, barrier)
		if err := p.awaitSight(ctx, barrier); err != nil {
			return 0, err
		}
	}
	objects, err := p.objects(ctx, ownedBy(c.Site, user))
	if err != nil {
		return 0, err
	}
	return p.revokeEach(ctx, c, objects)
}

// raised is the value that the annotation of what is being made has on a barrier. It is removed like anything that was cut off.
const raised = "barrier"

func barrierFor(s *Site, user string) *tokensv1alpha1.APIToken {
	t := newAPIToken(s, user, "All API tokens of this user are being revoked.")
	t.Annotations[tokensv1alpha1.AnnotationPending] = raised
	return t
}

func isBarrier(t tokensv1alpha1.APIToken) bool {
	return t.Annotations[tokensv1alpha1.AnnotationPending] == raised
}

func (p *Service) awaitSight(ctx context.Context, t *tokensv1alpha1.APIToken) error {
	return seen(ctx, func() bool {
		var there tokensv1alpha1.APIToken
		return p.Client.Get(ctx, client.ObjectKeyFromObject(t), &there) == nil && there.UID == t.UID
	})
}

// revokeEach deletes tokens, also those that are only being made, and returns how many of them there were. It waits until none is
// seen any more. What is declared and was not issued yet is no token.
func (p *Service) revokeEach(ctx context.Context, c *Caller, objects []tokensv1alpha1.APIToken) (n int, err error) {
	gone := map[types.UID]types.NamespacedName{}
	for i := range objects {
		t, shown := p.view(&objects[i])
		if isBarrier(objects[i]) || !shown && objects[i].Annotations[tokensv1alpha1.AnnotationPending] == "" {
			continue
		}
		ours, err := p.remove(ctx, &objects[i])
		if err != nil {
			return n, err
		}
		if ours && shown {
			p.tell(c, audit.Revoked, t)
			n++
		}
		gone[objects[i].UID] = client.ObjectKeyFromObject(&objects[i])
	}
	return n, p.forgotten(ctx, gone)
}

// forgotten waits until tokens neither authenticate here any more nor are listed.
func (p *Service) forgotten(ctx context.Context, gone map[types.UID]types.NamespacedName) error {
	return seen(ctx, func() bool {
		for uid, name := range gone {
			if _, authenticates := p.Index.Describe(string(uid)); authenticates {
				return false
			}
			var t tokensv1alpha1.APIToken
			if err := p.Client.Get(ctx, name, &t); err == nil && t.UID == uid && t.DeletionTimestamp.IsZero() {
				return false
			}
			delete(gone, uid)
		}
		return true
	})
}

// revoke deletes the very APIToken, and waits until it does not authenticate here any more. What it leaves, the controller removes.
func (p *Service) revoke(ctx context.Context, c *Caller, t Token) error {
	ours, err := p.remove(ctx, t.object)
	if err != nil {
		return err
	}
	if ours {
		p.tell(c, audit.Revoked, t)
	}
	return p.forgotten(ctx, map[types.UID]types.NamespacedName{t.object.UID: client.ObjectKeyFromObject(t.object)})
}

// remove deletes the very APIToken. It reports whether it was there for that still.
func (p *Service) remove(ctx context.Context, t *tokensv1alpha1.APIToken) (ours bool, err error) {
	doomed := &tokensv1alpha1.APIToken{}
	doomed.SetNamespace(t.Namespace)
	doomed.SetName(t.Name)
	switch err := p.Client.Delete(ctx, doomed, client.Preconditions{UID: &t.UID}); {
	case err == nil:
		return true, nil
	case apierrors.IsNotFound(err), apierrors.IsConflict(err): // another one has its name by now
		return false, nil
	default:
		return false, fmt.Errorf("deleting the APIToken: %w", err)
	}
}

// tell has it logged what became of a token, and by whom.
func (p *Service) tell(c *Caller, action audit.Action, t Token) {
	e := audit.Event{
		Action: action, TokenID: t.ID, Owner: t.User, Actor: c.User, With: c.tokenID, Site: c.Ref(),
		Client: c.from.Client, RequestID: c.from.RequestID,
	}
	p.Log.EmitEvent(e)
}
