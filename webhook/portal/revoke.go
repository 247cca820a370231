package portal

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/webhook/audit"
)

// Revoke ends one of the caller's own tokens.
func (p *Portal) Revoke(ctx context.Context, c *Caller, id string) error {
	t, err := p.Get(ctx, c, id)
	if err != nil {
		return err
	}
	return p.revoke(ctx, c, t)
}

// RevokeAll ends all of them, and returns how many there were.
func (p *Portal) RevokeAll(ctx context.Context, c *Caller) (int, error) {
	return p.revokeAllOf(ctx, c, c.User)
}

// RevokePresented ends the token that a text is a secret of, if it is one: whoever holds it may. Nobody learns whether it was.
func (p *Portal) RevokePresented(ctx context.Context, c *Caller, text string) error {
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

// maxRounds is how often it is looked for further tokens while all of a user are revoked.
const maxRounds = 8

// revokeAllOf goes on until there are none: a token that somebody else holds may be making another one. That one is either found
// in the next round, or was made after its maker was gone, and then is not finished (see settle).
func (p *Portal) revokeAllOf(ctx context.Context, c *Caller, user string) (n int, err error) {
	for range maxRounds {
		objects, err := p.objects(ctx, ownedBy(c.Site, user))
		if err != nil {
			return n, err
		}
		round, err := p.revokeRound(ctx, c, objects)
		n += round.told
		if err != nil || round.deleted == 0 {
			return n, err
		}
	}
	return n, problem(Conflict, "New API tokens are made as fast as they are revoked. Find out who does, and try again.")
}

type round struct{ deleted, told int }

// revokeRound deletes tokens, also those that are only being made, and waits until none of them is seen any more. What is declared
// and was not issued yet is no token.
func (p *Portal) revokeRound(ctx context.Context, c *Caller, objects []tokensv1alpha1.APIToken) (r round, err error) {
	gone := map[types.UID]types.NamespacedName{}
	for i := range objects {
		t, shown := p.view(&objects[i])
		if !shown && objects[i].Annotations[tokensv1alpha1.AnnotationPending] == "" {
			continue
		}
		ours, err := p.remove(ctx, &objects[i])
		if err != nil {
			return r, err
		}
		if ours && shown {
			p.tell(c, audit.Revoked, t)
			r.told++
		}
		gone[objects[i].UID] = client.ObjectKeyFromObject(&objects[i])
	}
	r.deleted = len(gone)
	return r, p.forgotten(ctx, gone)
}

// forgotten waits until tokens neither authenticate here any more nor are listed.
func (p *Portal) forgotten(ctx context.Context, gone map[types.UID]types.NamespacedName) error {
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
func (p *Portal) revoke(ctx context.Context, c *Caller, t Token) error {
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
func (p *Portal) remove(ctx context.Context, t *tokensv1alpha1.APIToken) (ours bool, err error) {
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
func (p *Portal) tell(c *Caller, action audit.Action, t Token) {
	e := audit.Event{
		Action: action, TokenID: t.ID, Owner: t.User, Actor: c.User, With: c.tokenID, Site: c.Ref(),
		Client: c.from.Client, RequestID: c.from.RequestID,
	}
	p.Log.Tell(e)
}
