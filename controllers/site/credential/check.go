package credential

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"apitokens.dev/operator/controllers/internal/owned"
	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/enrolment"
	"apitokens.dev/operator/internal/upstream"
)

// heardPeriod is the time between two writes of when the product last said whose a personal access token is. After hours without a
// controller all copies are due at once, and wait for their share.
const heardPeriod = 6 * time.Hour

// checkKnown checks a working copy as the cache has it, if the answer of the product changes nothing that is stored about it: there may
// be very many. It returns false if the copy has to be read, and looked at from the beginning, or if another step is due.
func (p *pass) checkKnown(ctx context.Context, s state) (done bool, err error) {
	e := p.published[enrolment.OfCopy(s.name)]
	c := s.credential
	if s.next() != check || !p.answers() || !c.Ending.IsZero() || c.UserKey == "" || c.Source == upstream.Given || !s.wanted.IsZero() ||
		describe(e, &c, p.origin) != e {
		return false, nil
	}
	user, said := p.Product.WhoAmI(p.requests, *p.product, atlassian.Bearer(c.Token))
	found := judge(c, user, said)
	switch {
	case found == unclear:
		s.tried, s.checkAt = s.now, s.now.Add(recheckPeriod)
		return true, p.stopAsking(ctx, said)
	case c.Usable() != (found == accepted) || found == anothers || nameFor(e, user) != e.Name || found == accepted && !p.isSwept(s):
		return false, nil // the product is asked again, about the copy as it is now
	}
	s.tried = s.now
	s.heardOf(user, s.name, s.now)
	if s.now.Sub(e.Checked) >= heardPeriod && p.spend(noteCost) {
		err = p.confirm(ctx, e, s.now)
	}
	return err != nil || !p.takes(s.next()), err
}

// check asks the product whose a personal access token is, and acts on the answer.
func (p *pass) check(ctx context.Context, secret *corev1.Secret, s state) error {
	user, err := p.Product.WhoAmI(p.requests, *p.product, atlassian.Bearer(s.credential.Token))
	found := judge(s.credential, user, err)
	if found == unclear {
		s.checkAt = s.now.Add(recheckPeriod)
		return p.stopAsking(ctx, err)
	}
	s.heardOf(user, s.name, s.now)
	switch {
	case found == accepted:
		if s.credential.UserKey == "" {
			s.credential.UserKey = user.Key
		}
		return p.accepted(ctx, secret, s)
	case s.credential.Source == upstream.Given:
		return p.takeBack(ctx, secret, s, found)
	case found == refused:
		return p.refused(ctx, secret, s.credential)
	default:
		return p.renamed(ctx, secret, s.credential)
	}
}

// accepted stores what the product's answer changes: the user key, if it was not known, and that the copy is in use.
func (p *pass) accepted(ctx context.Context, secret *corev1.Secret, s state) error {
	before, now := decode(secret), s.credential
	now.Refused, now.Ending = time.Time{}, time.Time{}
	if before == nil || *before != now {
		if err := p.store(ctx, now, secret); err != nil {
			return err
		}
	}
	if !s.credential.Usable() {
		p.log(ctx, now, "A personal access token is accepted again")
	}
	if s.now.Before(s.sweepAt) {
		return nil
	}
	return p.sweep(ctx, s.note, now)
}

// refused keeps the copy, but not in use: the product may accept it again, as when its owner is reactivated.
func (p *pass) refused(ctx context.Context, secret *corev1.Secret, c upstream.Credential) error {
	if !c.Usable() {
		return nil
	}
	if err := p.disuse(ctx, secret, c); err != nil {
		return err
	}
	p.log(ctx, c, "A personal access token is not accepted any more")
	p.emit(refusedEvent(p.site, c, signIn(p.site, c.User)))
	return nil
}

// takeBack removes the copy for an entry of `upstreamCredentials`. The next pass finds the same about the entry's Secret.
func (p *pass) takeBack(ctx context.Context, secret *corev1.Secret, s state, found answer) error {
	if err := owned.Remove(ctx, p.Client, secret); err != nil {
		return err
	}
	in := p.entries[s.name].SecretName
	if found == refused {
		p.add(*unusable(s.credential.User, "%s", givenRefused(in)))
		p.emit(refusedEvent(p.site, s.credential, fmt.Sprintf("put a valid one into Secret '%s'", in)))
		return nil
	}
	p.add(*unusable(s.credential.User, "%s", givenAnothers(in, s.credential.User)))
	p.emit(withdrawnEvent(p.site, s.credential, fmt.Sprintf("put one of '%s' into Secret '%s'", s.credential.User, in)))
	return nil
}

// renamed takes away a personal access token that would let one user act as another. An enrolled one goes out of use at
// once, and is revoked next.
func (p *pass) renamed(ctx context.Context, secret *corev1.Secret, c upstream.Credential) error {
	if c.Source == upstream.Enrolled {
		c.Renamed = true
		return p.disuse(ctx, secret, c)
	}
	if err := p.drop(ctx, secret, c); err != nil {
		return err
	}
	p.emit(withdrawnEvent(p.site, c, underNewName(p.site, c.User)))
	return nil
}

// sweep has the product revoke personal access tokens that were made for the site and are not in use. They are left over
// from a renewal that did not end, or their owner pasted another one. If it fails, the next check repeats it.
func (p *pass) sweep(ctx context.Context, n *note, c upstream.Credential) error {
	if c.Source == upstream.Given {
		return nil
	}
	strays, recent, err := p.strays(c)
	if err != nil {
		return ctx.Err()
	}
	for _, id := range strays {
		if err := p.Product.DeletePAT(p.requests, *p.product, atlassian.Bearer(c.Token), id); err != nil {
			return ctx.Err()
		}
		p.log(ctx, c, "Revoked a personal access token that was left over")
	}
	if !recent {
		n.swept(c.SecretName(), p.Clock.Now())
	}
	return nil
}

// strays returns the personal access tokens that are left over. recent means that another one may be soon.
func (p *pass) strays(c upstream.Credential) (strays []int64, recent bool, err error) {
	listed, err := p.Product.ListPATs(p.requests, *p.product, atlassian.Bearer(c.Token))
	now := p.Clock.Now()
	for _, pat := range listed {
		switch {
		case isStray(pat, string(p.site.UID), c, now):
			strays = append(strays, pat.ID)
		case isStray(pat, string(p.site.UID), c, now.Add(settlePeriod)):
			recent = true
		}
	}
	return strays, recent, err
}

// isSwept reports whether nothing has to be revoked beside a working copy, as far as the product says.
func (p *pass) isSwept(s state) bool {
	if s.now.Before(s.sweepAt) {
		return true
	}
	strays, recent, err := p.strays(s.credential)
	if err == nil && len(strays) == 0 && !recent {
		s.swept(s.name, s.now)
	}
	return err != nil || len(strays) == 0
}

// heard notes in an enrolment whose the personal access token is, as the product last said to this process. It leaves out what is said
// again soon, and what nobody waits for: one that is not accepted is checked each minute.
func (s state) heard(e *enrolment.Enrolment) {
	if s.owner == nil {
		return
	}
	name := nameFor(*e, *s.owner)
	if name != e.Name || name != "" && !s.wanted.IsZero() || s.answered.Sub(e.Checked) >= checkPeriod/4 {
		named(e, *s.owner, s.answered)
	}
}
