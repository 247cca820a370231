package apitoken_test

import (
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/record"
)

// rules are the present terms of the APIToken and its site, read by other code than that of decide and lifetime.
type rules struct {
	now  time.Time
	spec tokensv1alpha1.APITokenSpec
	// site is nil if there is none.
	site       *tokensv1alpha1.AtlassianSite
	open, full bool
	// replaced means that a followed Secret changed. final means that the operator makes no secret in place of this one.
	replaced, final bool
	// pending means that the portal is making it. cutOff means that its time for that is over.
	pending, cutOff bool
	// otherOwner means that the product knows another user by the name than the one whose token it is.
	otherOwner bool
	// unnamed is the reason why the token does not act with the personal access token although that is held: nobody knows whose it is, or
	// its owner has another name. It is empty if it acts, or there is none.
	unnamed string
}

func (s *scene) rules() rules {
	r := rules{
		now: s.clock.Now(), spec: s.token.Spec, full: s.limits == limitsOneToken,
		open: slices.Contains([]byte{siteHere, siteOpen, siteSelects}, s.remote),
	}
	if s.parent == 1 && s.ofPortal() {
		r.open = s.remote == siteOpen
	}
	if t := s.current(); t != nil {
		r.spec = t.Spec
	}
	if s.kind == kindFollowed {
		held, source := s.ourRecord(s.stored(s.recordKey)), s.source()
		r.replaced = held != nil && len(source) > 0 && held.Verify(source) < 0
	}
	stored := s.stored(s.recordKey)
	r.pending, r.cutOff = s.kind == kindPending && stored == nil, s.clock.Since(s.start) >= 10*time.Minute
	r.final = s.kind != kindGenerated && !r.replaced
	r.unnamed = s.unnamed(s.ourRecord(stored))
	if held := s.ourRecord(stored); held != nil && held.UserKey != "" && s.knownPAT() {
		r.otherOwner = held.UserKey != keyOfToday
	}
	var site tokensv1alpha1.AtlassianSite
	switch err := s.store.Get(s.Context(), s.siteKey, &site); {
	case err == nil:
		r.site = &site
		if earlier := s.start.Add(-30 * time.Minute); s.epoch == epochOfEarlierSite && site.Spec.IssuedAfter.Time.Before(earlier) {
			site.Spec.IssuedAfter.Time = earlier
		}
	case !apierrors.IsNotFound(err):
		s.Fatal(err)
	}
	return r
}

// knownPAT reports whether a personal access token with a user key is held. White space in its Secret does not matter.
func (s *scene) knownPAT() bool {
	return s.owner != ownerUnknown && (s.credential == 0 || s.credential == 3)
}

// unnamed is that of rules, by the record. A token without an owner gets that of the personal access token only if the product named the
// user of the APIToken after it was created.
func (s *scene) unnamed(r *record.Record) string {
	switch {
	case !s.knownPAT(), r != nil && r.UserKey != "", s.named == namedUser:
		return ""
	case s.named == namedOtherwise:
		return tokensv1alpha1.ReasonOwnerChanged
	}
	return tokensv1alpha1.ReasonIssuePending
}

// basis is the delivered secret, or else the newest one.
func (s *scene) basis(r *record.Record) *record.Entry {
	if r == nil {
		return nil
	}
	newest := r.Entries[len(r.Entries)-1]
	if s.kind != kindGenerated {
		return &newest
	}
	if e := holds(s.stored(s.deliverKey), r); e != nil {
		return e
	}
	if s.stored(s.deliverKey) == nil && !slices.ContainsFunc(r.Entries, func(e record.Entry) bool { return e.State != record.Candidate }) {
		newest.Issued = s.clock.Now() // nobody ever had one: its lifetime has not begun
	}
	return &newest
}

// bounds are the moments at which a secret issued at this time ends.
func (r rules) bounds(issued time.Time) (bounds []time.Time) {
	add := func(days *int32) {
		if days != nil {
			bounds = append(bounds, issued.Add(time.Duration(*days)*day))
		}
	}
	policy := r.site.Spec.TokenPolicy
	switch {
	case !r.spec.ExpirationTime.IsZero():
		bounds = append(bounds, r.spec.ExpirationTime.Time)
	case r.spec.LifetimeDays != nil:
		add(r.spec.LifetimeDays)
	default:
		add(policy.DefaultLifetimeDays)
	}
	add(policy.MaxLifetimeDays)
	return bounds
}

