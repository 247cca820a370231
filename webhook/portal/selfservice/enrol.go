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

// Enrolment says whether the operator has a personal access token with which it can act for a user at the product.
type Enrolment string

// The states of an enrolment.
const (
	// Given means that the administrator of the site provided one, in `upstreamCredentials`.
	Given Enrolment = "Given"
	// Enrolled means that the user enrolled: the operator had one made, or the user pasted one.
	Enrolled Enrolment = "Enrolled"
	// Ended means that the product no longer accepts it.
	Ended Enrolment = "Ended"
	// NotEnrolled means that there is none.
	NotEnrolled Enrolment = "NotEnrolled"
)

// lifetimes are the lifetimes in days to ask for, one after the other, because the product may have a maximum. The controller
// renews the personal access token long before its end.
var lifetimes = []int{90, 30}

// Enrolment returns the state of the caller. The portal may not read the working copies of personal access tokens. So it
// creates one as a dry run: if that conflicts, there is one. The conditions of the caller's tokens say whether it has ended.
func (s *Service) Enrolment(ctx context.Context, c *Caller) (Enrolment, error) {
	if slices.ContainsFunc(c.Spec.UpstreamCredentials, func(u tokensv1alpha1.UpstreamCredential) bool { return u.User == c.User }) {
		return Given, nil
	}
	err := s.Client.Create(ctx, s.workingCopy(upstream.Credential{Namespace: c.Namespace, Site: c.Name, User: c.User}), client.DryRunAll)
	switch {
	case err == nil:
		return NotEnrolled, nil
	case !apierrors.IsAlreadyExists(err):
		return "", fmt.Errorf("looking for a personal access token: %w", err)
	}
	if slices.ContainsFunc(s.List(c), func(t Token) bool { return readyReason(t.object) == tokensv1alpha1.ReasonUpstreamCredentialMissing }) {
		return Ended, nil
	}
	return Enrolled, nil
}

// mustEnrol returns the enrolment of the caller, or an error if they need to enrol and cannot do so in this request.
func (s *Service) mustEnrol(ctx context.Context, c *Caller) (Enrolment, error) {
	state, err := s.Enrolment(ctx, c)
	if err != nil || state == Given || state == Enrolled {
		return state, err
	}
	if c.Token != nil {
		return state, &Problem{Kind: Forbidden, Reason: tokensv1alpha1.ReasonUpstreamCredentialMissing, Message: fmt.Sprintf(
			"You have no personal access token in %s that API tokens can use. Sign in, open %s and create an API token there.", c.Spec.Product, c.PageURL())}
	}
	return state, nil
}

// enrol creates a personal access token with the caller's own session and stores it after checking its user. It continues
// when the client disconnects: users may have few of them, and one that is not stored is lost. The controller revokes those
// that carry our name and are not stored.
func (s *Service) enrol(ctx context.Context, c *Caller, state Enrolment) error {
	ctx, cancel := connected(ctx)
	defer cancel()
	pat, err := s.createPAT(ctx, c)
	if err != nil {
		return err
	}
	user, err := s.whoIs(ctx, c, atlassian.Bearer(pat.Token))
	if err == nil && username.Fold(user.Name) != c.User {
		err = problem(Conflict, "%s created a personal access token that is not yours. Ask the administrator of this site.", c.Spec.Product)
	}
	if err == nil {
		err = s.store(ctx, c, upstream.Credential{Token: pat.Token, Source: upstream.Enrolled, ID: pat.ID, Expires: pat.Expires}, state == Ended)
	}
	switch {
	case errors.Is(err, errEnrolled):
		s.revokePAT(ctx, c, pat)
		return nil
	case err != nil:
		s.revokePAT(ctx, c, pat)
		return err
	}
	s.Logger.Info("User enrolled", "site", c.Ref().String(), "user", c.User)
	return nil
}

