package selfservice

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"apitokens.dev/operator/internal/authn"
)

// A product that hangs holds up the users of its own site, and of these only as many as may wait.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all turns
		hangs, other := authn.SiteName{Namespace: "jira", Name: "hangs"}, authn.SiteName{Namespace: "jira", Name: "other"}
		ctx, cancel := context.WithTimeout(t.Context(), askTimeout)
		defer cancel()
		var asking []func()
		for range maxAsking {
			done, ok := all.take(ctx, hangs)
			if !ok {
				t.Fatal("a free turn was refused")
			}
			asking = append(asking, done)
		}
		var waiting sync.WaitGroup
		began := time.Now()
		for range maxWaiting {
			waiting.Go(func() {
				if _, ok := all.take(ctx, hangs); ok || time.Since(began) != askTimeout {
					t.Errorf("a turn came after %s, or the wait did not end in time", time.Since(began))
				}
			})
		}
		synctest.Wait()
		if _, ok := all.take(ctx, hangs); ok || time.Since(began) != 0 {
			t.Error("more wait than may")
		}
		done, ok := all.take(ctx, other)
		if !ok || time.Since(began) != 0 {
			t.Fatal("the users of another site are held up")
		}
		done()
		waiting.Wait()
		for _, done := range asking {
			done()
		}
		if len(all.of) != 0 {
			t.Errorf("%d queues are left", len(all.of))
		}
	})
}