func (r rules) expiredFor(e record.Entry, long time.Duration) bool {
	return slices.ContainsFunc(r.bounds(e.Issued), func(bound time.Time) bool { return !r.now.Before(bound.Add(long)) })
}

// over reports whether no secret of the token authenticates.
func (r rules) over() bool {
	return !r.spec.ExpirationTime.IsZero() && !r.now.Before(r.spec.ExpirationTime.Time)
}

func (r rules) revoked(e record.Entry) bool { return e.Issued.Before(r.site.Spec.IssuedAfter.Time) }

func (r rules) dead(e record.Entry) bool {
	return r.expiredFor(e, 0) || r.revoked(e) || e.State == record.Ending && !r.now.Before(e.Ends)
}

// due reports whether a rotation is due.
func (r rules) due(e record.Entry) bool {
	rotation := r.spec.Rotation
	asked := rotation.RequestedTime.Time
	return e.Issued.Before(asked) && !r.now.Before(asked) ||
		rotation.IntervalDays != nil && r.now.Sub(e.Issued) >= time.Duration(*rotation.IntervalDays)*day
}

// replaces reports whether the delivered secret is to be replaced, if that is allowed.
func (r rules) replaces(e *record.Entry) bool {
	return e != nil && (r.due(*e) || r.revoked(*e) || e.State == record.Ending)
}

// expired reports whether the token ended, and no rotation is due or can help.
func (r rules) expired(basis *record.Entry) bool {
	return r.over() || basis != nil && r.expiredFor(*basis, 0) && !r.due(*basis) && !r.replaced
}

func (r rules) removes(basis *record.Entry) bool {
	if r.pending {
		return r.cutOff
	}
	if r.site == nil || !r.open || !r.expired(basis) || r.site.Spec.TokenPolicy.ExpiredRetentionDays == nil {
		return false
	}
	long := time.Duration(*r.site.Spec.TokenPolicy.ExpiredRetentionDays) * day
	if basis == nil {
		return !r.now.Before(r.spec.ExpirationTime.Add(long))
	}
	return r.expiredFor(*basis, long)
}

// forbids is the reason why no secret may be made now, or empty. The first two, and those of the state of the APIToken,
// also keep a secret from authenticating.
func (r rules) forbids(basis *record.Entry) string {
	switch {
	case r.site == nil:
		return tokensv1alpha1.ReasonSiteNotFound
	case !r.open:
		return tokensv1alpha1.ReasonNamespaceNotAllowed
	case r.expired(basis):
		return tokensv1alpha1.ReasonExpired
	case r.spec.State == tokensv1alpha1.StateSuspended:
		return tokensv1alpha1.ReasonSuspended
	case slices.ContainsFunc(r.site.Spec.BlockedUsers, func(u tokensv1alpha1.BlockedUser) bool { return u.Name == folded(r.spec.User) }):
		return tokensv1alpha1.ReasonUserBlocked
	case r.otherOwner:
		return tokensv1alpha1.ReasonOwnerChanged
	case r.final && basis != nil && r.revoked(*basis):
		return tokensv1alpha1.ReasonRevokedByEpoch
	case r.now.Before(r.site.Spec.IssuedAfter.Time):
		return tokensv1alpha1.ReasonEpochPending
	}
	policy := r.site.Spec.TokenPolicy
	tooLong := policy.MaxLifetimeDays != nil &&
		(ptr.Deref(r.spec.LifetimeDays, 0) > *policy.MaxLifetimeDays || r.spec.ExpirationTime.Sub(r.now) > time.Duration(*policy.MaxLifetimeDays)*day)
	forever := policy.NeverExpiring == tokensv1alpha1.NeverExpiringForbidden && len(r.bounds(r.now)) == 0
	if tooLong || forever || basis == nil && r.full {
		return tokensv1alpha1.ReasonPolicyViolation
	}
	return ""
}

// silences are the reasons of forbids for which a delivered secret does not authenticate either.
var silences = []string{
	tokensv1alpha1.ReasonSiteNotFound, tokensv1alpha1.ReasonNamespaceNotAllowed, tokensv1alpha1.ReasonExpired, tokensv1alpha1.ReasonSuspended,
	tokensv1alpha1.ReasonUserBlocked, tokensv1alpha1.ReasonOwnerChanged,
}
