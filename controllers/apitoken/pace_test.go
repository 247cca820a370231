package apitoken

import (
	"testing"
	"time"
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

// What the API server refused is tried again every minute, however many APITokens there are.
func TestRefusedIsTriedAgainEveryMinute(t *testing.T) {
	s := ready()
	if after := s.wakeAfter(time.Hour); after != time.Hour {
		t.Errorf("wakes after %s", after)
	}
	s.refused = map[step]string{rotate: "x"}
	if after := s.wakeAfter(time.Hour); after != recheckPeriod {
		t.Errorf("tries again after %s", after)
	}
}
