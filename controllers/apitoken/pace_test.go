package apitoken

import (
	"testing"
	"time"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

// Delivered Secrets are read every minute, and at most 20 in a second.
func TestRecheckAfter(t *testing.T) {
	for tokens, want := range map[int]time.Duration{
		0: time.Minute, 1200: time.Minute, 1220: 61 * time.Second, 20_000: 1000 * time.Second,
	} {
		got := recheckAfter(tokens)
		if got != want {
			t.Errorf("%d APITokens: every %s, want %s", tokens, got, want)
		}
		for _, random := range []float64{0, 0.5, 0.999} {
			if after := spread(got, random); after > want || after < time.Minute || after < want*4/5 {
				t.Errorf("%d APITokens: after %s", tokens, after)
			}
		}
	}
	if spread(1000*time.Second, 0) == spread(1000*time.Second, 0.5) {
		t.Error("passes stay together")
	}
}

// With many APITokens too, a pass that left something to do is followed by another one within a minute.
func TestUnfinishedIsLookedAtEveryMinute(t *testing.T) {
	pending := *block(tokensv1alpha1.ReasonIssuePending, "x")
	for name, tc := range map[string]struct {
		change func(*outcome)
		want   time.Duration
	}{
		"settled":              {func(*outcome) {}, time.Hour},
		"suspended":            {func(o *outcome) { o.decision = *block(tokensv1alpha1.ReasonSuspended, "x") }, time.Hour},
		"pending":              {func(o *outcome) { o.decision = pending }, time.Minute},
		"refused":              {func(o *outcome) { o.state.refused = map[step]string{rotate: "x"} }, time.Minute},
		"issued just now":      {func(o *outcome) { o.state.record.Entries[0].Issued = now.Add(-freshness + 1) }, time.Minute},
		"issued a while since": {func(o *outcome) { o.state.record.Entries[0].Issued = now.Add(-freshness) }, time.Hour},
	} {
		o := outcome{state: ready(), decision: decision{step: settled}}
		tc.change(&o)
		if got := o.wakeAfter(time.Hour); got != tc.want {
			t.Errorf("%s: looks again after %s, want %s", name, got, tc.want)
		}
	}
}
