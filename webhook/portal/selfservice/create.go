package selfservice

import (
	"context"
	"crypto/rand"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/audit"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/recordstore"
	"apitokens.dev/operator/internal/terms"
	"apitokens.dev/operator/internal/token"
)

const (
	managedByLabel = "app.kubernetes.io/managed-by"
	managedBy      = "apitoken-portal"
)

// Wish is what is wanted of a new token.
type Wish struct {
	Label string
	// At most one of Expires and LifetimeDays is set; neither means the default of the site.
	Expires      time.Time
	LifetimeDays *int32
	Access       tokensv1alpha1.Access
	// AllowedSources and AllowedPaths narrow it; nil does not.
	AllowedSources, AllowedPaths []string
	// Nonce makes sure that a wish that is sent twice is granted once. Empty means that it does not matter.
	Nonce string
}

// FieldNonce is the field that a Problem has if a form is none of the page, or was sent before.
const FieldNonce = "nonce"

// NewNonce returns a nonce for one wish.
func NewNonce() string { return strings.ToLower(rand.Text()) }

var nonceForm = regexp.MustCompile(`^[a-z2-7]{26}$`)

// Create makes a token for the caller and returns its plaintext, which nothing keeps. The APIToken comes first, marked as
// pending; then its record; then the mark is taken off: whatever is cut off in between is removed, here or by the controller.
func (p *Service) Create(ctx context.Context, c *Caller, w Wish) (made Token, text string, err error) {
	t, err := p.plan(ctx, c, w)
	if err != nil {
		return Token{}, "", err
	}
	state, err := p.mustEnrol(ctx, c)
	if err != nil {
		return Token{}, "", err
	}
	if err := p.Client.Create(ctx, t); err != nil {
		return Token{}, "", createProblem(err)
	}
	defer func() {
		if err != nil {
			p.takeBack(ctx, t)
		}
	}()
	if err := p.settle(ctx, c, t); err != nil {
		return Token{}, "", err
	}
	if state == NotEnrolled || state == Ended {
		if err := p.enrol(ctx, c, state); err != nil {
			return Token{}, "", err
		}
	}
	if text, err = p.issue(ctx, t); err != nil {
		return Token{}, "", err
	}
	if made, err = p.finish(ctx, t); err != nil {
		return Token{}, "", err
	}
	p.tell(c, audit.Created, made)
	return made, text, nil
}

// plan is the APIToken that a wish asks for, if the caller may have it.
func (p *Service) plan(ctx context.Context, c *Caller, w Wish) (*tokensv1alpha1.APIToken, error) {
	t := newAPIToken(c.Site, c.User, w.Label)
	t.Spec.LifetimeDays, t.Spec.Access, t.Spec.AllowedSources, t.Spec.AllowedPaths = w.LifetimeDays, w.Access, w.AllowedSources, w.AllowedPaths
	if !w.Expires.IsZero() {
		t.Spec.ExpirationTime = metav1.NewTime(w.Expires.Truncate(time.Second)) // as it will be stored: what is checked is what counts
	}
	if err := checkWish(t); err != nil {
		return nil, err
	}
	if w.Nonce != "" {
		if !nonceForm.MatchString(w.Nonce) {
			return nil, invalid(FieldNonce, "The form is not one of this page. Open the page again.")
		}
		t.GenerateName, t.Name = "", namePrefix(c.User)+w.Nonce
	}
	if c.Token != nil {
		if err := p.narrow(t, c); err != nil {
			return nil, err
		}
	}
	if err := p.checkPolicy(c, t); err != nil {
		return nil, err
	}
	mine, err := p.objects(ctx, c.ownTokens())
	if err != nil {
		return nil, err
	}
	if most := c.MaxTokens(); len(mine) >= most {
		return nil, tooMany(most)
	}
	return t, nil
}

// newAPIToken is one of the portal's that is still being made.
func newAPIToken(s *Site, user, label string) *tokensv1alpha1.APIToken {
	return &tokensv1alpha1.APIToken{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.Namespace, GenerateName: namePrefix(user),
			Labels: map[string]string{managedByLabel: managedBy}, Annotations: map[string]string{tokensv1alpha1.AnnotationPending: "true"},
		},
		Spec: tokensv1alpha1.APITokenSpec{
			SiteRef: tokensv1alpha1.SiteReference{Name: s.Name}, User: user, Label: label,
			Credential: tokensv1alpha1.Credential{Type: tokensv1alpha1.CredentialPortal},
		},
	}
}

// checkPolicy says which rule of the site a wish breaks, in the words of the REST API.
func (p *Service) checkPolicy(c *Caller, t *tokensv1alpha1.APIToken) error {
	now, policy := p.Clock.Now(), terms.Policy(c.AtlassianSite)
	if until := t.Spec.ExpirationTime.Time; !until.IsZero() && !until.After(now) {
		return invalid("expiresAt", "expiresAt must be in the future.")
	}
	if now.Before(policy.IssuedAfter) {
		return problem(Conflict, "No API token of this site is issued before %s.", policy.IssuedAfter.UTC().Format(time.RFC3339))
	}
	switch terms.Violates(t, c.AtlassianSite, now) {
	case terms.LifetimeTooLong:
		return invalid("lifetimeDays", "lifetimeDays must be at most %d.", policy.MaxDays)
	case terms.ExpirationTooLate:
		return invalid("expiresAt", "expiresAt must be at most %d days away.", policy.MaxDays)
	case terms.NeverExpires:
		return invalid("lifetimeDays", "An API token of this site must end: give lifetimeDays or expiresAt.")
	}
	return nil
}

