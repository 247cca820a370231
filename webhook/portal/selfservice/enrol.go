package selfservice

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/token"
	"apitokens.dev/operator/internal/upstream"
	"apitokens.dev/operator/internal/username"
)

// Enrolment says whether the operator can act for a user at the product.
type Enrolment string

// The states of an enrolment.
const (
	// Given means that the site's administrator gave a personal access token of the user, in `upstreamCredentials`.
	Given Enrolment = "Given"
	// Enrolled means that the operator has one that the user had made, or pasted.
	Enrolled Enrolment = "Enrolled"
	// Ended means that it has one, which the product does not accept any more.
	Ended Enrolment = "Ended"
	// NotEnrolled means that it has none.
	NotEnrolled Enrolment = "NotEnrolled"
)

// lifetimes are for how many days a personal access token is asked for, in turn: the product may have a maximum. The controller
// renews it long before its end.
var lifetimes = []int{90, 30}

// Enrolment returns whether the operator can act for the caller. It may not read the working copies of personal access tokens:
// that there is one shows when one is created, as a dry run; and that it is not accepted any more, the controller has said of
// the tokens that need it.
func (p *Service) Enrolment(ctx context.Context, c *Caller) (Enrolment, error) {
	given := slices.ContainsFunc(c.Spec.UpstreamCredentials, func(u tokensv1alpha1.UpstreamCredential) bool { return u.User == c.User })
	if given {
		return Given, nil
	}
	err := p.Client.Create(ctx, p.copyOf(upstream.Credential{Namespace: c.Namespace, Site: c.Name, User: c.User}), client.DryRunAll)
	switch {
	case err == nil:
		return NotEnrolled, nil
	case !apierrors.IsAlreadyExists(err):
		return "", fmt.Errorf("looking for a personal access token: %w", err)
	}
	mine, err := p.List(ctx, c)
	if err != nil {
		return "", err
	}
	if slices.ContainsFunc(mine, func(t Token) bool { return condition(t.object) == tokensv1alpha1.ReasonUpstreamCredentialMissing }) {
		return Ended, nil
	}
	return Enrolled, nil
}

// mustEnrol returns whether the operator can act for the caller, or why he cannot have a token before it can.
func (p *Service) mustEnrol(ctx context.Context, c *Caller) (Enrolment, error) {
	state, err := p.Enrolment(ctx, c)
	if err != nil || state == Given || state == Enrolled {
		return state, err
	}
	if c.Token != nil {
		return state, &Problem{Kind: Forbidden, Reason: tokensv1alpha1.ReasonUpstreamCredentialMissing, Message: fmt.Sprintf(
			"There is no personal access token with which you could act in %s. Sign in, open %s and create an API token there.", c.Spec.Product, c.PageURL())}
	}
	return state, nil
}

// enrol has the product make a personal access token with the caller's own session, and stores it once it is sure whose it is.
// It goes on if the caller leaves: he may have few, and one that nobody stored is of no use to anybody. What is cut off all the
// same is a personal access token of our name that nobody has: the controller revokes it.
func (p *Service) enrol(ctx context.Context, c *Caller, state Enrolment) error {
	ctx = context.WithoutCancel(ctx)
	pat, err := p.makePAT(ctx, c)
	if err != nil {
		return err
	}
	user, err := p.whoIs(ctx, c.Site, atlassian.Bearer(pat.Token))
	if err == nil && username.Fold(user.Name) != c.User {
		err = problem(Conflict, "%s made a personal access token that is not yours. Ask the administrator of this site.", c.Spec.Product)
	}
	if err == nil {
		err = p.keep(ctx, c, upstream.Credential{Token: pat.Token, Source: upstream.Enrolled, ID: pat.ID, Expires: pat.Expires}, state == Ended)
	}
	switch {
	case errors.Is(err, errEnrolled):
		p.forgetPAT(ctx, c, pat)
		return nil
	case err != nil:
		p.forgetPAT(ctx, c, pat)
		return err
	}
	p.Logger.Info("A user was enrolled", "site", c.Ref().String(), "user", c.User)
	return nil
}

