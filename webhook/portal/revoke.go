package portal

import (
	"context"
	"fmt"

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
	mine, err := p.List(ctx, c)
	if err != nil {
		return 0, err
	}
	return p.revokeEach(ctx, c, mine)
}

// RevokePresented ends the token that a text is a secret of, if it is one: whoever holds it may. Nobody learns whether it was.
func (p *Portal) RevokePresented(ctx context.Context, s *Site, text string) error {
	name, ok := p.Index.Presented(s.Ref(), []byte(text))
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
	return p.revoke(ctx, &Caller{Site: s}, shown)
}

func (p *Portal) revokeEach(ctx context.Context, c *Caller, tokens []Token) (int, error) {
	for i, t := range tokens {
		if err := p.revoke(ctx, c, t); err != nil {
			return i, err
		}
	}
	return len(tokens), nil
}

// revoke deletes the very APIToken, and waits until it does not authenticate here any more. What it leaves, the controller removes.
func (p *Portal) revoke(ctx context.Context, c *Caller, t Token) error {
	uid := t.object.UID
	doomed := &tokensv1alpha1.APIToken{}
	doomed.SetNamespace(t.Namespace)
	doomed.SetName(t.Name)
	if err := p.Client.Delete(ctx, doomed, client.Preconditions{UID: &uid}); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("deleting the APIToken: %w", err)
	}
	err := seen(ctx, func() bool {
		_, there := p.Index.Describe(string(uid))
		return !there
	})
	if err != nil {
		return err
	}
	p.tell(c, audit.Revoked, t)
	return nil
}

// tell has it logged what became of a token, and by whom.
func (p *Portal) tell(c *Caller, action audit.Action, t Token) {
	e := audit.Event{
		Action: action, TokenID: t.ID, Owner: t.User, Actor: c.User, With: c.tokenID, Site: c.Ref(),
		Client: c.from.Client, RequestID: c.from.RequestID,
	}
	p.Log.Tell(e)
}
