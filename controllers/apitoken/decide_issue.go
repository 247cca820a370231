package apitoken

import (
	"strings"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/terms"
	"apitokens.dev/operator/internal/username"
)

// rules are the conditions for issuing a secret now. Secrets that were issued before stay valid, within the limits of package
// lifetime.
var rules = []func(state) *decision{
	admissionGuarded,
	declaredGuarded,
	userNotBlocked,
	ownerIsTheSame,
	epochHasCome,
	lifetimeAllowed,
	pathsReachable,
	withinQuota,
}

// mintRefusal returns why no secret may be issued now, or nil.
func mintRefusal(s state) *decision {
	for _, rule := range rules {
		if d := rule(s); d != nil {
			return d
		}
	}
	return nil
}

// epochHasCome: a secret that is issued before the epoch would never authenticate.
func epochHasCome(s state) *decision {
	epoch := s.site.Spec.IssuedAfter.Time
	if !s.now.Before(epoch) {
		return nil
	}
	return block(tokensv1alpha1.ReasonEpochPending,
		"AtlassianSite '%s' has `issuedAfter` in the future: until %s no token of it authenticates, and none is issued.%s",
		s.site.Name, inUTC(epoch), s.inheritance())
}

// inheritance says that the site itself does not have this epoch in its spec, or nothing.
func (s state) inheritance() string {
	if !s.inherited {
		return ""
	}
	return " An earlier site of this name had this epoch."
}

func lifetimeAllowed(s state) *decision {
	most := terms.Policy(s.site).MaxDays
	switch terms.Violates(s.token, s.site, s.now) {
	case terms.LifetimeTooLong:
		return block(tokensv1alpha1.ReasonPolicyViolation,
			"`lifetimeDays` is %d, but AtlassianSite '%s' allows at most %d (`tokenPolicy.maxLifetimeDays`). Lower it.",
			terms.Requested(s.token).Days, s.site.Name, most)
	case terms.ExpirationTooLate:
		return block(tokensv1alpha1.ReasonPolicyViolation,
			"`expirationTime` is more than the %d days away that AtlassianSite '%s' allows (`tokenPolicy.maxLifetimeDays`). Choose an earlier one.",
			most, s.site.Name)
	case terms.NeverExpires:
		return block(tokensv1alpha1.ReasonPolicyViolation,
			"The token would never expire, which AtlassianSite '%s' forbids (`tokenPolicy.neverExpiring`). Set `lifetimeDays` or `expirationTime`.", s.site.Name)
	}
	return nil
}

// isReachable refuses an issued token if no request with it can pass the gateway, because `tokenPaths` changed.
func isReachable(s state) *decision {
	if len(terms.UnreachablePaths(s.token.Spec.AllowedPaths, s.site)) < len(s.token.Spec.AllowedPaths) {
		return nil
	}
	return pathsReachable(s)
}

// pathsReachable: no request can match one of the `allowedPaths` that lies outside the `tokenPaths`.
func pathsReachable(s state) *decision {
	unreachable := terms.UnreachablePaths(s.token.Spec.AllowedPaths, s.site)
	if len(unreachable) == 0 {
		return nil
	}
	return block(tokensv1alpha1.ReasonPolicyViolation,
		"`allowedPaths` has '%s', but API tokens of AtlassianSite '%s' can be used only at or below %s (`tokenPaths`). "+
			"Choose a path there, or have `tokenPaths` changed.",
		unreachable[0], s.site.Name, strings.Join(s.site.Spec.TokenPaths, ", "))
}

// withinQuota counts only older APITokens, so that the order of reconciling does not matter.
func withinQuota(s state) *decision {
	most := s.site.Spec.TokenPolicy.MaxTokensPerUser
	if s.record != nil || most == nil || s.older < int(*most) {
		return nil
	}
	return block(tokensv1alpha1.ReasonPolicyViolation,
		"`tokenPolicy.maxTokensPerUser` of AtlassianSite '%s' is %d, and '%s' has that many older APITokens already. Delete one of them, or this one.",
		s.site.Name, *most, username.Fold(s.token.Spec.User))
}
