package selfservice

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/enrolment"
	"apitokens.dev/operator/internal/terms"
	"apitokens.dev/operator/internal/token"
	"apitokens.dev/operator/internal/upstream"
	"apitokens.dev/operator/internal/username"
)

// Enrolment says whether the operator has a personal access token with which it can act for a user at the product.
type Enrolment string

// The states of an enrolment.
const (
	// Given means that the administrator of the site provided one, in `upstreamCredentials`, and that the product accepts it.
	Given Enrolment = "Given"
	// Enrolled means that the user enrolled: the operator had one made, or the user pasted one.
	Enrolled Enrolment = "Enrolled"
	// Ended means that the product no longer accepts it.
	Ended Enrolment = "Ended"
	// NotEnrolled means that there is none.
	NotEnrolled Enrolment = "NotEnrolled"
	// NotNeeded means that the site hands users over in a header, and needs none.
	NotNeeded Enrolment = "NotNeeded"
)

const (
	// decisionPoll is how often the portal looks whether the controller has decided.
	decisionPoll = 25 * time.Millisecond
	// leaseSlack is how much longer than its duration the controller's lease counts, because clocks differ.
	leaseSlack = 15 * time.Second
)

// Enrolment returns the state of the caller, as the controller published it.
func (s *Service) Enrolment(ctx context.Context, c *Caller) (Enrolment, error) {
	if !terms.NeedsUpstreamCredentials(c.AtlassianSite) {
		return NotNeeded, nil
	}
	e, err := s.published(ctx, c)
	switch {
	case err != nil:
		return "", err
	case e.State == enrolment.Given:
		return Given, nil
	case e.State == enrolment.Ended:
		return Ended, nil
	case e.State == enrolment.None:
		return NotEnrolled, nil
	default:
		return Enrolled, nil
	}
}

// needsNoEnrolment reports whether the caller's API tokens work without a personal access token that the portal would obtain.
func (c *Caller) needsNoEnrolment() bool {
	return !terms.NeedsUpstreamCredentials(c.AtlassianSite) || c.Provided()
}

// Provided reports whether the administrator of the site provides the caller's personal access token, be it accepted or not. Then the
// caller does not enrol.
func (c *Caller) Provided() bool {
	return slices.ContainsFunc(c.Spec.UpstreamCredentials, func(u tokensv1alpha1.UpstreamCredential) bool { return u.User == c.User })
}

// published reads what the controller says of the caller. A personal access token of another user key is none of the caller's:
// the name changed hands.
func (s *Service) published(ctx context.Context, c *Caller) (enrolment.Enrolment, error) {
	e := enrolment.Enrolment{State: enrolment.None}
	var stored corev1.Secret
	err := s.Client.Get(ctx, types.NamespacedName{Namespace: s.Namespace, Name: enrolment.SecretName(c.Namespace, c.Name, c.User)}, &stored)
	if apierrors.IsNotFound(err) {
		return e, nil
	}
	if err == nil {
		e, err = enrolment.Decode(stored.Data[enrolment.DataKey])
	}
	if err != nil {
		return e, fmt.Errorf("reading the enrolment of a user: %w", err)
	}
	if e.Usable() && e.UserKey != "" && c.key != "" && e.UserKey != c.key {
		e.State = enrolment.None
	}
	return e, nil
}

// mayEnrol returns an error if the caller needs to enrol and cannot do so in this request, so that nothing is made in vain.
func (s *Service) mayEnrol(ctx context.Context, c *Caller) error {
	if c.needsNoEnrolment() {
		return nil
	}
	e, err := s.published(ctx, c)
	switch {
	case err != nil || e.Usable():
		return err
	case c.Token != nil && e.State != enrolment.Pending:
		return notEnrolled(c)
	default:
		return s.awaitController(ctx)
	}
}

func notEnrolled(c *Caller) *Problem {
	return &Problem{Kind: Forbidden, Reason: tokensv1alpha1.ReasonUpstreamCredentialMissing, Message: fmt.Sprintf(
		"You have no personal access token in %s that API tokens can use. Sign in, open %s and create an API token there.", c.Spec.Product, c.PageURL())}
}

// awaitController returns an error unless a controller renews its lease. Without one, nobody would store a personal access token.
func (s *Service) awaitController(ctx context.Context) error {
	var lease coordinationv1.Lease
	err := s.Client.Get(ctx, types.NamespacedName{Namespace: s.Namespace, Name: s.Lease}, &lease)
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("reading the lease of the controller: %w", err)
	}
	good := time.Duration(ptr.Deref(lease.Spec.LeaseDurationSeconds, 0))*time.Second + leaseSlack
	if ptr.Deref(lease.Spec.HolderIdentity, "") == "" || lease.Spec.RenewTime == nil || s.Clock.Now().Sub(lease.Spec.RenewTime.Time) > good {
		return problem(Unavailable, "Personal access tokens cannot be stored at the moment, because the controller of API tokens does not run. Try again later.")
	}
	return nil
}

