package site

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/upstream"
)

// act takes a step. Each is harmless if nothing follows it: the next pass finds out where it ended.
func (u *upkeep) act(ctx context.Context, step copyStep, secret *corev1.Secret, s copyState) error {
	if step.asks() {
		s.tried = s.now
	}
	switch step {
	case drop:
		return u.drop(ctx, secret, s.credential)
	case disuse:
		return u.disuse(ctx, secret, s.credential)
	case withdraw:
		return u.withdraw(ctx, secret, s.credential)
	case ask:
		return u.ask(ctx, secret, s)
	case retire:
		return u.retire(ctx, secret, s)
	default:
		return u.renew(ctx, secret, s)
	}
}

// log says what became of somebody's personal access token, and never which it was.
func (u *upkeep) log(ctx context.Context, c upstream.Credential, message string) {
	ctrl.LoggerFrom(ctx).Info(message, "user", c.User, "site", c.Site, "source", string(c.Source))
}

// silent ends the questions of this pass: what the product did not answer now it will not answer about others.
func (u *upkeep) silent(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return err
	}
	u.answering = nil
	return nil
}

func (u *upkeep) drop(ctx context.Context, secret *corev1.Secret, c upstream.Credential) error {
	if err := u.remove(ctx, secret); err != nil {
		return err
	}
	u.log(ctx, c, "Removed the working copy of a personal access token")
	return nil
}

func (u *upkeep) disuse(ctx context.Context, secret *corev1.Secret, c upstream.Credential) error {
	if c.Usable() {
		c.Refused = u.Clock.Now().UTC()
	}
	return u.store(ctx, c, secret)
}

// withdraw has the product revoke a personal access token, then removes the copy: done the other way round, nobody would
// know of it any more.
func (u *upkeep) withdraw(ctx context.Context, secret *corev1.Secret, c upstream.Credential) error {
	if err := u.revoke(ctx, *u.answering, c); err != nil {
		return u.silent(ctx, err)
	}
	if err := u.remove(ctx, secret); err != nil {
		return err
	}
	u.log(ctx, c, "Withdrew a personal access token")
	if c.Renamed {
		u.findings = append(u.findings, foundAnothers(u.site, c, underNewName(u.site, c.User)))
	}
	return nil
}

var errStillAccepted = errors.New("the product does not revoke the personal access token, and accepts it still")

