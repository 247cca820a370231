package site

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/siteurl"
	"apitokens.dev/operator/internal/upstream"
)

// credentials brings about what token owners act with: first what is given, then what there is.
func (r *Reconciler) credentials(ctx context.Context, s *tokensv1alpha1.AtlassianSite, answering *atlassian.Upstream, o *outcome) error {
	given, projectErr := r.projectCredentials(ctx, s, answering)
	u, err := r.keepCopies(ctx, s, answering, given)
	if u != nil {
		o.rejected, o.findings = u.rejected, u.findings
	}
	return errors.Join(projectErr, err)
}

// projectCredentials keeps a working copy of each given personal access token whose owner the product confirmed. A product
// that does not answer, nil, is not asked about each of them.
func (r *Reconciler) projectCredentials(ctx context.Context, s *tokensv1alpha1.AtlassianSite, answering *atlassian.Upstream) ([]rejection, error) {
	var rejected []rejection
	var errs []error
	for _, c := range s.Spec.UpstreamCredentials {
		reject, err := r.project(ctx, s, c, answering)
		if reject != nil {
			rejected = append(rejected, *reject)
		}
		errs = append(errs, err)
	}
	return rejected, errors.Join(errs...)
}

func unusable(user, format string, args ...any) *rejection {
	return &rejection{tokensv1alpha1.ReasonCredentialUnusable, user, fmt.Sprintf(format, args...)}
}

// project verifies one personal access token and stores it. One that was verified before is not verified again here as
// long as it is the same, and as long as it is, it stays bound to where it was verified.
func (r *Reconciler) project(
	ctx context.Context, s *tokensv1alpha1.AtlassianSite, c tokensv1alpha1.UpstreamCredential, answering *atlassian.Upstream,
) (*rejection, error) {
	var source corev1.Secret
	err := r.Live.Get(ctx, types.NamespacedName{Namespace: s.Namespace, Name: c.SecretName}, &source)
	if apierrors.IsNotFound(err) {
		return unusable(c.User, "there is no Secret '%s': create it", c.SecretName), r.forget(ctx, s, c.User)
	}
	if err != nil {
		return nil, fmt.Errorf("reading Secret %s/%s: %w", s.Namespace, c.SecretName, err)
	}
	wanted := upstream.Credential{Namespace: s.Namespace, Site: s.Name, User: c.User, Token: string(source.Data[tokensv1alpha1.UpstreamCredentialKey])}
	if err := upstream.CheckToken(wanted.Token); err != nil {
		return unusable(c.User, "the key '%s' of Secret '%s' is %v", tokensv1alpha1.UpstreamCredentialKey, c.SecretName, err), r.forget(ctx, s, c.User)
	}
	url, err := siteurl.Parse(s.Spec.UpstreamURL)
	if err != nil {
		return nil, err
	}
	wanted.Origin = url.Origin
	stored, current, err := r.stored(ctx, wanted.SecretName())
	if errors.Is(err, errForeign) {
		return unusable(c.User, "Secret '%s/%s' was not written by the operator: delete it", r.CredentialsNamespace, wanted.SecretName()), nil
	}
	if err != nil {
		return nil, err
	}
	if current != nil && current.Source == upstream.Given && current.Token == wanted.Token {
		if current.Origin == wanted.Origin {
			return nil, nil
		}
		return &rejection{tokensv1alpha1.ReasonUpstreamChanged, c.User, fmt.Sprintf(
			"the personal access token was verified at %s, and is not sent to %s before a new one is put into Secret '%s', or the entry is taken out and in again",
			current.Origin, wanted.Origin, c.SecretName)}, nil
	}
	if answering == nil {
		return unusable(c.User, "the product could not be asked about the personal access token in Secret '%s' (see the condition %s)",
			c.SecretName, tokensv1alpha1.ConditionUpstreamReachable), nil
	}
	if reject, err := r.verify(ctx, s, c, wanted, *answering); reject != nil || err != nil {
		return reject, err
	}
	if reject, err := r.supersede(ctx, c, wanted.Origin, current, *answering); reject != nil || err != nil {
		return reject, err
	}
	if err := r.store(ctx, wanted, stored); err != nil {
		return nil, err
	}
	now := r.Clock.Now()
	r.Memory.of(client.ObjectKeyFromObject(s), wanted.SecretName(), time.Time{}, now).checked(wanted.SecretName(), now)
	return nil, nil
}

