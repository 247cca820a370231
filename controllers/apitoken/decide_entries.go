package apitoken

import (
	"slices"
	"time"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/lifetime"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/terms"
)

// current returns the delivered secret, or else the newest one.
func (s state) current() record.Entry {
	if s.delivered != nil && s.delivered.entry >= 0 {
		return s.record.Entries[s.delivered.entry]
	}
	return s.record.Entries[len(s.record.Entries)-1]
}

func (s state) validity(e record.Entry) lifetime.Validity {
	return lifetime.ValidityOf(&e, terms.Requested(s.token), terms.Policy(s.site), s.now)
}

// withCandidate returns the record's entries with another candidate, as they are stored before its delivery.
// ok is false while promised overlaps, and candidates whose delivery may be under way, leave no room.
func withCandidate(s state, fresh record.Entry) (entries []record.Entry, ok bool) {
	for i, e := range s.record.Entries {
		delivered := s.delivered != nil && i == s.delivered.entry
		switch {
		case delivered:
		case s.delivered == nil && e.State == record.Delivered:
			// A person who deletes the delivered Secret wants its token dead at once, without an overlap.
			e.State = record.Candidate
		case e.State == record.Ending && (s.delivered == nil || s.validity(e) != lifetime.Valid):
			continue
		}
		entries = append(entries, e)
	}
	if len(entries) == record.MaxEntries {
		stale := slices.IndexFunc(entries, func(e record.Entry) bool {
			return e.State == record.Candidate && s.now.Sub(e.Issued) >= candidateGrace
		})
		if stale < 0 {
			return nil, false
		}
		entries = slices.Delete(entries, stale, stale+1)
	}
	return append(entries, fresh), true
}

// withoutRefused returns the entries that the record must have after the API server refused to create the delivered Secret. The
// token in the earlier Secret is dead, as after a delivery. The newest candidate stays if there is no other one, because a
// record is never empty. Nobody ever gets it.
func withoutRefused(s state) []record.Entry {
	last := len(s.record.Entries) - 1
	entries := slices.DeleteFunc(slices.Clone(s.record.Entries[:last]), func(e record.Entry) bool {
		return e.State != record.Candidate || s.now.Sub(e.Issued) >= candidateGrace
	})
	if len(entries) == 0 {
		return s.record.Entries[last:]
	}
	return entries
}

// tidied returns the entries that the record must have after the delivered Secret was read back.
func tidied(s state) []record.Entry {
	// A candidate under way may still overwrite a secret that was delivered before. It cannot overwrite a candidate that
	// was delivered: both were to replace the same secret.
	settled := s.current().State == record.Delivered
	replaces := s.replaces()
	var entries []record.Entry
	for i, e := range s.record.Entries {
		switch {
		case i == s.delivered.entry:
			e.State, e.Ends = record.Delivered, time.Time{}
			entries = append(entries, e)
			continue
		case e.State == record.Candidate && (!settled || s.now.Sub(e.Issued) >= candidateGrace):
			continue
		case e.State == record.Delivered, e.State == record.Ending && replaces: // the overlap is for all older secrets
			e = e.EndingBy(s.now.Add(s.overlap()).UTC())
		}
		if s.validity(e) == lifetime.Valid {
			entries = append(entries, e)
		}
	}
	return entries
}

// replaces reports whether the delivered secret replaces another one that was delivered before.
func (s state) replaces() bool {
	for i, e := range s.record.Entries {
		if e.State == record.Delivered && i != s.delivered.entry {
			return true
		}
	}
	return false
}

func (s state) overlap() time.Duration {
	hours := int32(tokensv1alpha1.DefaultOverlapHours)
	if h := s.token.Spec.Rotation.OverlapHours; h != nil {
		hours = *h
	}
	return time.Duration(hours) * time.Hour
}
