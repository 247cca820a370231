package lifetime_test

import (
	"testing"
	"time"

	"apitokens.dev/operator/internal/lifetime"
	"apitokens.dev/operator/internal/record"
)

var issued = time.Date(2026, 11, 23, 10, 0, 0, 1, time.UTC)

func days(n int) time.Time { return issued.Add(time.Duration(n) * 24 * time.Hour) }

func TestEnd(t *testing.T) {
	for name, tc := range map[string]struct {
		requested lifetime.Requested
		policy    lifetime.Policy
		want      time.Time
	}{
		"nothing is set":                           {},
		"the token sets days":                      {requested: lifetime.Requested{Days: 30}, want: days(30)},
		"the token sets one day":                   {requested: lifetime.Requested{Days: 1}, want: days(1)},
		"the token sets an end":                    {requested: lifetime.Requested{Until: days(5)}, want: days(5)},
		"the site has a default":                   {policy: lifetime.Policy{DefaultDays: 90}, want: days(90)},
		"days of the token beat the default":       {requested: lifetime.Requested{Days: 100}, policy: lifetime.Policy{DefaultDays: 90}, want: days(100)},
		"an end of the token beats the default":    {requested: lifetime.Requested{Until: days(100)}, policy: lifetime.Policy{DefaultDays: 90}, want: days(100)},
		"the site has a maximum":                   {policy: lifetime.Policy{MaxDays: 365}, want: days(365)},
		"the default is below the maximum":         {policy: lifetime.Policy{DefaultDays: 90, MaxDays: 365}, want: days(90)},
		"the default has become too much":          {policy: lifetime.Policy{DefaultDays: 90, MaxDays: 60}, want: days(60)},
		"the token asks for more than the maximum": {requested: lifetime.Requested{Days: 400}, policy: lifetime.Policy{MaxDays: 365}, want: days(365)},
		"the token asks for less":                  {requested: lifetime.Requested{Days: 30}, policy: lifetime.Policy{MaxDays: 365}, want: days(30)},
		"the token sets an end beyond the maximum": {requested: lifetime.Requested{Until: days(400)}, policy: lifetime.Policy{MaxDays: 365}, want: days(365)},
		"the token sets an end before the maximum": {requested: lifetime.Requested{Until: days(-1)}, policy: lifetime.Policy{MaxDays: 365}, want: days(-1)},
	} {
		if got := lifetime.End(tc.requested, tc.policy, issued); !got.Equal(tc.want) {
			t.Errorf("%s: ends %v, want %v", name, got, tc.want)
		}
	}
}

// Each limit of time is tried a nanosecond before it, at it, and a nanosecond after it.
func TestBoundaries(t *testing.T) {
	limit := days(7)
	for name, tc := range map[string]struct {
		entry     record.Entry
		requested lifetime.Requested
		policy    lifetime.Policy
		then      lifetime.Validity
	}{
		"expirationTime":  {entry: record.Entry{Issued: issued}, requested: lifetime.Requested{Until: limit}, then: lifetime.Expired},
		"lifetimeDays":    {entry: record.Entry{Issued: issued}, requested: lifetime.Requested{Days: 7}, then: lifetime.Expired},
		"default":         {entry: record.Entry{Issued: issued}, policy: lifetime.Policy{DefaultDays: 7}, then: lifetime.Expired},
		"maximum":         {entry: record.Entry{Issued: issued}, policy: lifetime.Policy{MaxDays: 7}, then: lifetime.Expired},
		"overlap":         {entry: record.Entry{Issued: issued, State: record.Ending, Ends: limit}, then: lifetime.Replaced},
		"before overlap":  {entry: record.Entry{Issued: issued, State: record.Ending, Ends: limit.Add(time.Hour)}, requested: lifetime.Requested{Days: 7}, then: lifetime.Expired},
		"with overlap":    {entry: record.Entry{Issued: issued, State: record.Ending, Ends: limit}, requested: lifetime.Requested{Days: 7}, then: lifetime.Expired},
		"no limit at all": {entry: record.Entry{Issued: issued, State: record.Delivered}, then: lifetime.Valid},
	} {
		for _, at := range []time.Duration{-1, 0, 1} {
			want := tc.then
			if at < 0 {
				want = lifetime.Valid
			}
			if got := lifetime.ValidityOf(&tc.entry, tc.requested, tc.policy, limit.Add(at)); got != want {
				t.Errorf("%s, %d ns after: %d, want %d", name, at, got, want)
			}
		}
	}
}

// A secret issued exactly at the epoch is valid: the operator issues again at that moment.
func TestEpoch(t *testing.T) {
	for at, want := range map[time.Duration]lifetime.Validity{-1: lifetime.Valid, 0: lifetime.Valid, 1: lifetime.Revoked} {
		entry := record.Entry{Issued: issued, State: record.Ending, Ends: days(1)}
		if got := lifetime.ValidityOf(&entry, lifetime.Requested{Days: 1}, lifetime.Policy{IssuedAfter: issued.Add(at)}, issued); got != want {
			t.Errorf("epoch %d ns after the issue: %d, want %d", at, got, want)
		}
		// It stays the reason when other limits have passed too.
		if got := lifetime.ValidityOf(&entry, lifetime.Requested{Days: 1}, lifetime.Policy{IssuedAfter: issued.Add(1)}, days(2)); got != lifetime.Revoked {
			t.Errorf("expired and revoked: %d", got)
		}
	}
}
