package credential

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/internal/owned"
	"apitokens.dev/operator/controllers/internal/secretref"
	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/terms"
	"apitokens.dev/operator/internal/upstream"
)

// projectGiven keeps a working copy for each entry of `upstreamCredentials` with an owner that the product confirmed. The entry
// that was asked about longest ago comes first, so that a slow one does not keep the others waiting for ever.
func (p *pass) projectGiven(ctx context.Context) error {
	tried := func(c tokensv1alpha1.UpstreamCredential) time.Time { return p.noteOfEntry(c).tried }
	entries := slices.Clone(p.site.Spec.UpstreamCredentials)
	slices.SortStableFunc(entries, func(a, b tokensv1alpha1.UpstreamCredential) int { return tried(a).Compare(tried(b)) })
	rejected := map[string]*Rejection{}
	var errs []error
	for _, c := range entries {
		reject, err := p.project(ctx, c)
		if reject == nil {
			reject, err = refusal(c.User, err)
		}
		rejected[c.User] = reject
		errs = append(errs, err)
	}
	for _, c := range p.site.Spec.UpstreamCredentials { // the order must be the same in each pass
		if r := rejected[c.User]; r != nil {
			p.Rejections = append(p.Rejections, *r)
		}
	}
	return errors.Join(errs...)
}

// noteOfEntry returns the note of an entry. That of the working copy may be about another personal access token.
func (p *pass) noteOfEntry(c tokensv1alpha1.UpstreamCredential) *note {
	return p.Memory.of(p.name, entryPrefix+upstream.SecretName(p.site.Namespace, p.site.Name, c.User), time.Time{}, time.Time{}, p.Clock.Now())
}

// entryPrefix begins the name of an entry's note, which no Secret can have.
const entryPrefix = "entry/"

// project verifies the personal access token of one entry, and stores it. A token that was verified before is not verified
// here again, and stays bound to the origin that confirmed it.
func (p *pass) project(ctx context.Context, c tokensv1alpha1.UpstreamCredential) (*Rejection, error) {
	if terms.Blocks(p.site, c.User, "") {
		return nil, p.forget(ctx, c.User)
	}
	token, reject, err := p.readGiven(ctx, c)
	if err != nil {
		return nil, err
	}
	if reject != nil {
		return reject, p.forget(ctx, c.User)
	}
	wanted := upstream.Credential{Namespace: p.site.Namespace, Site: p.site.Name, User: c.User, Token: token, Origin: p.origin}
	stored, current, err := p.stored(ctx, wanted.SecretName())
	if errors.Is(err, errForeign) {
		return unusable(c.User, "Secret '%s/%s' was not written by the operator: delete it", p.Namespace, wanted.SecretName()), nil
	}
	if err != nil {
		return nil, err
	}
	if current != nil && current.Source == upstream.Given && current.Token == wanted.Token {
		return elsewhere(c, *current, wanted.Origin), nil
	}
	if !p.answers() {
		return unusable(c.User, "the product could not be asked about the personal access token in Secret '%s' (see the condition %s)",
			c.SecretName, tokensv1alpha1.ConditionUpstreamReachable), nil
	}
	if p.requests.Err() != nil {
		return unusable(c.User, "the product is slow, so it was not asked yet about the personal access token in Secret '%s': it is asked within minutes",
			c.SecretName), nil
	}
	owner, reject, err := p.verify(ctx, c, &wanted)
	p.noteOfEntry(c).tried = p.Clock.Now()
	if reject != nil || err != nil || terms.Blocks(p.site, c.User, wanted.UserKey) {
		return reject, err
	}
	if reject, err := p.supersede(ctx, c, current); reject != nil || err != nil {
		return reject, err
	}
	if err := p.store(ctx, wanted, stored); err != nil {
		return nil, err
	}
	s := p.state(wanted.SecretName(), &wanted)
	s.heardOf(owner, s.name, s.now)
	return nil, p.publish(ctx, c.User, s.heard)
}

