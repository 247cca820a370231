// Package terms reads the terms under which tokens live from APITokens and AtlassianSites, so that the controller that
// tells people, the webhook that decides and the portal that issues understand them alike.
package terms

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/lifetime"
)

// Wish is how long an APIToken asks to live.
func Wish(t *tokensv1alpha1.APIToken) lifetime.Wish {
	return lifetime.Wish{Days: ptr.Deref(t.Spec.LifetimeDays, 0), Until: t.Spec.ExpirationTime.Time}
}

// Policy is how long a site lets its tokens live.
func Policy(s *tokensv1alpha1.AtlassianSite) lifetime.Policy {
	p := s.Spec.TokenPolicy
	return lifetime.Policy{
		DefaultDays: ptr.Deref(p.DefaultLifetimeDays, 0), MaxDays: ptr.Deref(p.MaxLifetimeDays, 0), IssuedAfter: s.Spec.IssuedAfter.Time,
	}
}

// Violation is a rule of a site that a secret to be issued would break.
type Violation int

const (
	// None means that it breaks none.
	None Violation = iota
	// LifetimeTooLong means that it is to live for more days than the site allows.
	LifetimeTooLong
	// ExpirationTooLate means that it is to end later than the site allows.
	ExpirationTooLate
	// NeverExpires means that it is not to end, and has to.
	NeverExpires
)

// Violates says which rule a secret would break that is issued now.
func Violates(t *tokensv1alpha1.APIToken, s *tokensv1alpha1.AtlassianSite, now time.Time) Violation {
	wish, policy, never := Wish(t), Policy(s), s.Spec.TokenPolicy.NeverExpiring
	most := policy.MaxDays
	switch {
	case most != 0 && wish.Days > most:
		return LifetimeTooLong
	case most != 0 && !wish.Until.IsZero() && wish.Until.After(lifetime.After(now, most)):
		return ExpirationTooLate
	case never != "" && never != tokensv1alpha1.NeverExpiringAllowed && lifetime.End(wish, policy, now).IsZero():
		return NeverExpires
	}
	return None
}

// OtherNamespaces says by its labels whether a namespace beside the site's own may refer to it.
// A selector that cannot be read selects none.
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
