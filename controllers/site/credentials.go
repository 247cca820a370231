package site

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/siteurl"
	"apitokens.dev/operator/internal/upstream"
	"apitokens.dev/operator/internal/username"
)

// projectCredentials keeps a working copy of each given personal access token whose owner the product confirmed, and
// no other copy. A product that does not answer, nil, is not asked about each of them.
func (r *Reconciler) projectCredentials(ctx context.Context, s *tokensv1alpha1.AtlassianSite, answering *atlassian.Upstream) ([]rejection, error) {
	given := map[string]bool{}
	var rejected []rejection
	var errs []error
	for _, c := range s.Spec.UpstreamCredentials {
		given[upstream.SecretName(s.Namespace, s.Name, c.User)] = true
		reject, err := r.project(ctx, s, c, answering)
		if reject != nil {
			rejected = append(rejected, *reject)
		}
		errs = append(errs, err)
	}
	return rejected, errors.Join(append(errs, r.removeOthers(ctx, s, given))...)
}

// project verifies one personal access token and stores it. One that was verified before is not verified again as
// long as it is the same, and as long as it is, it stays bound to where it was verified.
func (r *Reconciler) project(
	ctx context.Context, s *tokensv1alpha1.AtlassianSite, c tokensv1alpha1.UpstreamCredential, answering *atlassian.Upstream,
) (*rejection, error) {
	unusable := func(format string, args ...any) *rejection {
		return &rejection{tokensv1alpha1.ReasonCredentialUnusable, c.User, fmt.Sprintf(format, args...)}
	}
	var source corev1.Secret
	err := r.Live.Get(ctx, types.NamespacedName{Namespace: s.Namespace, Name: c.SecretName}, &source)
	if apierrors.IsNotFound(err) {
		return unusable("there is no Secret '%s': create it", c.SecretName), r.forget(ctx, s, c.User)
	}
	if err != nil {
		return nil, fmt.Errorf("reading Secret %s/%s: %w", s.Namespace, c.SecretName, err)
	}
	wanted := upstream.Credential{Namespace: s.Namespace, Site: s.Name, User: c.User, Token: string(source.Data[tokensv1alpha1.UpstreamCredentialKey])}
	if err := upstream.CheckToken(wanted.Token); err != nil {
		return unusable("the key '%s' of Secret '%s' is %v", tokensv1alpha1.UpstreamCredentialKey, c.SecretName, err), r.forget(ctx, s, c.User)
	}
	url, err := siteurl.Parse(s.Spec.UpstreamURL)
	if err != nil {
		return nil, err
	}
	wanted.Origin = url.Origin
	stored, current, err := r.stored(ctx, wanted)
	if errors.Is(err, errForeign) {
		return unusable("Secret '%s/%s' was not written by the operator: delete it", r.CredentialsNamespace, wanted.SecretName()), nil
	}
	if err != nil {
		return nil, err
	}
	if current != nil && current.Token == wanted.Token {
		if current.Origin == wanted.Origin {
			return nil, nil
		}
		return &rejection{tokensv1alpha1.ReasonUpstreamChanged, c.User, fmt.Sprintf(
			"the personal access token was verified at %s, and is not sent to %s before a new one is put into Secret '%s', or the entry is taken out and in again",
			current.Origin, wanted.Origin, c.SecretName)}, nil
	}
	if answering == nil {
		return unusable("the product could not be asked about the personal access token in Secret '%s' (see the condition %s)",
			c.SecretName, tokensv1alpha1.ConditionUpstreamReachable), nil
	}
	switch user, err := r.Product.WhoAmI(ctx, *answering, atlassian.Bearer(wanted.Token)); {
	case errors.Is(err, atlassian.ErrRefused):
		return unusable("the product does not accept the personal access token in Secret '%s': put a valid one there", c.SecretName), r.forget(ctx, s, c.User)
	case ctx.Err() != nil:
		return nil, err
	case err != nil: // nothing was found out: what was verified before goes on being used
		return unusable("the product did not say whose the personal access token in Secret '%s' is: it is asked again within a minute", c.SecretName), nil
	case username.Fold(user.Name) != c.User:
		return unusable("the personal access token in Secret '%s' is that of another user: put one of '%s' there", c.SecretName, c.User), r.forget(ctx, s, c.User)
	}
	return nil, r.store(ctx, wanted, stored)
}

var errForeign = errors.New("not written by the operator")

// stored reads the working copy. One that cannot be read is returned without what it holds, and is replaced.
func (r *Reconciler) stored(ctx context.Context, c upstream.Credential) (*corev1.Secret, *upstream.Credential, error) {
	var s corev1.Secret
	err := r.Live.Get(ctx, types.NamespacedName{Namespace: r.CredentialsNamespace, Name: c.SecretName()}, &s)
	if apierrors.IsNotFound(err) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading the working copy of a personal access token: %w", err)
	}
	if s.Type != upstream.SecretType {
		return nil, nil, errForeign
	}
	current, err := upstream.Decode(s.Data[upstream.DataKey])
	if err != nil || current.SecretName() != s.Name {
		return &s, nil, nil
	}
	return &s, &current, nil
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

// forget removes the working copy of one user's personal access token.
func (r *Reconciler) forget(ctx context.Context, s *tokensv1alpha1.AtlassianSite, user string) error {
	stored, _, err := r.stored(ctx, upstream.Credential{Namespace: s.Namespace, Site: s.Name, User: user})
	if errors.Is(err, errForeign) || err == nil && stored == nil {
		return nil
	}
	if err != nil {
		return err
	}
	return r.remove(ctx, stored)
}

// removeOthers removes the working copies of users who are no longer listed.
func (r *Reconciler) removeOthers(ctx context.Context, s *tokensv1alpha1.AtlassianSite, given map[string]bool) error {
	var list corev1.SecretList
	err := r.Client.List(ctx, &list, client.InNamespace(r.CredentialsNamespace), client.MatchingLabels(labels(client.ObjectKeyFromObject(s))))
	if err != nil {
		return fmt.Errorf("listing the working copies of personal access tokens: %w", err)
	}
	for i := range list.Items {
		if ofSite(&list.Items[i]) && !given[list.Items[i].Name] {
			if err := r.remove(ctx, &list.Items[i]); err != nil {
				return err
			}
		}
	}
	return nil
}