// verify asks the product whose a given personal access token is.
func (r *Reconciler) verify(
	ctx context.Context, s *tokensv1alpha1.AtlassianSite, c tokensv1alpha1.UpstreamCredential, wanted upstream.Credential, at atlassian.Upstream,
) (*rejection, error) {
	user, err := r.Product.WhoAmI(ctx, at, atlassian.Bearer(wanted.Token))
	switch judge(wanted, user, err) {
	case accepted:
		return nil, nil
	case refused:
		return unusable(c.User, "%s", givenRefused(c.SecretName)), r.forget(ctx, s, c.User)
	case anothers:
		return unusable(c.User, "%s", givenAnothers(c.SecretName, c.User)), r.forget(ctx, s, c.User)
	}
	if ctx.Err() != nil {
		return nil, err
	}
	// Nothing was found out: what was verified before goes on being used.
	return unusable(c.User, "the product did not say whose the personal access token in Secret '%s' is: it is asked again within a minute", c.SecretName), nil
}

// supersede has the product revoke what was made for the user, before a given personal access token takes its place: nobody
// would know of it afterwards.
func (r *Reconciler) supersede(
	ctx context.Context, c tokensv1alpha1.UpstreamCredential, origin string, current *upstream.Credential, at atlassian.Upstream,
) (*rejection, error) {
	if current == nil || current.Source != upstream.Enrolled || current.Origin != origin {
		return nil, nil
	}
	err := r.revoke(ctx, at, *current)
	if err == nil || ctx.Err() != nil {
		return nil, err
	}
	return unusable(c.User, "the personal access token in Secret '%s' waits until the product has revoked the one that it made for '%s' at the ingress: "+
		"it is asked again within a minute", c.SecretName, c.User), nil
}

var errForeign = errors.New("not written by the operator")

// stored reads the working copy. One that cannot be read is returned without what it holds, and is replaced.
func (r *Reconciler) stored(ctx context.Context, name string) (*corev1.Secret, *upstream.Credential, error) {
	var s corev1.Secret
	err := r.Live.Get(ctx, types.NamespacedName{Namespace: r.CredentialsNamespace, Name: name}, &s)
	if apierrors.IsNotFound(err) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading the working copy of a personal access token: %w", err)
	}
	if s.Type != upstream.SecretType {
		return nil, nil, errForeign
	}
	return &s, decodeCopy(&s), nil
}

// decodeCopy returns nil if a Secret does not hold what its name says.
func decodeCopy(s *corev1.Secret) *upstream.Credential {
	c, err := upstream.Decode(s.Data[upstream.DataKey])
	if err != nil || c.SecretName() != s.Name {
		return nil
	}
	return &c
}

// fromPortal reports whether a Secret holds a personal access token that nobody can give once more but its owner.
func fromPortal(s *corev1.Secret) bool {
	c := decodeCopy(s)
	return c != nil && c.Source != upstream.Given
}

func (r *Reconciler) store(ctx context.Context, c upstream.Credential, stored *corev1.Secret) error {
	encoded, err := c.Encode()
	if err != nil {
		return err
	}
	data := map[string][]byte{upstream.DataKey: encoded}
	if stored == nil {
		err = r.Client.Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: r.CredentialsNamespace, Name: c.SecretName(), Labels: labels(types.NamespacedName{Namespace: c.Namespace, Name: c.Site}),
			},
			Type: upstream.SecretType,
			Data: data,
		})
	} else {
		stored.Data = data
		err = r.Client.Update(ctx, stored)
	}
	if err != nil {
		return fmt.Errorf("storing the working copy of a personal access token: %w", err)
	}
	return nil
}

// forget removes the working copy of what was given for a user. What the portal stored goes on until an entry takes its
// place.
func (r *Reconciler) forget(ctx context.Context, s *tokensv1alpha1.AtlassianSite, user string) error {
	stored, _, err := r.stored(ctx, upstream.SecretName(s.Namespace, s.Name, user))
	if errors.Is(err, errForeign) || err == nil && (stored == nil || fromPortal(stored)) {
		return nil
	}
	if err != nil {
		return err
	}
	return r.remove(ctx, stored)
}
