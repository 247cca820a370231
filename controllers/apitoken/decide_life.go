package apitoken

import (
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/lifetime"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/terms"
)

// end is when the token ends; zero means never, as far as is known.
func (s state) end() time.Time {
	if s.record == nil || s.undelivered() {
		return s.token.Spec.ExpirationTime.Time
	}
	return lifetime.End(terms.Requested(s.token), terms.Policy(s.site), s.current().Issued)
}

// undelivered says that the record knows only of secrets that were cut off on their way to a Secret that is not there.
// Nobody has had the use of a lifetime: the next attempt begins it anew.
func (s state) undelivered() bool {
	delivers := s.source == nil && !s.ofPortal()
	return delivers && s.delivered == nil && !slices.ContainsFunc(s.record.Entries, func(e record.Entry) bool { return e.State != record.Candidate })
}

// nextRotation is when the delivered secret is to be replaced; zero means never.
func (s state) nextRotation() time.Time {
	if s.record == nil {
		return time.Time{}
	}
	rotation, issued := s.token.Spec.Rotation, s.current().Issued
	var next time.Time
	if rotation.IntervalDays != nil {
		next = lifetime.After(issued, *rotation.IntervalDays)
	}
	if requested := rotation.RequestedTime.Time; requested.After(issued) && (next.IsZero() || requested.Before(next)) {
		next = requested
	}
	return next
}

// rotationDue: also of a secret that expired, for a new one is what was asked for.
func (s state) rotationDue() bool {
	next := s.nextRotation()
	return !next.IsZero() && !s.now.Before(next)
}

func hasNotEnded(s state) *decision {
	end := s.end()
	if end.IsZero() || s.now.Before(end) {
		return nil
	}
	until := s.token.Spec.ExpirationTime.Time
	if over := !until.IsZero() && !s.now.Before(until); !over && (s.rotationDue() || s.sourceChanged()) {
		return nil
	}
	kept := ""
	if days := s.site.Spec.TokenPolicy.ExpiredRetentionDays; days != nil {
		removal := lifetime.After(end, *days)
		if !s.now.Before(removal) {
			return &decision{step: remove}
		}
		kept = fmt.Sprintf(" The APIToken is removed at %s.", inUTC(removal))
	}
	return block(tokensv1alpha1.ReasonExpired,
		"The token expired at %s. To go on using it, %s; else delete it.%s", inUTC(end), s.longer("set `rotation.requestedTime`"), kept)
}

// longer says how to have a token for longer than it lasts. To rotate is of no use to an imported secret, or at an end that
// the APIToken itself has.
func (s state) longer(rotate string) string {
	until := s.token.Spec.ExpirationTime.Time
	how := "set a longer `lifetimeDays`"
	if !until.IsZero() {
		how = "choose a later `expirationTime`"
	}
	how += fmt.Sprintf(" within the `tokenPolicy` of AtlassianSite '%s'", s.site.Name)
	if s.source != nil || !until.IsZero() && !s.end().Before(until) {
		return how
	}
	if s.ofPortal() {
		rotate = "have its owner rotate it"
	}
	return how + ", or " + rotate
}

func isActive(s state) *decision {
	if state := s.token.Spec.State; state == "" || state == tokensv1alpha1.StateActive {
		return nil
	}
	return block(tokensv1alpha1.ReasonSuspended,
		"The token is suspended and does not authenticate. To change that, set `state` to '%s'.", tokensv1alpha1.StateActive)
}

// isFresh has the delivered secret replaced when its time has come. What is dead already has to be replaced; what is
// only due goes on as long as nothing new may be issued.
func isFresh(s state) *decision {
	e := s.current()
	if e.State == record.Candidate {
		return nil // confirmed first: it may be in use, and is to have its overlap
	}
	must := s.standing(e) != lifetime.Valid || e.State == record.Ending
	if !must && !s.rotationDue() {
		return nil
	}
	blocked := mayMint(s)
	if _, room := withCandidate(s, record.Entry{}); blocked == nil && !room {
		blocked = block(tokensv1alpha1.ReasonIssuePending,
			"Secret '%s' is to get a new secret of the token, as soon as earlier rotations have come to their end.", s.secretName())
	}
	switch {
	case blocked == nil:
		return &decision{step: rotate}
	case must:
		return blocked
	default:
		return nil // postponed says so
	}
}

// postponed says that a rotation is due and cannot be made.
func postponed(s state) string {
	switch blocked := mayMint(s); {
	case !s.rotationDue():
		return ""
	case blocked != nil:
		return " A rotation is due, and cannot be made: " + blocked.message
	default:
		return " A rotation is due; it is made as soon as an earlier one has come to its end."
	}
}

// expiring is the condition of that name, or nil where there is nothing to notify of. Each of the notices, the longest
// first, is how long before the end it is given: each changes the message.
func (s state) expiring(notices []time.Duration) *metav1.Condition {
	if s.site == nil || s.record == nil {
		return nil
	}
	end, next := s.end(), s.nextRotation()
	if end.IsZero() || !s.now.Before(end) {
		return nil
	}
	c := &metav1.Condition{
		Type: tokensv1alpha1.ConditionExpiring, Status: metav1.ConditionFalse, Reason: tokensv1alpha1.ReasonExpiresLater,
		Message: fmt.Sprintf("The token expires at %s.", inUTC(end)),
	}
	if !next.IsZero() && next.Before(end) && mayMint(s) == nil {
		c.Message = fmt.Sprintf("The delivered secret expires at %s; it is rotated before.", inUTC(end))
		return c
	}
	for _, notice := range notices {
		if end.Sub(s.now) <= notice {
			c.Status, c.Reason = metav1.ConditionTrue, tokensv1alpha1.ReasonExpiresSoon
			c.Message = fmt.Sprintf("The token expires at %s, within %s. To go on using it, %s.", inUTC(end), inDays(notice), s.longer("have it rotated"))
		}
	}
	return c
}

func inDays(d time.Duration) string {
	if d == 24*time.Hour {
		return "a day"
	}
	return fmt.Sprintf("%d days", d/(24*time.Hour))
}

// replaced says what becomes of the secret that a rotation replaced.
func (s state) replaced() string {
	if note := s.overlapping(); note != "" {
		return note
	}
	return "The one before it is dead."
}

// overlapping says until when a secret that a rotation replaced goes on, or nothing if none does.
func (s state) overlapping() string {
	var last time.Time
	for _, e := range s.record.Entries {
		if e.Ends.After(last) {
			last = e.Ends
		}
	}
	if last.IsZero() {
		return ""
	}
	return fmt.Sprintf("The one before it authenticates until %s.", inUTC(last))
}

func inUTC(t time.Time) string { return t.UTC().Format(time.RFC3339) }
