// Package lifetime says until when a secret of a token authenticates. The controller that tells people and the webhook
// that decides both ask here.
package lifetime

import (
	"time"

	"apitokens.dev/operator/internal/record"
)

// Wish is what an APIToken asks for. At most one of its fields is set.
type Wish struct {
	// Days is how long each secret is to live, from when it was issued.
	Days int32
	// Until is when the token is to end.
	Until time.Time
}

// Policy is what a site lays down.
type Policy struct {
	// DefaultDays is for tokens that ask for nothing; MaxDays ends every secret. 0 is none.
	DefaultDays, MaxDays int32
	// IssuedAfter is the revocation epoch: what was issued before it is dead.
	IssuedAfter time.Time
}

// Standing says whether a secret authenticates, and why not.
type Standing int

const (
	// Valid means that it does.
	Valid Standing = iota
	// Expired means that it reached its end.
	Expired
	// Replaced means that a rotation replaced it, and the overlap is over.
	Replaced
	// Revoked means that it was issued before the revocation epoch.
	Revoked
)

// End returns the first moment at which a secret that was issued then authenticates no longer; zero means never.
func End(w Wish, p Policy, issued time.Time) time.Time {
	end := w.Until
	days := w.Days
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

// Of says how a secret stands at a moment.
func Of(e *record.Entry, w Wish, p Policy, now time.Time) Standing {
	switch end := End(w, p, e.Issued); {
	case e.Issued.Before(p.IssuedAfter):
		return Revoked
	case !end.IsZero() && !now.Before(end):
		return Expired
	case e.State == record.Ending && !now.Before(e.Ends):
		return Replaced
	}
	return Valid
}

// After is so many days of 24 hours later.
func After(t time.Time, days int32) time.Time { return t.Add(time.Duration(days) * 24 * time.Hour) }

// earlier takes a zero a for never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}