func (p *Service) makePAT(ctx context.Context, c *Caller) (pat atlassian.PAT, err error) {
	for _, days := range lifetimes {
		err = p.ask(ctx, c.Site, func(ctx context.Context) error {
			pat, err = p.Product.CreatePAT(ctx, c.upstream, c.credential, upstream.PATName(string(c.UID)), days)
			return err
		})
		if !errors.Is(err, atlassian.ErrPATRefused) {
			break
		}
	}
	switch {
	case errors.Is(err, atlassian.ErrPATRefused):
		return pat, problem(Conflict, "%s makes no personal access token for you, with which you could act there: you may have as many as it allows. "+
			"Delete one of them in your profile, or paste one on %s.", c.Spec.Product, c.PageURL())
	case errors.Is(err, atlassian.ErrRefused):
		return pat, problem(Forbidden, "%s does not let you make a personal access token, with which you could act there. "+
			"Sign in and open %s, or ask its administrator.", c.Spec.Product, c.PageURL())
	}
	return pat, err
}

// forgetPAT revokes one that nobody will use, also if who asked for it has left.
func (p *Service) forgetPAT(ctx context.Context, c *Caller, pat atlassian.PAT) {
	err := p.ask(context.WithoutCancel(ctx), c.Site, func(ctx context.Context) error {
		return p.Product.DeletePAT(ctx, c.upstream, atlassian.Bearer(pat.Token), pat.ID)
	})
	if err != nil {
		p.Logger.Error(err, "Revoking a personal access token that could not be stored; the controller will", "site", c.Ref().String(), "user", c.User)
	}
}

// Paste stores a personal access token that the caller has made.
func (p *Service) Paste(ctx context.Context, c *Caller, text string) error {
	const field = "personalAccessToken"
	switch {
	case c.Token != nil:
		return problem(Forbidden, "An API token may not do this. Sign in to %s.", c.Spec.Product)
	case len(text) >= len(token.Prefix) && text[:len(token.Prefix)] == token.Prefix:
		return invalid(field, "This is an API token. Paste a personal access token, which you make in your profile in %s.", c.Spec.Product)
	case upstream.CheckToken(text) != nil:
		return invalid(field, "This is not a personal access token: it has letters, digits and -._~+/= alone, and no spaces.")
	}
	user, err := p.whoIs(ctx, c.Site, atlassian.Bearer(text))
	switch {
	case errors.Is(err, atlassian.ErrRefused):
		return invalid(field, "%s does not accept this personal access token.", c.Spec.Product)
	case err != nil:
		return err
	case username.Fold(user.Name) != c.User:
		return invalid(field, "This personal access token is not yours.")
	}
	if err := p.keep(ctx, c, upstream.Credential{Token: text, Source: upstream.Pasted}, true); err != nil {
		return err
	}
	p.Logger.Info("A user pasted a personal access token", "site", c.Ref().String(), "user", c.User)
	return nil
}

// errEnrolled means that a user was enrolled meanwhile, by another request of his.
var errEnrolled = errors.New("the user is enrolled already")

// keep stores the working copy, and if it replaces, in place of one that is there.
func (p *Service) keep(ctx context.Context, c *Caller, u upstream.Credential, replaces bool) error {
	u.Namespace, u.Site, u.User, u.UserKey, u.Origin, u.Stored = c.Namespace, c.Name, c.User, c.key, c.origin, p.Clock.Now().UTC()
	encoded, err := u.Encode()
	if err != nil {
		return err
	}
	s := p.copyOf(u)
	s.Data = map[string][]byte{upstream.DataKey: encoded}
	err = p.Client.Create(ctx, s)
	switch {
	case apierrors.IsAlreadyExists(err) && !replaces:
		return errEnrolled
	case apierrors.IsAlreadyExists(err):
		patch, failed := json.Marshal(map[string]any{"data": s.Data})
		if failed != nil {
			return fmt.Errorf("encoding a personal access token: %w", failed)
		}
		err = p.Client.Patch(ctx, s, client.RawPatch(client.Merge.Type(), patch))
	}
	if err != nil {
		return fmt.Errorf("storing a personal access token: %w", err)
	}
	return nil
}

// copyOf is the Secret of a working copy, without what it holds.
func (p *Service) copyOf(u upstream.Credential) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: p.CredentialsNamespace, Name: u.SecretName(),
			Labels: map[string]string{managedByLabel: "apitoken-operator", record.LabelSiteNamespace: u.Namespace, record.LabelSite: u.Site},
		},
		Type: upstream.SecretType,
	}
}