// readGiven reads the personal access token of an entry from the Secret beside the site.
func (p *pass) readGiven(ctx context.Context, c tokensv1alpha1.UpstreamCredential) (token string, reject *Rejection, err error) {
	var source corev1.Secret
	err = p.Live.Get(ctx, types.NamespacedName{Namespace: p.site.Namespace, Name: c.SecretName}, &source)
	if apierrors.IsNotFound(err) {
		return "", unusable(c.User, "there is no Secret '%s': create it", c.SecretName), nil
	}
	if err != nil {
		return "", nil, fmt.Errorf("reading Secret %s/%s: %w", p.site.Namespace, c.SecretName, err)
	}
	if err := secretref.UpstreamCredential(&source, p.site.Name); err != nil {
		return "", unusable(c.User, "Secret '%s' %v", c.SecretName, err), nil
	}
	token = string(source.Data[tokensv1alpha1.UpstreamCredentialKey])
	if err := upstream.CheckToken(token); err != nil {
		return "", unusable(c.User, "the key '%s' of Secret '%s' is %v", tokensv1alpha1.UpstreamCredentialKey, c.SecretName, err), nil
	}
	return token, nil, nil
}

// elsewhere rejects an entry if its personal access token was confirmed at another origin.
func elsewhere(c tokensv1alpha1.UpstreamCredential, current upstream.Credential, origin string) *Rejection {
	if current.Origin == origin {
		return nil
	}
	return &Rejection{tokensv1alpha1.ReasonUpstreamChanged, c.User, fmt.Sprintf(
		"the personal access token was verified at %s, and is not sent to %s before a new one is put into Secret '%s', or the entry is taken out and in again",
		current.Origin, origin, c.SecretName)}
}

// verify asks the product whose the personal access token of an entry is, and sets the user key.
func (p *pass) verify(
	ctx context.Context, c tokensv1alpha1.UpstreamCredential, wanted *upstream.Credential,
) (owner atlassian.User, reject *Rejection, err error) {
	owner, err = p.Product.WhoAmI(p.requests, *p.product, atlassian.Bearer(wanted.Token))
	switch judge(*wanted, owner, err) {
	case accepted:
		wanted.UserKey = owner.Key
		return owner, nil, nil
	case refused:
		return owner, unusable(c.User, "%s", givenRefused(c.SecretName)), p.forget(ctx, c.User)
	case anothers:
		return owner, unusable(c.User, "%s", givenAnothers(c.SecretName, c.User)), p.forget(ctx, c.User)
	}
	if ctx.Err() != nil {
		return owner, nil, err
	}
	// The copy that was verified before stays in use.
	return owner, unusable(c.User, "the product did not say whose the personal access token in Secret '%s' is: it is asked again within a minute",
		c.SecretName), nil
}

// supersede has the product revoke the user's enrolled personal access token before that of an entry replaces it. Later
// nobody would know of it.
func (p *pass) supersede(ctx context.Context, c tokensv1alpha1.UpstreamCredential, current *upstream.Credential) (*Rejection, error) {
	if current == nil || current.Source != upstream.Enrolled || current.Origin != p.origin {
		return nil, nil
	}
	err := p.revoke(ctx, *current)
	if err == nil || ctx.Err() != nil {
		return nil, err
	}
	return unusable(c.User, "the personal access token in Secret '%s' waits until the product has revoked the one that it made for '%s' at the ingress: "+
		"it is asked again within a minute", c.SecretName, c.User), nil
}

// forget removes the working copy of a user's entry. A copy from the portal stays in use until a verified entry replaces it.
func (p *pass) forget(ctx context.Context, user string) error {
	stored, _, err := p.stored(ctx, upstream.SecretName(p.site.Namespace, p.site.Name, user))
	if errors.Is(err, errForeign) || err == nil && (stored == nil || fromPortal(stored)) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := owned.Remove(ctx, p.Client, stored); err != nil {
		return err
	}
	return p.publish(ctx, user, nil)
}
