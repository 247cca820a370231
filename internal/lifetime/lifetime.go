// Package lifetime says until when a secret of a token authenticates. The controller shows it, the gateway decides by it,
// and both ask here.
package lifetime

import (
	"time"

	"apitokens.dev/operator/internal/record"
)

// Requested is the lifetime that an APIToken asks for. At most one of its fields is set.
type Requested struct {
	// Days is how long each secret lives after it was issued. 0 is not set.
	Days int32
	// Until is when the token ends.
	Until time.Time
}

// Policy is what a site sets.
type Policy struct {
	// DefaultDays counts for tokens that ask for nothing. MaxDays limits every secret. 0 is not set.
	DefaultDays, MaxDays int32
	// IssuedAfter is the revocation epoch: secrets that were issued before it are dead.
	IssuedAfter time.Time
}

// Validity says whether a secret authenticates, and why not.
type Validity int

const (
	// Valid means that it authenticates.
	Valid Validity = iota
	// Expired means that it reached its end.
	Expired
	// Replaced means that a rotation replaced it, and the overlap is over.
	Replaced
	// Revoked means that it was issued before the revocation epoch.
	Revoked
)

// End returns the first moment at which a secret issued at `issued` does not authenticate. Zero means never.
func End(r Requested, p Policy, issued time.Time) time.Time {
	end := r.Until
	days := r.Days
	if end.IsZero() && days == 0 {
		days = p.DefaultDays
	}
	for _, d := range [...]int32{days, p.MaxDays} {
		if d > 0 {
			end = earlier(end, After(issued, d))
		}
	}
	return end
}

// ValidityOf returns the validity of a secret at the moment now.
func ValidityOf(e *record.Entry, r Requested, p Policy, now time.Time) Validity {
	switch end := End(r, p, e.Issued); {
	case e.Issued.Before(p.IssuedAfter):
		return Revoked
	case !end.IsZero() && !now.Before(end):
		return Expired
	case e.State == record.Ending && !now.Before(e.Ends):
		return Replaced
	}
	return Valid
}

// After returns the moment so many days of 24 hours after t.
func After(t time.Time, days int32) time.Time { return t.Add(time.Duration(days) * 24 * time.Hour) }

// earlier returns the earlier of two moments. A zero a means never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}