func (s *Service) createPAT(ctx context.Context, c *Caller) (pat atlassian.PAT, err error) {
	for _, days := range lifetimes {
		err = s.callProduct(ctx, c, func(ctx context.Context) error {
			pat, err = s.Product.CreatePAT(ctx, c.upstream, c.credential, upstream.PATName(string(c.UID)), days)
			return err
		})
		if !errors.Is(err, atlassian.ErrPATRefused) {
			break
		}
	}
	switch {
	case errors.Is(err, atlassian.ErrPATRefused):
		return pat, problem(Conflict, "%s did not create a personal access token for you. You may have reached its limit. "+
			"Delete one in your profile, or paste one on %s.", c.Spec.Product, c.PageURL())
	case errors.Is(err, atlassian.ErrRefused):
		return pat, problem(Forbidden, "%s does not let you create a personal access token, which API tokens need. "+
			"Sign in and open %s, or ask its administrator.", c.Spec.Product, c.PageURL())
	}
	return pat, err
}

// revokePAT revokes a personal access token that could not be stored.
func (s *Service) revokePAT(ctx context.Context, c *Caller, pat atlassian.PAT) {
	s.cleanUp(ctx, func(ctx context.Context) {
		err := s.callProduct(ctx, c, func(ctx context.Context) error {
			return s.Product.DeletePAT(ctx, c.upstream, atlassian.Bearer(pat.Token), pat.ID)
		})
		if err != nil {
			s.Logger.Error(err, "Revoking a personal access token that could not be stored failed; the controller will retry",
				"site", c.Ref().String(), "user", c.User)
		}
	})
}

// Paste stores a personal access token that the caller created.
func (s *Service) Paste(ctx context.Context, c *Caller, text string) error {
	const field = "personalAccessToken"
	switch {
	case c.Token != nil:
		return problem(Forbidden, "An API token may not do this. Sign in to %s.", c.Spec.Product)
	case len(text) >= len(token.Prefix) && text[:len(token.Prefix)] == token.Prefix:
		return invalid(field, "This is an API token. Paste a personal access token, which you create in your profile in %s.", c.Spec.Product)
	case upstream.CheckToken(text) != nil:
		return invalid(field, "This is not a personal access token: those contain only letters, digits and -._~+/=, and no spaces.")
	}
	user, err := s.whoIs(ctx, c, atlassian.Bearer(text))
	switch {
	case errors.Is(err, atlassian.ErrRefused):
		return invalid(field, "%s does not accept this personal access token.", c.Spec.Product)
	case err != nil:
		return err
	case username.Fold(user.Name) != c.User:
		return invalid(field, "This personal access token is not yours.")
	}
	if err := s.store(ctx, c, upstream.Credential{Token: text, Source: upstream.Pasted}, true); err != nil {
		return err
	}
	s.Logger.Info("User pasted a personal access token", "site", c.Ref().String(), "user", c.User)
	return nil
}

// errEnrolled means that another request of the user enrolled them in the meantime.
var errEnrolled = errors.New("the user is already enrolled")

// store stores a working copy. It replaces an existing one only if replaces is true.
func (s *Service) store(ctx context.Context, c *Caller, u upstream.Credential, replaces bool) error {
	u.Namespace, u.Site, u.User, u.UserKey, u.Origin, u.Stored = c.Namespace, c.Name, c.User, c.key, c.origin, s.Clock.Now().UTC()
	encoded, err := u.Encode()
	if err != nil {
		return err
	}
	secret := s.workingCopy(u)
	secret.Data = map[string][]byte{upstream.DataKey: encoded}
	err = s.Client.Create(ctx, secret)
	switch {
	case apierrors.IsAlreadyExists(err) && !replaces:
		return errEnrolled
	case apierrors.IsAlreadyExists(err):
		patch, failed := json.Marshal(map[string]any{"data": secret.Data})
		if failed != nil {
			return fmt.Errorf("encoding a personal access token: %w", failed)
		}
		err = s.Client.Patch(ctx, secret, client.RawPatch(client.Merge.Type(), patch))
	}
	if err != nil {
		return fmt.Errorf("storing a personal access token: %w", err)
	}
	return nil
}

// workingCopy returns the Secret of a working copy, without data.
func (s *Service) workingCopy(u upstream.Credential) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.CredentialsNamespace, Name: u.SecretName(),
			Labels: map[string]string{managedByLabel: "apitoken-operator", record.LabelSiteNamespace: u.Namespace, record.LabelSite: u.Site},
		},
		Type: upstream.SecretType,
	}
}
