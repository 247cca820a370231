package credential

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"apitokens.dev/operator/controllers/internal/owned"
	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/terms"
	"apitokens.dev/operator/internal/upstream"
)

// act takes a step. A pass may end after any of them: the next pass finds out how far it came.
func (p *pass) act(ctx context.Context, next step, secret *corev1.Secret, s state) error {
	if next.asks() {
		s.tried = s.now
	}
	switch next {
	case drop:
		return p.drop(ctx, secret, s.credential)
	case mark:
		return p.mark(ctx, secret, s.credential)
	case disuse:
		return p.disuse(ctx, secret, s.credential)
	case withdraw:
		return p.withdraw(ctx, secret, s.credential)
	case check:
		return p.check(ctx, secret, s)
	case retire:
		return p.retire(ctx, secret, s)
	case renew:
		return p.renew(ctx, secret, s)
	default:
		return fmt.Errorf("there is no action for %s", next)
	}
}

// stopAsking ends the requests of this pass to a product that gave an unclear answer.
func (p *pass) stopAsking(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return err
	}
	p.silent.Store(true)
	return nil
}

func (p *pass) drop(ctx context.Context, secret *corev1.Secret, c upstream.Credential) error {
	if err := owned.Remove(ctx, p.Client, secret); err != nil {
		return err
	}
	p.log(ctx, c, "Removed the working copy of a personal access token")
	return nil
}

// mark stays until the copy is removed, or the product accepts the personal access token once more.
func (p *pass) mark(ctx context.Context, secret *corev1.Secret, c upstream.Credential) error {
	c.Ending = p.Clock.Now().UTC()
	return p.store(ctx, c, secret)
}

func (p *pass) disuse(ctx context.Context, secret *corev1.Secret, c upstream.Credential) error {
	if c.Usable() {
		c.Refused = p.Clock.Now().UTC()
	}
	return p.store(ctx, c, secret)
}

// withdraw has the product revoke a personal access token, then removes the copy. In the other order nobody would know of it
// any more if the revocation failed.
func (p *pass) withdraw(ctx context.Context, secret *corev1.Secret, c upstream.Credential) error {
	if err := p.revoke(ctx, c); err != nil {
		return p.stopAsking(ctx, err)
	}
	if err := owned.Remove(ctx, p.Client, secret); err != nil {
		return err
	}
	p.log(ctx, c, "Withdrew a personal access token")
	if c.Renamed && !terms.Blocks(p.site, c.User, c.UserKey) {
		p.emit(withdrawnEvent(p.site, c, underNewName(p.site, c.User)))
	}
	return nil
}

var errStillAccepted = errors.New("the product does not revoke the personal access token, and accepts it still")

// revoke has the product revoke an enrolled personal access token and the one that it replaced. It authenticates with the
// token itself, which therefore goes last. One that the product does not accept is revoked already, or has ended.
func (p *pass) revoke(ctx context.Context, c upstream.Credential) error {
	as := atlassian.Bearer(c.Token)
	for _, id := range []int64{c.Replaced, c.ID} {
		if id == 0 {
			continue
		}
		err := p.Product.DeletePAT(p.requests, *p.product, as, id)
		if errors.Is(err, atlassian.ErrRefused) {
			if _, err = p.Product.WhoAmI(p.requests, *p.product, as); errors.Is(err, atlassian.ErrRefused) {
				break
			}
			if err == nil {
				err = errStillAccepted
			}
		}
		if err != nil {
			return fmt.Errorf("revoking the personal access token of a user: %w", err)
		}
	}
	p.log(ctx, c, "Revoked a personal access token at the product")
	return nil
}

// retire has the product revoke the personal access token that a renewal replaced. It authenticates with the new one.
func (p *pass) retire(ctx context.Context, secret *corev1.Secret, s state) error {
	c := s.credential
	s.retireAt = s.now.Add(checkPeriod)
	err := p.Product.DeletePAT(p.requests, *p.product, atlassian.Bearer(c.Token), c.Replaced)
	switch {
	case errors.Is(err, atlassian.ErrRefused):
		s.checkAt = s.now
		return nil
	case err != nil:
		return p.stopAsking(ctx, err)
	}
	c.Replaced = 0
	if err := p.store(ctx, c, secret); err != nil {
		return err
	}
	p.log(ctx, c, "Revoked the personal access token that was replaced")
	return nil
}

// store writes a working copy: into stored under the resourceVersion that was read, or into a new Secret if stored is nil.
func (k *Keeper) store(ctx context.Context, c upstream.Credential, stored *corev1.Secret) error {
	encoded, err := c.Encode()
	if err != nil {
		return err
	}
	data := map[string][]byte{upstream.DataKey: encoded}
	if stored == nil {
		err = k.Client.Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: k.Namespace, Name: c.SecretName(), Labels: owned.Labels(types.NamespacedName{Namespace: c.Namespace, Name: c.Site}),
			},
			Type: upstream.SecretType,
			Data: data,
		})
	} else {
		stored.Data = data
		err = k.Client.Update(ctx, stored)
	}
	if err != nil {
		return fmt.Errorf("storing the working copy of a personal access token: %w", err)
	}
	return nil
}
