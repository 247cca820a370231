package apitoken

import (
	"slices"
	"time"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/record"
)

// guard is the state of the admission policies.
type guard struct {
	// since is the API server's time from which on they admitted every APIToken and every change. It is zero while they are not
	// in force.
	since time.Time
	// reason and message say why they are not in force. They are empty while the policies are in force.
	reason, message string
}

func (g guard) inForce() bool { return g.reason == "" && !g.since.IsZero() }

// note says that a spec was seen while the admission policies were in force.
type note struct {
	// generation is that of the spec. since is the guard's, at that time.
	generation int64
	since      time.Time
}

// admissionGuarded: while the policies are not in force, anyone who may create APITokens could issue one for anybody.
func admissionGuarded(s state) *decision {
	if s.guard.reason == "" {
		return nil
	}
	return block(s.guard.reason, "%s", s.guard.message)
}

// declaredGuarded: without a record, only the time of creation says whether the policies admitted the APIToken.
func declaredGuarded(s state) *decision {
	created := s.token.CreationTimestamp.Time
	if s.record != nil || !created.Before(s.guard.since) {
		return nil
	}
	return block(tokensv1alpha1.ReasonDeclaredUnguarded,
		"This APIToken was declared at %s, and the admission policies are in force without a gap only since %s. "+
			"So anyone could have declared it, and nothing is issued for it. Delete it and create it again.", inUTC(created), inUTC(s.guard.since))
}

// isDeclaredGuarded stops a token whose spec was changed while the admission policies were not in force.
func isDeclaredGuarded(s state) *decision {
	switch {
	case s.record == nil:
		return nil
	case s.changedUnguarded():
		if s.refusal(stop) == "" && slices.ContainsFunc(s.record.Entries, func(e record.Entry) bool { return !s.hasEnded(e) }) {
			return &decision{step: stop}
		}
		return block(tokensv1alpha1.ReasonDeclaredUnguarded, "%s", s.stopped())
	case s.refusal(annotate) != "" || !s.guard.inForce() || s.isNoted():
		return nil
	}
	return &decision{step: annotate}
}

func (s state) stopped() string {
	message := "The spec of this APIToken was changed while the admission policies were not in force, so anyone could have changed it. "
	if refusal := s.refusal(stop); refusal != "" {
		return message + refusal
	}
	return message + "Its token is dead. Delete this APIToken and create it again."
}

// changedUnguarded reports whether the spec may have been changed while the policies were not in force. A record without a note
// was written for the first generation, or for one that the policies admitted.
func (s state) changedUnguarded() bool {
	generation := s.token.Generation
	if s.noted != nil {
		return generation != s.noted.generation && !s.noted.since.Equal(s.guard.since)
	}
	return generation > 1 && (!s.guard.inForce() || s.recorded.Before(s.guard.since))
}

// isNoted reports whether a later change can be told from one that the policies did not admit.
func (s state) isNoted() bool {
	if s.noted != nil {
		return s.token.Generation == s.noted.generation && s.noted.since.Equal(s.guard.since)
	}
	return s.token.Generation <= 1 && !s.recorded.Before(s.guard.since)
}

func (s state) hasEnded(e record.Entry) bool {
	return e.State == record.Ending && !s.now.Before(e.Ends)
}

// ended returns the record's entries, each ended by now.
func ended(s state) []record.Entry {
	entries := slices.Clone(s.record.Entries)
	for i, e := range entries {
		if !s.hasEnded(e) {
			entries[i].State, entries[i].Ends = record.Ending, s.now.UTC()
		}
	}
	return entries
}
