package selfservice

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/token"
	"apitokens.dev/operator/internal/username"
)

// Names of the indices of APITokens in the cache.
const (
	bySite  = "site"
	byOwner = "owner"
)

// State says whether a token authenticates, and if not, why.
type State string

// The states of a token.
const (
	Active     State = "Active"
	Suspended  State = "Suspended"
	Expired    State = "Expired"
	Revoked    State = "Revoked"
	NotAllowed State = "NotAllowed"
	Damaged    State = "Damaged"
)

var states = map[authn.Reason]State{
	"": Active, authn.ReasonSuspended: Suspended, authn.ReasonExpired: Expired, authn.ReasonReplaced: Expired,
	authn.ReasonRevokedByEpoch: Revoked, authn.ReasonNamespaceNotAllowed: NotAllowed,
}

// Token is a token as its owner sees it.
type Token struct {
	ID, Label, User string
	State           State
	Access          tokensv1alpha1.Access
	// Credential says where it comes from: the portal, or what is declared in Kubernetes.
	Credential tokensv1alpha1.CredentialType
	// Namespace and Name are those of its APIToken.
	Namespace, Name string
	// Created is when its APIToken was made, Issued when its newest secret was. Ends and Used are zero if it never ends, or
	// was never used.
	Created, Issued, Ends, Used time.Time
	// UsedFrom is the address of its last use.
	UsedFrom                     string
	AllowedSources, AllowedPaths []string

	object *tokensv1alpha1.APIToken
}

// view is a token as it is known now. What has no id yet is not there yet.
func (p *Service) view(t *tokensv1alpha1.APIToken) (Token, bool) {
	d, ok := p.Index.Describe(string(t.UID))
	if !ok || t.Annotations[tokensv1alpha1.AnnotationPending] != "" {
		return Token{}, false
	}
	state, known := states[d.Reason]
	if !known {
		state = Damaged
	}
	return Token{
		ID: d.TokenID, Label: t.Spec.Label, User: username.Fold(t.Spec.User), State: state,
		Access: cmp.Or(t.Spec.Access, tokensv1alpha1.AccessReadWrite), Credential: t.Spec.Credential.Type, Namespace: t.Namespace, Name: t.Name,
		Created: t.CreationTimestamp.Time, Issued: d.Issued, Ends: d.Ends, Used: t.Status.LastAccessedTime.Time, UsedFrom: t.Status.LastAccessedFrom,
		AllowedSources: t.Spec.AllowedSources, AllowedPaths: t.Spec.AllowedPaths, object: t,
	}, true
}

// List returns the caller's own tokens, the newest first.
func (p *Service) List(ctx context.Context, c *Caller) ([]Token, error) {
	return p.ofOwner(ctx, c.Site, c.User)
}

// Get returns one of them.
func (p *Service) Get(ctx context.Context, c *Caller, id string) (Token, error) {
	mine, err := p.List(ctx, c)
	if err != nil {
		return Token{}, err
	}
	return withID(mine, id)
}

// withID finds a token. Whether another one of this id exists is not told.
func withID(tokens []Token, id string) (Token, error) {
	i := slices.IndexFunc(tokens, func(t Token) bool { return t.ID == id })
	if i < 0 || !token.ValidID(id) {
		return Token{}, problem(NotFound, "You have no API token with this id.")
	}
	return tokens[i], nil
}

func (p *Service) ofOwner(ctx context.Context, s *Site, user string) ([]Token, error) {
	return p.list(ctx, ownedBy(s, user))
}

func ownedBy(s *Site, user string) client.ListOption {
	return client.MatchingFields{byOwner: ownerKey(s.Ref(), user)}
}

func (c *Caller) ownTokens() client.ListOption { return ownedBy(c.Site, c.User) }

// objects are the APITokens that are not being deleted, also those that are only being made. They are the cache's own: nobody
// may change them.
func (p *Service) objects(ctx context.Context, which client.ListOption) ([]tokensv1alpha1.APIToken, error) {
	var list tokensv1alpha1.APITokenList
	if err := p.Client.List(ctx, &list, which, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("listing APITokens: %w", err)
	}
	return slices.DeleteFunc(list.Items, func(t tokensv1alpha1.APIToken) bool { return !t.DeletionTimestamp.IsZero() }), nil
}

func (p *Service) list(ctx context.Context, which client.ListOption) ([]Token, error) {
	objects, err := p.objects(ctx, which)
	if err != nil {
		return nil, err
	}
	tokens := make([]Token, 0, len(objects))
	for i := range objects {
		if t, ok := p.view(&objects[i]); ok {
			tokens = append(tokens, t)
		}
	}
	slices.SortFunc(tokens, func(a, b Token) int { return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.ID, b.ID)) })
	return tokens, nil
}

// get reads the very APIToken that the index knows.
func (p *Service) get(ctx context.Context, name authn.APITokenName) (*tokensv1alpha1.APIToken, error) {
	var t tokensv1alpha1.APIToken
	err := p.Client.Get(ctx, types.NamespacedName{Namespace: name.Namespace, Name: name.Name}, &t)
	switch {
	case apierrors.IsNotFound(err), err == nil && string(t.UID) != name.UID:
		return nil, problem(Unavailable, "This API token is just being made or revoked. Try again in a moment.")
	case err != nil:
		return nil, fmt.Errorf("reading the APIToken: %w", err)
	}
	return &t, nil
}

// condition returns the reason of a token's Ready condition.
func condition(t *tokensv1alpha1.APIToken) string {
	if c := apimeta.FindStatusCondition(t.Status.Conditions, tokensv1alpha1.ConditionReady); c != nil {
		return c.Reason
	}
	return ""
}

func ownerKey(site authn.SiteName, user string) string { return site.String() + "/" + user }

// Indices has a cache find APITokens by site and by owner.
func Indices(ctx context.Context, indexer client.FieldIndexer) error {
	siteOf := func(t *tokensv1alpha1.APIToken) authn.SiteName {
		return authn.SiteName{Namespace: t.SiteNamespace(), Name: t.Spec.SiteRef.Name}
	}
	for name, key := range map[string]func(*tokensv1alpha1.APIToken) string{
		bySite:  func(t *tokensv1alpha1.APIToken) string { return siteOf(t).String() },
		byOwner: func(t *tokensv1alpha1.APIToken) string { return ownerKey(siteOf(t), username.Fold(t.Spec.User)) },
	} {
		err := indexer.IndexField(ctx, &tokensv1alpha1.APIToken{}, name, func(o client.Object) []string {
			t, _ := o.(*tokensv1alpha1.APIToken)
			return []string{key(t)}
		})
		if err != nil {
			return fmt.Errorf("indexing APITokens by %s: %w", name, err)
		}
	}
	return nil
}
