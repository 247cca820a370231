package site

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/siteurl"
	"apitokens.dev/operator/internal/upstream"
	"apitokens.dev/operator/internal/username"
)

const (
	// maxCopies and copiesTimeout bound what one pass does about working copies: there can be thousands, and other sites
	// wait meanwhile.
	maxCopies     = 100
	copiesTimeout = 30 * time.Second
	// maxSteps is more than there is ever to do about one of them.
	maxSteps = 8
)

// upkeep is one pass over the working copies of a site.
type upkeep struct {
	*Reconciler

	site *tokensv1alpha1.AtlassianSite
	name types.NamespacedName
	// origin is that of the product. answering is nil if it does not answer, or gave an answer that says nothing.
	origin    string
	answering *atlassian.Upstream
	// entries are those of `upstreamCredentials`, by the name of the working copy.
	entries map[string]tokensv1alpha1.UpstreamCredential
	// owners are the users who have APITokens at the site. confirmed says that the API server itself was asked.
	owners    map[string]bool
	confirmed bool

	rejected []rejection
	findings []finding
}

// keepCopies looks after the working copies of a site. The cache says of which there may be something to do; what it is is
// decided on what the API server says now. Those who wait longest come first. To what is rejected already it adds the rest.
func (r *Reconciler) keepCopies(
	ctx context.Context, s *tokensv1alpha1.AtlassianSite, answering *atlassian.Upstream, rejected []rejection,
) (*upkeep, error) {
	u, err := r.newUpkeep(s, answering)
	if err != nil {
		return nil, err
	}
	u.rejected = rejected
	all, err := u.observe(ctx)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(all, func(a, b copyState) int { return a.tried.Compare(b.tried) })
	var errs []error
	begun, busy := r.Clock.Now(), 0
	for _, c := range all {
		if c.next() == leave || busy >= maxCopies || r.Clock.Since(begun) > copiesTimeout {
			u.reject(c)
			continue
		}
		busy++
		errs = append(errs, u.settle(ctx, c.name))
	}
	// In the order of their entries, and then in that of their names: always the same.
	slices.SortFunc(u.rejected[len(rejected):], func(a, b rejection) int { return strings.Compare(a.user, b.user) })
	return u, errors.Join(errs...)
}

func (r *Reconciler) newUpkeep(s *tokensv1alpha1.AtlassianSite, answering *atlassian.Upstream) (*upkeep, error) {
	url, err := siteurl.Parse(s.Spec.UpstreamURL)
	if err != nil {
		return nil, err
	}
	u := &upkeep{
		Reconciler: r, site: s, name: client.ObjectKeyFromObject(s), origin: url.Origin, answering: answering,
		entries: map[string]tokensv1alpha1.UpstreamCredential{}, owners: map[string]bool{},
	}
	for _, c := range s.Spec.UpstreamCredentials {
		u.entries[upstream.SecretName(s.Namespace, s.Name, c.User)] = c
	}
	return u, nil
}

// observe reads what the cache has. Whoever has nothing from the portal needs no list of APITokens.
func (u *upkeep) observe(ctx context.Context) ([]copyState, error) {
	var list corev1.SecretList
	if err := u.Client.List(ctx, &list, client.InNamespace(u.CredentialsNamespace), client.MatchingLabels(labels(u.name))); err != nil {
		return nil, fmt.Errorf("listing the working copies of personal access tokens: %w", err)
	}
	list.Items = slices.DeleteFunc(list.Items, func(s corev1.Secret) bool { return !ofSite(&s) })
	if slices.ContainsFunc(list.Items, func(s corev1.Secret) bool { return fromPortal(&s) }) {
		if err := u.findOwners(ctx, u.Client, client.UnsafeDisableDeepCopy); err != nil {
			return nil, err
		}
	}
	states, names := make([]copyState, len(list.Items)), map[string]bool{}
	for i := range list.Items {
		states[i] = u.state(list.Items[i].Name, decodeCopy(&list.Items[i]))
		names[list.Items[i].Name] = true
	}
	u.Memory.keep(u.name, names)
	return states, nil
}

// findOwners adds the users who have APITokens at the site, whatever is in their way.
func (u *upkeep) findOwners(ctx context.Context, from client.Reader, o client.ListOption) error {
	var tokens tokensv1alpha1.APITokenList
	if err := from.List(ctx, &tokens, o); err != nil {
		return fmt.Errorf("listing the APITokens of the site: %w", err)
	}
	for i := range tokens.Items {
		if t := &tokens.Items[i]; t.SiteNamespace() == u.name.Namespace && t.Spec.SiteRef.Name == u.name.Name {
			u.owners[username.Fold(t.Spec.User)] = true
		}
	}
	return nil
}

func (u *upkeep) state(name string, c *upstream.Credential) copyState {
	_, listed := u.entries[name]
	s := copyState{now: u.Clock.Now(), name: name, readable: c != nil, listed: listed, origin: u.origin, answering: u.answering != nil}
	if c != nil {
		s.credential, s.owned = *c, u.owners[c.User]
	}
	s.note = u.Memory.of(u.name, name, s.credential.Stored, s.now)
	return s
}

// settle takes steps until nothing is left to do about a working copy. Before anything is destroyed because nobody needs it,
// the API server is asked whether that is so.
func (u *upkeep) settle(ctx context.Context, name string) error {
	for range maxSteps {
		secret, c, err := u.stored(ctx, name)
		if err != nil && !errors.Is(err, errForeign) {
			return err
		}
		if secret == nil {
			return nil
		}
		s := u.state(name, c)
		if s.destroys(s.next()) && !u.confirmed {
			if err := u.findOwners(ctx, u.Live, client.MatchingFields{"spec.siteRef.name": u.name.Name}); err != nil {
				return err
			}
			u.confirmed = true
			s = u.state(name, c)
		}
		step := s.next()
		if step == leave {
			u.reject(s)
			return nil
		}
		if err := u.act(ctx, step, secret, s); err != nil {
			return client.IgnoreNotFound(err) // another leader removed it meanwhile
		}
	}
	return errUnsettled
}

var errUnsettled = errors.New("a working copy did not settle: something else keeps changing it")

func (u *upkeep) reject(c copyState) {
	if r := c.rejection(u.site); r != nil {
		u.add(*r)
	}
}

// add adds a rejection, one for each user.
func (u *upkeep) add(r rejection) {
	if !slices.ContainsFunc(u.rejected, func(other rejection) bool { return other.user == r.user }) {
		u.rejected = append(u.rejected, r)
	}
}
