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

// State says whether a token works, and if not, why.
type State string

// The states of a token.
const (
	Active     State = "Active"
	Suspended  State = "Suspended"
	Expired    State = "Expired"
	Revoked    State = "Revoked"
	NotAllowed State = "NotAllowed"
	Damaged    State = "Damaged"
	// Unlicensed means that the site has no valid licence.
	Unlicensed State = "Unlicensed"
	// StateNotEnrolled means that the operator has no personal access token with which the token could act at the product.
	StateNotEnrolled State = "NotEnrolled"
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
	// Credential says whether it was created here or is declared in Kubernetes.
	Credential tokensv1alpha1.CredentialType
	// Namespace and Name are those of its APIToken.
	Namespace, Name string
	// Created is when its APIToken was created, Issued when its newest secret was. Ends is zero if it never expires, Used
	// if it was never used.
	Created, Issued, Ends, Used time.Time
	// Older is how many replaced secrets are valid. OlderUntil is when the last of them ends.
	Older      int
	OlderUntil time.Time
	// UsedFrom is the address of its last use.
	UsedFrom                     string
	AllowedSources, AllowedPaths []string

	object *tokensv1alpha1.APIToken
}

// view returns the token of an APIToken. ok is false while the APIToken has no record or is still being created.
func (s *Service) view(t *tokensv1alpha1.APIToken) (Token, bool) {
	d, ok := s.Index.Describe(string(t.UID))
	if !ok || t.Malformed != "" || t.Annotations[tokensv1alpha1.AnnotationPending] != "" {
		return Token{}, false
	}
	return Token{
		ID: d.TokenID, Label: t.Spec.Label, User: username.Fold(t.Spec.User), State: s.state(t, d.Reason),
		Access: cmp.Or(t.Spec.Access, tokensv1alpha1.AccessReadWrite), Credential: t.Spec.Credential.Type, Namespace: t.Namespace, Name: t.Name,
		Created: t.CreationTimestamp.Time, Issued: d.Issued, Ends: d.Ends, Older: d.Older, OlderUntil: d.OlderUntil,
		Used: t.Status.LastAccessedTime.Time, UsedFrom: t.Status.LastAccessedFrom,
		AllowedSources: t.Spec.AllowedSources, AllowedPaths: t.Spec.AllowedPaths, object: t,
	}, true
}

// state returns the state of a token that does not authenticate for a reason, or that authenticates if reason is empty. The
// portal may not read personal access tokens: the controller says in a condition that one is missing.
func (s *Service) state(t *tokensv1alpha1.APIToken, reason authn.Reason) State {
	state, known := states[reason]
	switch {
	case !known:
		return Damaged
	case state != Active:
		return state
	case s.Index.Unlicensed(authn.SiteName{Namespace: t.SiteNamespace(), Name: t.Spec.SiteRef.Name}) != "":
		return Unlicensed
	case readyReason(t) == tokensv1alpha1.ReasonUpstreamCredentialMissing:
		return StateNotEnrolled
	}
	return Active
}

// List returns the caller's own tokens, newest first.
func (s *Service) List(ctx context.Context, c *Caller) ([]Token, error) {
	return s.list(ctx, c.ownTokens())
}

// Get returns one of the caller's own tokens.
func (s *Service) Get(ctx context.Context, c *Caller, id string) (Token, error) {
	own, err := s.List(ctx, c)
	if err != nil {
		return Token{}, err
	}
	return withID(own, id)
}

// withID finds a token by id. The error is the same for unknown ids and for ids of other users.
func withID(tokens []Token, id string) (Token, error) {
	i := slices.IndexFunc(tokens, func(t Token) bool { return t.ID == id })
	if i < 0 || !token.ValidID(id) {
		return Token{}, problem(NotFound, "You have no API token with this id.")
	}
	return tokens[i], nil
}

// objects returns the APITokens that are not being deleted, including those that are still being created. They belong to the
// cache and must not be changed.
func (s *Service) objects(ctx context.Context, which client.ListOption) ([]tokensv1alpha1.APIToken, error) {
	var list tokensv1alpha1.APITokenList
	if err := s.Client.List(ctx, &list, which, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("listing APITokens: %w", err)
	}
	return slices.DeleteFunc(list.Items, func(t tokensv1alpha1.APIToken) bool { return !t.DeletionTimestamp.IsZero() }), nil
}

// list returns the finished tokens among the APITokens, newest first.
func (s *Service) list(ctx context.Context, which client.ListOption) ([]Token, error) {
	objects, err := s.objects(ctx, which)
	if err != nil {
		return nil, err
	}
	tokens := make([]Token, 0, len(objects))
	for i := range objects {
		if t, ok := s.view(&objects[i]); ok {
			tokens = append(tokens, t)
		}
	}
	slices.SortFunc(tokens, func(a, b Token) int { return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.ID, b.ID)) })
	return tokens, nil
}

// get reads an APIToken that the index knows, by name and UID.
func (s *Service) get(ctx context.Context, name authn.APITokenName) (*tokensv1alpha1.APIToken, error) {
	var t tokensv1alpha1.APIToken
	err := s.Client.Get(ctx, types.NamespacedName{Namespace: name.Namespace, Name: name.Name}, &t)
	switch {
	case apierrors.IsNotFound(err), err == nil && string(t.UID) != name.UID:
		return nil, problem(Unavailable, "This API token is being created or revoked right now. Try again in a moment.")
	case err != nil:
		return nil, fmt.Errorf("reading the APIToken: %w", err)
	}
	return &t, nil
}

// readyReason returns the reason of an APIToken's Ready condition.
func readyReason(t *tokensv1alpha1.APIToken) string {
	if c := apimeta.FindStatusCondition(t.Status.Conditions, tokensv1alpha1.ConditionReady); c != nil {
		return c.Reason
	}
	return ""
}
