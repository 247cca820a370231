package record

import (
	"slices"
	"time"
)

// Keep makes kept the entries that authenticate. The other entries are dead: from now on, or from their own end if that is
// earlier.
func (r *Record) Keep(kept []Entry, now time.Time) {
	for _, e := range r.Entries {
		if !slices.ContainsFunc(kept, func(k Entry) bool { return k.Hash == e.Hash }) {
			r.DeadEntries = append(r.DeadEntries, e.deadBy(now))
		}
	}
	r.Entries = kept
	r.Prune(now)
}

// deadBy returns the entry as one that does not authenticate any more.
func (e Entry) deadBy(end time.Time) Entry {
	e = e.EndingBy(end)
	e.State = Dead
	return e
}

// Prune forgets dead entries whose Retention is over, and the oldest of more than MaxDead. It reports whether there were
// any.
func (r *Record) Prune(now time.Time) bool {
	before := len(r.DeadEntries)
	slices.SortStableFunc(r.DeadEntries, func(a, b Entry) int { return a.Ends.Compare(b.Ends) })
	r.DeadEntries = slices.DeleteFunc(r.DeadEntries, func(e Entry) bool { return retentionOver(e.Ends, now) })
	r.DeadEntries = r.DeadEntries[max(0, len(r.DeadEntries)-MaxDead):]
	return len(r.DeadEntries) != before
}

// Kill marks the record of a deleted APIToken. Its secrets stay known, and authenticate nobody. The time of a record that is
// dead already stays.
func (r *Record) Kill(now time.Time) {
	if r.Dead.IsZero() {
		r.Dead = now
	}
}

// RetentionOver reports whether the record has been dead for Retention, so that it can be deleted.
func (r *Record) RetentionOver(now time.Time) bool {
	return !r.Dead.IsZero() && retentionOver(r.Dead, now)
}

func retentionOver(end, now time.Time) bool { return !now.Before(end.Add(Retention)) }

// LearnUserKey sets the owner's user key if it is not known yet. It reports whether the record changed: a token that belongs
// to a key never changes hands.
func (r *Record) LearnUserKey(key string) bool {
	if key == "" || r.UserKey != "" {
		return false
	}
	r.UserKey = key
	return true
}

// VerifyDead returns the index of the dead entry that text is the secret of, or -1. Like Verify, it tries every entry.
// It only says why a secret is refused.
func (r *Record) VerifyDead(text []byte) int { return Verify(r.DeadEntries, text) }
