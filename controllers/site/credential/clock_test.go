package credential

import (
	"context"
	"testing"
	"time"

	testclock "k8s.io/utils/clock/testing"

	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/upstream"
)

// counted is a product that confirms alice, and counts the questions.
type counted struct {
	prompt

	asked *int
}

func (p counted) WhoAmI(ctx context.Context, u atlassian.Upstream, as atlassian.Credential) (atlassian.User, error) {
	*p.asked++
	return p.prompt.WhoAmI(ctx, u, as)
}

// A clock that was ahead for a while, and is right again, puts off no check.
func TestClockThatWasAhead(t *testing.T) {
	asked := 0
	k, s := slowSite(0, counted{asked: &asked})
	clock := testclock.NewFakePassiveClock(noon)
	k.Clock = clock
	c := upstream.Credential{
		Namespace: "dev", Site: "main", User: "alice", UserKey: "k1", Origin: here, Token: "x", Source: upstream.Pasted, Stored: noon.Add(-time.Hour),
	}
	if err := k.store(t.Context(), c, nil); err != nil {
		t.Fatal(err)
	}
	pass := func(at time.Time) {
		t.Helper()
		clock.SetTime(at)
		if _, err := k.Reconcile(t.Context(), s, &atlassian.Upstream{Product: atlassian.Jira, URL: here}); err != nil {
			t.Fatal(err)
		}
	}
	for minute := range 120 {
		pass(noon.Add(time.Duration(minute) * time.Minute))
	}
	if asked == 0 {
		t.Fatal("never asked")
	}
	pass(noon.Add(20 * time.Hour))
	before := asked
	for minute := range 150 {
		pass(noon.Add(2*time.Hour + time.Duration(minute)*time.Minute))
	}
	if asked == before {
		t.Error("the product was not asked for 150 minutes after the clock was put back")
	}
}
