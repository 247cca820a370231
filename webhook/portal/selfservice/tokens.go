package selfservice

import (
	"cmp"
	"slices"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/record"
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
	// Blocked means that the site blocks its owner.
	Blocked State = "Blocked"
	// OwnerChanged means that its owner's name belongs to another user of the product now.
	OwnerChanged State = "OwnerChanged"
	Damaged      State = "Damaged"
	// Unlicensed means that the site has no valid licence.
	Unlicensed State = "Unlicensed"
	// StateNotEnrolled means that the operator has no personal access token with which the token could act at the product.
	StateNotEnrolled State = "NotEnrolled"
)

var states = map[authn.Reason]State{
	"": Active, authn.ReasonSuspended: Suspended, authn.ReasonExpired: Expired, authn.ReasonReplaced: Expired,
	authn.ReasonRevokedByEpoch: Revoked, authn.ReasonNamespaceNotAllowed: NotAllowed, authn.ReasonUserBlocked: Blocked,
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
	// CreatedWith is the id of the token with which it was created, or empty.
	CreatedWith string
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

// view returns the token of an APIToken. ok is false as long as the portal has seen no record of it. Nothing that is written on
// the APIToken hides it: one that the index cannot read could authenticate elsewhere, or later.
func (s *Service) view(t *tokensv1alpha1.APIToken) (shown Token, ok bool) {
	r := s.Index.Record(string(t.UID))
	if r == nil {
		return Token{}, false
	}
	d, readable := s.Index.Describe(string(t.UID))
	if !readable {
		d = authn.Description{TokenID: r.TokenID, Issued: r.Entries[len(r.Entries)-1].Issued, Reason: authn.ReasonUnknownToken}
	}
	return Token{
		ID: d.TokenID, Label: cmp.Or(t.Spec.Label, t.Name), User: username.Fold(t.Spec.User), State: s.state(t, d.Reason),
		Access: cmp.Or(t.Spec.Access, tokensv1alpha1.AccessReadWrite), Credential: kindOf(r), Namespace: t.Namespace, Name: t.Name,
		CreatedWith: t.Spec.CreatedBy.TokenID,
		Created:     t.CreationTimestamp.Time, Issued: d.Issued, Ends: d.Ends, Older: d.Older, OlderUntil: d.OlderUntil,
		Used: t.Status.LastAccessedTime.Time, UsedFrom: t.Status.LastAccessedFrom,
		AllowedSources: t.Spec.AllowedSources, AllowedPaths: t.Spec.AllowedPaths, object: t,
	}, true
}

// kindOf returns the kind of a token. Its record says so even if its APIToken cannot be read.
func kindOf(r *record.Record) tokensv1alpha1.CredentialType {
	switch {
	case r.Portal:
		return tokensv1alpha1.CredentialPortal
	case r.Imported:
		return tokensv1alpha1.CredentialImported
	default:
		return tokensv1alpha1.CredentialGenerated
	}
}

// state returns the state of a token that does not authenticate for a reason, or that authenticates if reason is empty. The
// portal may not read personal access tokens: the controller says in a condition that one is missing, or is
// another user's.
func (s *Service) state(t *tokensv1alpha1.APIToken, reason authn.Reason) State {
	state, known := states[reason]
	switch {
	case !known:
		return Damaged
	case state != Active:
		return state
	case s.Index.Unlicensed(authn.SiteName{Namespace: t.SiteNamespace(), Name: t.Spec.SiteRef.Name}) != "":
		return Unlicensed
	case readyReason(t) == string(authn.ReasonOwnerChanged):
		return OwnerChanged
	case readyReason(t) == tokensv1alpha1.ReasonIdentityNotRepresentable:
		return Damaged
	case readyReason(t) == tokensv1alpha1.ReasonUpstreamCredentialMissing:
		return StateNotEnrolled
	}
	return Active
}

// List returns the caller's own tokens, newest first.
func (s *Service) List(c *Caller) []Token { return s.views(s.own(c)) }

// Get returns one of the caller's own tokens.
func (s *Service) Get(c *Caller, id string) (Token, error) { return withID(s.List(c), id) }

// withID finds a token by id. The error is the same for unknown ids and for ids of other users.
func withID(tokens []Token, id string) (Token, error) {
	i := slices.IndexFunc(tokens, func(t Token) bool { return t.ID == id })
	if i < 0 || !token.ValidID(id) {
		return Token{}, errNotYours
	}
	return tokens[i], nil
}

var errNotYours error = problem(NotFound, "You have no API token with this id.")

// views returns the finished tokens among the APITokens, newest first.
func (s *Service) views(objects []*tokensv1alpha1.APIToken) []Token {
	tokens := make([]Token, 0, len(objects))
	for _, object := range objects {
		if t, ok := s.view(object); ok {
			tokens = append(tokens, t)
		}
	}
	slices.SortFunc(tokens, func(a, b Token) int { return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.ID, b.ID)) })
	return tokens
}

// get returns an APIToken that the index knows, by name and UID.
func (s *Service) get(name authn.APITokenName) (*tokensv1alpha1.APIToken, error) {
	t := s.Objects.APIToken(types.NamespacedName{Namespace: name.Namespace, Name: name.Name})
	if t == nil || string(t.UID) != name.UID {
		return nil, errJustChanged
	}
	return t, nil
}

var errJustChanged error = problem(Unavailable, "This API token is being created or changed right now. Try again in a moment.")

// readyReason returns the reason of an APIToken's Ready condition.
func readyReason(t *tokensv1alpha1.APIToken) string {
	if c := apimeta.FindStatusCondition(t.Status.Conditions, tokensv1alpha1.ConditionReady); c != nil {
		return c.Reason
	}
	return ""
}
