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

// end returns when the token ends. Zero means never, as far as is known.
func (s state) end() time.Time {
	if s.record == nil || s.undelivered() {
		return s.token.Spec.ExpirationTime.Time
	}
	return lifetime.End(terms.Requested(s.token), terms.Policy(s.site), s.current().Issued)
}

// undelivered reports whether no secret of the record was ever delivered. The lifetime then begins with the next attempt.
func (s state) undelivered() bool {
	delivers := s.source == nil && !s.ofPortal()
	return delivers && s.delivered == nil && !slices.ContainsFunc(s.record.Entries, func(e record.Entry) bool { return e.State != record.Candidate })
}

// nextRotation returns when the delivered secret is to be replaced. Zero means never.
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

// rotationDue reports whether a rotation is due. An expired secret is rotated too.
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
		removal := s.removal(end, *days)
		switch {
		case s.now.Before(removal):
			kept = fmt.Sprintf(" The APIToken is removed at %s.", inUTC(removal))
		case s.refusal(remove) != "":
			kept = " The APIToken cannot be removed: " + s.refusal(remove)
		default:
			return &decision{step: remove}
		}
	}
	return block(tokensv1alpha1.ReasonExpired,
		"The token expired at %s. To go on using it, %s; else delete it.%s", inUTC(end), s.howToExtend("set `rotation.requestedTime`"), kept)
}

// removal returns when a token that ended is removed. A change of the site's limits that ended it, perhaps a mistake, leaves at
// least a day to take it back.
func (s state) removal(end time.Time, days int32) time.Time {
	if s.limitsSince.After(end) {
		return lifetime.After(s.limitsSince, max(days, 1))
	}
	return lifetime.After(end, days)
}

// howToExtend says how to use the token for longer. It names rotation only where that helps: not for an imported secret, and
// not at `expirationTime`.
func (s state) howToExtend(rotate string) string {
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

// isFresh rotates the delivered secret when a rotation is due or the secret is dead. A secret that is only due stays valid
// as long as nothing may be issued.
func isFresh(s state) *decision {
	e := s.current()
	if e.State == record.Candidate {
		return nil // confirm it first: it may be in use, and then gets its overlap
	}
	must := s.validity(e) != lifetime.Valid || e.State == record.Ending
	if !must && !s.rotationDue() {
		return nil
	}
	blocked := mintRefusal(s)
	if _, room := withCandidate(s, record.Entry{}); blocked == nil && !room {
		blocked = block(tokensv1alpha1.ReasonIssuePending,
			"Secret '%s' is to get a new secret of the token, as soon as earlier rotations have come to their end.", s.secretName())
	}
	if blocked == nil {
		blocked = s.attempt(rotate)
	}
	if blocked.step == rotate || must {
		return blocked
	}
	return nil // postponedRotation adds it to the message
}

// postponedRotation returns a note that a rotation is due and cannot be made, or nothing.
func postponedRotation(s state) string {
	switch blocked := mintRefusal(s); {
	case !s.rotationDue():
		return ""
	case blocked != nil:
		return " A rotation is due, and cannot be made: " + blocked.message
	case s.refusal(rotate) != "":
		return " A rotation is due, and cannot be made: " + s.refusal(rotate)
	default:
		return " A rotation is due; it is made as soon as an earlier one has come to its end."
	}
}

// expiring returns the Expiring condition, or nil for a token without an end. The notices are the times before the end at
// which to warn, the longest first. Each changes the message, so that each sends an Event.
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
	if !next.IsZero() && next.Before(end) && mintRefusal(s) == nil && s.refusal(rotate) == "" {
		c.Message = fmt.Sprintf("The delivered secret expires at %s; it is rotated before.", inUTC(end))
		return c
	}
	for _, notice := range notices {
		if end.Sub(s.now) <= notice {
			c.Status, c.Reason = metav1.ConditionTrue, tokensv1alpha1.ReasonExpiresSoon
			c.Message = fmt.Sprintf("The token expires at %s, within %s. To go on using it, %s.", inUTC(end), inDays(notice), s.howToExtend("have it rotated"))
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

// replacedSecret says whether the secret before a rotation still authenticates.
func (s state) replacedSecret() string {
	if note := s.overlapNote(); note != "" {
		return note
	}
	return "The one before it is dead."
}

// overlapNote says until when the secret before a rotation authenticates. It is empty if it does not.
func (s state) overlapNote() string {
	if s.site == nil {
		return "" // nothing authenticates without it
	}
	var last time.Time
	n := 0
	for _, e := range s.record.Entries {
		if e.State != record.Ending || s.validity(e) != lifetime.Valid {
			continue
		}
		n++
		ends := e.Ends
		if end := lifetime.End(terms.Requested(s.token), terms.Policy(s.site), e.Issued); !end.IsZero() && end.Before(ends) {
			ends = end
		}
		if ends.After(last) {
			last = ends
		}
	}
	switch n {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf("The one before it authenticates until %s.", inUTC(last))
	}
	return fmt.Sprintf("%d older ones authenticate, the last until %s.", n, inUTC(last))
}

func inUTC(t time.Time) string { return t.UTC().Format(time.RFC3339) }
