package selfservice

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"apitokens.dev/operator/internal/authn"
)

// A product that hangs delays only the users of its own site, and at most maxWaiting of them.
func TestProductLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var limiter productLimiter
		hangs, other := authn.SiteName{Namespace: "jira", Name: "hangs"}, authn.SiteName{Namespace: "jira", Name: "other"}
		ctx, cancel := context.WithTimeout(t.Context(), productTimeout)
		defer cancel()
		var running []func()
		for range maxConcurrent {
			release, ok := limiter.acquire(ctx, hangs)
			if !ok {
				t.Fatal("a free slot was refused")
			}
			running = append(running, release)
		}
		var waiting sync.WaitGroup
		began := time.Now()
		for range maxWaiting {
			waiting.Go(func() {
				if _, ok := limiter.acquire(ctx, hangs); ok || time.Since(began) != productTimeout {
					t.Errorf("got a slot, or waited %s instead of %s", time.Since(began), productTimeout)
				}
			})
		}
		synctest.Wait()
		if _, ok := limiter.acquire(ctx, hangs); ok || time.Since(began) != 0 {
			t.Error("more than maxWaiting wait")
		}
		release, ok := limiter.acquire(ctx, other)
		if !ok || time.Since(began) != 0 {
			t.Fatal("the users of another site are delayed")
		}
		release()
		waiting.Wait()
		for _, release := range running {
			release()
		}
		if len(limiter.queues) != 0 {
			t.Errorf("%d queues are left", len(limiter.queues))
		}
	})
}