func tooMany(most int) *Problem {
	return problem(Conflict, "You may have %d here, and no more. Revoke one of your API tokens first.", most)
}

// settle waits until the new APIToken is seen, and with it all that came before. Then it is counted: of two that are made at the
// same time, at least one sees the other. And the token that the caller brought is looked at once more: if it was revoked or
// narrowed before this one was there, or all of his are being revoked, whoever does so could not know of this one.
func (p *Service) settle(ctx context.Context, c *Caller, t *tokensv1alpha1.APIToken) error {
	var all []tokensv1alpha1.APIToken
	var failed error
	err := seen(ctx, func() bool {
		all, failed = p.objects(ctx, c.ownTokens())
		return failed != nil || slices.ContainsFunc(all, func(o tokensv1alpha1.APIToken) bool { return o.UID == t.UID })
	})
	switch most := c.MaxTokens(); {
	case err != nil:
		return err
	case failed != nil:
		return failed
	case len(all) > most:
		return tooMany(most)
	}
	return c.standsBy(all)
}

// standsBy says why the token that the caller brought may not have made another one, looking at all that there are of his.
func (c *Caller) standsBy(all []tokensv1alpha1.APIToken) error {
	unchanged := func(o tokensv1alpha1.APIToken) bool {
		return o.UID == c.Token.UID && equality.Semantic.DeepEqual(o.Spec, c.Token.Spec)
	}
	switch {
	case c.Token == nil:
		return nil
	case slices.ContainsFunc(all, isBarrier):
		return problem(Conflict, "All your API tokens are being revoked.")
	case !slices.ContainsFunc(all, unchanged):
		return problem(Conflict, "The API token that you brought was changed or revoked just now.")
	}
	return nil
}

// issue makes the secret of a new APIToken, and its record.
func (p *Service) issue(ctx context.Context, t *tokensv1alpha1.APIToken) (string, error) {
	id, err := token.NewID(p.Random)
	if err != nil {
		return "", fmt.Errorf("making the id of a token: %w", err)
	}
	text, entry, err := p.mint(id)
	if err != nil {
		return "", err
	}
	err = p.records().Create(ctx, t.UID, &record.Record{
		TokenID: id, User: t.Spec.User, Portal: true, Entries: []record.Entry{entry},
		Site:     record.Ref{Namespace: t.Namespace, Name: t.Spec.SiteRef.Name},
		APIToken: record.Ref{Namespace: t.Namespace, Name: t.Name},
	})
	if err != nil {
		return "", err
	}
	return text, nil
}

func (p *Service) records() recordstore.Store {
	return recordstore.Store{Client: p.Client, Namespace: p.Namespace, ManagedBy: managedBy}
}

// mint makes a secret. It is delivered by being shown.
func (p *Service) mint(id string) (string, record.Entry, error) {
	return record.Mint(id, record.Delivered, p.Clock.Now(), p.Random)
}

// finish takes the mark off, and waits until the token authenticates here.
func (p *Service) finish(ctx context.Context, t *tokensv1alpha1.APIToken) (made Token, err error) {
	patch := client.RawPatch(client.Merge.Type(), []byte(`{"metadata":{"annotations":{"`+tokensv1alpha1.AnnotationPending+`":null}}}`))
	switch err := p.Client.Patch(ctx, t, patch); {
	case apierrors.IsNotFound(err):
		return Token{}, problem(Conflict, "All your API tokens were revoked just now, and this one with them.")
	case err != nil:
		return Token{}, fmt.Errorf("finishing the APIToken: %w", err)
	}
	return made, seen(ctx, func() (ok bool) {
		var now tokensv1alpha1.APIToken
		if p.Client.Get(ctx, client.ObjectKeyFromObject(t), &now) != nil {
			return false
		}
		made, ok = p.view(&now)
		return ok
	})
}

// takeBack removes an APIToken that could not be finished, also if who asked for it has left, and waits until it is not seen any
// more: it counts for as long.
func (p *Service) takeBack(ctx context.Context, t *tokensv1alpha1.APIToken) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpTimeout)
	defer cancel()
	_, err := p.remove(ctx, t)
	if err == nil {
		err = p.forgotten(ctx, map[types.UID]types.NamespacedName{t.UID: client.ObjectKeyFromObject(t)})
	}
	if err != nil {
		p.Logger.Error(err, "Removing an APIToken that could not be finished; the controller will", "namespace", t.Namespace, "name", t.Name)
	}
}

// createProblem says what the API server has against a wish. Its messages are ours: they are in the schema of APITokens.
func createProblem(err error) error {
	status := apierrors.APIStatus(nil)
	switch {
	case apierrors.IsAlreadyExists(err):
		return &Problem{Kind: Conflict, Field: FieldNonce,
			Message: "This form was sent before, and its API token was made then. It is not shown again: revoke it and create another one."}
	case apierrors.IsInvalid(err) && asStatus(err, &status) && status.Status().Details != nil && len(status.Status().Details.Causes) > 0:
		return refusal(status.Status().Details.Causes[0])
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return problem(Unavailable, "This site is being removed.")
	}
	return fmt.Errorf("creating the APIToken: %w", err)
}
