package credential

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"

	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/upstream"
)

// renew has the product make a new personal access token, authenticated with the old one. It stores the new one after the
// product has confirmed its owner. One that is made and not stored is swept later. Attempts are an hour apart.
func (p *pass) renew(ctx context.Context, secret *corev1.Secret, s state) error {
	c := s.credential
	s.renewAt, s.sweepAt = s.now.Add(checkPeriod), time.Time{}
	made, err := p.makeNew(c)
	switch {
	case errors.Is(err, atlassian.ErrPATRefused):
		s.stuck = true
		return nil
	case errors.Is(err, atlassian.ErrRefused):
		s.stuck, s.checkAt = true, s.now
		return nil
	case err != nil:
		return p.stopAsking(ctx, err)
	}
	user, err := p.Product.WhoAmI(p.requests, *p.product, atlassian.Bearer(made.Token))
	switch judge(c, user, err) {
	case accepted:
	case unclear:
		return p.stopAsking(ctx, err)
	default:
		s.checkAt = s.now
		return nil
	}
	if c.UserKey == "" {
		c.UserKey = user.Key
	}
	s.answered, s.owner = s.now, &user
	c.Token, c.ID, c.Expires, c.Replaced, c.Stored = made.Token, made.ID, made.Expires, c.ID, s.now.UTC()
	if err := p.store(ctx, c, secret); err != nil {
		return err
	}
	p.log(ctx, c, "Renewed a personal access token")
	return nil
}

// makeNew asks for the usual lifetime, and for a shorter one if the product refuses that.
func (p *pass) makeNew(c upstream.Credential) (atlassian.PAT, error) {
	as, name := atlassian.Bearer(c.Token), upstream.PATName(string(p.site.UID), c.User, "")
	made, err := p.Product.CreatePAT(p.requests, *p.product, as, name, lifetimeDays)
	if errors.Is(err, atlassian.ErrPATRefused) {
		made, err = p.Product.CreatePAT(p.requests, *p.product, as, name, shortLifetimeDays)
	}
	if err == nil {
		err = upstream.CheckToken(made.Token)
	}
	return made, err
}