// revoke has the product revoke what it made for a user at the site, with itself, and so itself last. What it does not
// accept any longer is revoked, or ended, already.
func (r *Reconciler) revoke(ctx context.Context, at atlassian.Upstream, c upstream.Credential) error {
	as := atlassian.Bearer(c.Token)
	for _, id := range []int64{c.Replaced, c.ID} {
		if id == 0 {
			continue
		}
		err := r.Product.DeletePAT(ctx, at, as, id)
		if errors.Is(err, atlassian.ErrRefused) {
			if _, err = r.Product.WhoAmI(ctx, at, as); errors.Is(err, atlassian.ErrRefused) {
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
	ctrl.LoggerFrom(ctx).Info("Revoked a personal access token at the product", "user", c.User, "site", c.Site)
	return nil
}

// ask finds out whose a personal access token is.
func (u *upkeep) ask(ctx context.Context, secret *corev1.Secret, s copyState) error {
	user, err := u.Product.WhoAmI(ctx, *u.answering, atlassian.Bearer(s.credential.Token))
	found := judge(s.credential, user, err)
	if found == unclear {
		s.checkAt = s.now.Add(recheckPeriod)
		return u.silent(ctx, err)
	}
	s.checked(s.name, s.now)
	switch {
	case found == accepted:
		return u.accepted(ctx, secret, s.credential)
	case s.credential.Source == upstream.Given:
		return u.takeBack(ctx, secret, s, found)
	case found == refused:
		return u.refused(ctx, secret, s.credential)
	default:
		return u.renamed(ctx, secret, s.credential)
	}
}

func (u *upkeep) accepted(ctx context.Context, secret *corev1.Secret, c upstream.Credential) error {
	if !c.Usable() {
		c.Refused = time.Time{}
		if err := u.store(ctx, c, secret); err != nil {
			return err
		}
		u.log(ctx, c, "A personal access token is accepted again")
	}
	return u.sweep(ctx, c)
}

// refused keeps the copy: it is not used, but if its owner comes back, he finds it.
func (u *upkeep) refused(ctx context.Context, secret *corev1.Secret, c upstream.Credential) error {
	if !c.Usable() {
		return nil
	}
	if err := u.disuse(ctx, secret, c); err != nil {
		return err
	}
	u.log(ctx, c, "A personal access token is not accepted any more")
	u.findings = append(u.findings, foundRefused(u.site, c, signIn(u.site, c.User)))
	return nil
}

// takeBack removes the copy of what was given. The pass that follows says the same of its Secret as this one.
func (u *upkeep) takeBack(ctx context.Context, secret *corev1.Secret, s copyState, found answer) error {
	if err := u.remove(ctx, secret); err != nil {
		return err
	}
	in := u.entries[s.name].SecretName
	if found == refused {
		u.add(*unusable(s.credential.User, "%s", givenRefused(in)))
		u.findings = append(u.findings, foundRefused(u.site, s.credential, fmt.Sprintf("put a valid one into Secret '%s'", in)))
		return nil
	}
	u.add(*unusable(s.credential.User, "%s", givenAnothers(in, s.credential.User)))
	u.findings = append(u.findings, foundAnothers(u.site, s.credential, fmt.Sprintf("put one of '%s' into Secret '%s'", s.credential.User, in)))
	return nil
}

// renamed takes away what would let one user act as another. What is ours is revoked next; from now on it is not used,
// whatever becomes of that.
func (u *upkeep) renamed(ctx context.Context, secret *corev1.Secret, c upstream.Credential) error {
	if c.Source == upstream.Enrolled {
		c.Renamed = true
		return u.disuse(ctx, secret, c)
	}
	if err := u.drop(ctx, secret, c); err != nil {
		return err
	}
	u.findings = append(u.findings, foundAnothers(u.site, c, underNewName(u.site, c.User)))
	return nil
}

// sweep has the product revoke what was made for the site and is not in use, also what its owner pasted another one over. If
// that does not succeed, it does an hour later: nothing depends on it.
func (u *upkeep) sweep(ctx context.Context, c upstream.Credential) error {
	if c.Source == upstream.Given {
		return nil
	}
	as := atlassian.Bearer(c.Token)
	listed, err := u.Product.ListPATs(ctx, *u.answering, as)
	if err != nil {
		return ctx.Err()
	}
	for _, p := range listed {
		if !isStray(p, upstream.PATName(string(u.site.UID)), c, u.Clock.Now()) {
			continue
		}
		if err := u.Product.DeletePAT(ctx, *u.answering, as, p.ID); err != nil {
			return ctx.Err()
		}
		u.log(ctx, c, "Revoked a personal access token that was left over")
	}
	return nil
}

// retire has the product revoke what a renewal replaced, with what replaced it.
func (u *upkeep) retire(ctx context.Context, secret *corev1.Secret, s copyState) error {
	c := s.credential
	s.retireAt = s.now.Add(checkPeriod)
	err := u.Product.DeletePAT(ctx, *u.answering, atlassian.Bearer(c.Token), c.Replaced)
	switch {
	case errors.Is(err, atlassian.ErrRefused):
		s.checkAt = s.now
		return nil
	case err != nil:
		return u.silent(ctx, err)
	}
	c.Replaced = 0
	if err := u.store(ctx, c, secret); err != nil {
		return err
	}
	u.log(ctx, c, "Revoked the personal access token that was replaced")
	return nil
}

// renew has the product make a new personal access token with the old one, and puts it into its place once the product
// has confirmed whose it is. Whatever is made and not stored is swept up later. Between attempts lies an hour.
func (u *upkeep) renew(ctx context.Context, secret *corev1.Secret, s copyState) error {
	c := s.credential
	s.renewAt = s.now.Add(checkPeriod)
	made, err := u.makeNew(ctx, c)
	switch {
	case errors.Is(err, atlassian.ErrPATRefused):
		s.stuck = true
		return nil
	case errors.Is(err, atlassian.ErrRefused):
		s.stuck, s.checkAt = true, s.now
		return nil
	case err != nil:
		return u.silent(ctx, err)
	}
	user, err := u.Product.WhoAmI(ctx, *u.answering, atlassian.Bearer(made.Token))
	switch judge(c, user, err) {
	case accepted:
	case unclear:
		return u.silent(ctx, err)
	default:
		s.checkAt = s.now
		return nil
	}
	c.Token, c.ID, c.Expires, c.Replaced, c.Stored = made.Token, made.ID, made.Expires, c.ID, s.now.UTC()
	if err := u.store(ctx, c, secret); err != nil {
		return err
	}
	u.log(ctx, c, "Renewed a personal access token")
	return nil
}

// makeNew asks for the usual lifetime, and for a shorter one if that is refused.
func (u *upkeep) makeNew(ctx context.Context, c upstream.Credential) (atlassian.PAT, error) {
	as, name := atlassian.Bearer(c.Token), upstream.PATName(string(u.site.UID))
	made, err := u.Product.CreatePAT(ctx, *u.answering, as, name, lifetimeDays)
	if errors.Is(err, atlassian.ErrPATRefused) {
		made, err = u.Product.CreatePAT(ctx, *u.answering, as, name, shortLifetimeDays)
	}
	if err == nil {
		err = upstream.CheckToken(made.Token)
	}
	return made, err
}