// ensureEnrolled makes sure that the operator holds a personal access token of the caller. It is called once the new APIToken
// exists: a controller that withdraws one because nobody needs it marks it first, then looks for APITokens. So either it finds the
// new one, or the mark is found here.
func (s *Service) ensureEnrolled(ctx context.Context, c *Caller) error {
	if c.needsNoEnrolment() {
		return nil
	}
	e, err := s.published(ctx, c)
	if err == nil && e.State == enrolment.Pending {
		e, err = s.awaitDecision(ctx, c, func(e enrolment.Enrolment) bool { return e.State != enrolment.Pending })
	}
	switch {
	case err != nil || e.Usable():
		return err
	case c.Token != nil:
		return notEnrolled(c)
	default:
		return s.enrol(ctx, c, e)
	}
}

// enrol has the product make a personal access token with the caller's own session, and hands it over to the controller. It continues
// when the client disconnects: users may have few of them.
func (s *Service) enrol(ctx context.Context, c *Caller, before enrolment.Enrolment) error {
	ctx, cancel := connected(ctx)
	defer cancel()
	if err := s.awaitController(ctx); err != nil {
		return err
	}
	if err := s.removeStrays(ctx, c, before.PAT); err != nil {
		return err
	}
	pat, err := s.createPAT(ctx, c)
	if err != nil {
		return err
	}
	name, err := s.handOver(ctx, c, upstream.Credential{Token: pat.Token, Source: upstream.Enrolled, ID: pat.ID, Expires: pat.Expires})
	if err != nil {
		s.revokePAT(ctx, c, pat)
		return err
	}
	now, err := s.awaitDecision(ctx, c, func(e enrolment.Enrolment) bool { return e.Usable() || e.Intake == name })
	switch {
	case err != nil:
		return err
	case !now.Usable():
		s.revokePAT(ctx, c, pat)
		if err := s.checkEnrolment(ctx, c); err != nil {
			return err
		}
		return problem(Conflict, "%s did not confirm that the personal access token that it created is yours. Ask the administrator of this site.", c.Spec.Product)
	}
	s.Logger.Info("User enrolled", "site", c.Ref().String(), "user", c.User)
	return nil
}

// awaitDecision waits until the controller has published what is awaited. Otherwise the caller may try again: what was handed over
// is not lost.
func (s *Service) awaitDecision(ctx context.Context, c *Caller, awaited func(enrolment.Enrolment) bool) (e enrolment.Enrolment, err error) {
	var failed error
	err = wait.PollUntilContextCancel(ctx, decisionPoll, true, func(ctx context.Context) (bool, error) {
		if e, failed = s.published(ctx, c); failed != nil {
			return false, nil //nolint:nilerr // the API server may answer again in time
		}
		return awaited(e), nil
	})
	switch {
	case err == nil:
		return e, nil
	case failed != nil && ctx.Err() == nil:
		return e, failed
	default:
		return e, problem(Unavailable, "Your personal access token could not be checked in time. Try again in a moment.")
	}
}

// pasteField is the field of the form for a personal access token.
const pasteField = "personalAccessToken"

// mayPaste returns an error if the caller may store no personal access token, or if this text is none. Whose it is comes later.
func (s *Service) mayPaste(c *Caller, text string) error {
	switch {
	case c.Token != nil:
		return problem(Forbidden, "An API token may not do this. Sign in to %s.", c.Spec.Product)
	case c.Blocked():
		return errBlocked
	case !terms.NeedsUpstreamCredentials(c.AtlassianSite):
		return problem(Conflict, "API tokens work here without a personal access token, so none is stored.")
	case len(text) >= len(token.Prefix) && text[:len(token.Prefix)] == token.Prefix:
		return invalid(pasteField, "This is an API token. Paste a personal access token, which you create in your profile in %s.", c.Spec.Product)
	case upstream.CheckToken(text) != nil:
		return invalid(pasteField, "This is not a personal access token: those contain only letters, digits and -._~+/=, and no spaces.")
	}
	if p := s.checkEpoch(c.Site); p != nil {
		return p
	}
	return nil
}

// Paste stores a personal access token that the caller created. It reads live whether anything stops that once it is done.
func (s *Service) Paste(ctx context.Context, c *Caller, text string) error {
	if err := s.mayPaste(c, text); err != nil {
		return err
	}
	user, err := s.whoIs(ctx, c, atlassian.Bearer(text))
	switch {
	case errors.Is(err, atlassian.ErrRefused):
		return invalid(pasteField, "%s does not accept this personal access token.", c.Spec.Product)
	case err != nil:
		return err
	case username.Fold(user.Name) != c.User:
		return invalid(pasteField, "This personal access token is not yours.")
	}
	if err := s.awaitController(ctx); err != nil {
		return err
	}
	name, err := s.handOver(ctx, c, upstream.Credential{Token: text, Source: upstream.Pasted})
	if err != nil {
		return err
	}
	now, err := s.awaitDecision(ctx, c, func(e enrolment.Enrolment) bool { return e.Intake == name })
	if err == nil {
		err = s.checkEnrolment(ctx, c)
	}
	switch {
	case err != nil:
		return err
	case !now.Usable():
		return problem(Conflict, "This personal access token was not stored. Ask the administrator of this site.")
	}
	s.Logger.Info("User pasted a personal access token", "site", c.Ref().String(), "user", c.User)
	return nil
}
