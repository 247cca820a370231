// Package terms reads the terms under which tokens live from APITokens and AtlassianSites. The controller, the gateway and
// the portal share it, so that all three read them alike.
package terms

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/lifetime"
	"apitokens.dev/operator/internal/pathprefix"
	"apitokens.dev/operator/internal/siteurl"
	"apitokens.dev/operator/internal/username"
)

// Requested returns the lifetime that an APIToken asks for.
func Requested(t *tokensv1alpha1.APIToken) lifetime.Requested {
	return lifetime.Requested{Days: ptr.Deref(t.Spec.LifetimeDays, 0), Until: t.Spec.ExpirationTime.Time}
}

// Policy returns how long a site lets its tokens live.
func Policy(s *tokensv1alpha1.AtlassianSite) lifetime.Policy {
	p := s.Spec.TokenPolicy
	return lifetime.Policy{
		DefaultDays: ptr.Deref(p.DefaultLifetimeDays, 0), MaxDays: ptr.Deref(p.MaxLifetimeDays, 0), IssuedAfter: s.Spec.IssuedAfter.Time,
	}
}

// Violation is a rule of a site that a new secret would break.
type Violation int

const (
	// None means that it breaks no rule.
	None Violation = iota
	// LifetimeTooLong means that the token asks for more days than the site allows.
	LifetimeTooLong
	// ExpirationTooLate means that the token asks for a later end than the site allows.
	ExpirationTooLate
	// NeverExpires means that the token would have no end, and the site requires one.
	NeverExpires
)

// Violates returns the rule that a secret issued now would break.
func Violates(t *tokensv1alpha1.APIToken, s *tokensv1alpha1.AtlassianSite, now time.Time) Violation {
	requested, policy, never := Requested(t), Policy(s), s.Spec.TokenPolicy.NeverExpiring
	most := policy.MaxDays
	switch {
	case most != 0 && requested.Days > most:
		return LifetimeTooLong
	case most != 0 && !requested.Until.IsZero() && requested.Until.After(lifetime.After(now, most)):
		return ExpirationTooLate
	case never != "" && never != tokensv1alpha1.NeverExpiringAllowed && lifetime.End(requested, policy, now).IsZero():
		return NeverExpires
	}
	return None
}

// UnreachablePaths returns the entries of `allowedPaths` that match no path at which API tokens of the site can be used. These
// are the `tokenPaths` and the portal's REST API.
func UnreachablePaths(allowed []string, s *tokensv1alpha1.AtlassianSite) (unreachable []string) {
	usable := append(slices.Clone(s.Spec.TokenPaths), siteurl.APIPath)
	for _, path := range allowed {
		if !slices.ContainsFunc(usable, func(folder string) bool { return pathprefix.Covers(folder, path) || pathprefix.Covers(path, folder) }) {
			unreachable = append(unreachable, path)
		}
	}
	return unreachable
}

// BlockedUsers returns the folded names and the keys of the users that a site blocks.
func BlockedUsers(s *tokensv1alpha1.AtlassianSite) (names, keys []string) {
	for _, u := range s.Spec.BlockedUsers {
		if u.Name != "" {
			names = append(names, username.Fold(u.Name))
		}
		if u.Key != "" {
			keys = append(keys, u.Key)
		}
	}
	return names, keys
}

// Blocks reports whether a site blocks a user, by folded name or by key. The key is empty if it is not known.
func Blocks(s *tokensv1alpha1.AtlassianSite, name, key string) bool {
	names, keys := BlockedUsers(s)
	return slices.Contains(names, name) || key != "" && slices.Contains(keys, key)
}

// headerName matches what every server takes for the name of a header, and no alias of another one.
var headerName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]*$`)

// IdentityHeader returns the name of the header that hands over users of a site. It is empty if their personal access tokens do.
func IdentityHeader(s *tokensv1alpha1.AtlassianSite) (string, error) {
	h := s.Spec.Handoff
	switch name := cmp.Or(h.IdentityHeader.Name, tokensv1alpha1.DefaultIdentityHeader); h.Type {
	case "", tokensv1alpha1.HandoffPersonalAccessToken:
		return "", nil
	case tokensv1alpha1.HandoffIdentityHeader:
		if !headerName.MatchString(name) {
			return "", fmt.Errorf("reading `handoff.identityHeader.name`: %q is not the name of a header", name)
		}
		return name, nil
	default:
		return "", fmt.Errorf("reading `handoff.type`: unknown type %q", h.Type)
	}
}

// NeedsUpstreamCredentials reports whether users of a site need a personal access token to act at the product.
func NeedsUpstreamCredentials(s *tokensv1alpha1.AtlassianSite) bool {
	return s.Spec.Handoff.Type != tokensv1alpha1.HandoffIdentityHeader
}

// OtherNamespaces returns a function that says by its labels whether another namespace than the site's may refer to it.
// An unreadable selector selects none, and is an error.
func OtherNamespaces(s *tokensv1alpha1.AtlassianSite) (allows func(labels map[string]string) bool, err error) {
	none := func(map[string]string) bool { return false }
	switch a := s.Spec.AllowedNamespaces; a.From {
	case tokensv1alpha1.NamespacesFromAll:
		return func(map[string]string) bool { return true }, nil
	case tokensv1alpha1.NamespacesFromSelector:
		selector, err := metav1.LabelSelectorAsSelector(a.Selector)
		if err != nil {
			return none, fmt.Errorf("`allowedNamespaces.selector` cannot be read: %w", err)
		}
		return func(of map[string]string) bool { return selector.Matches(labels.Set(of)) }, nil
	default:
		return none, nil
	}
}
