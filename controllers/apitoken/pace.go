package apitoken

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

// readsPerSecond limits the live reads of delivered and followed Secrets without a change.
const readsPerSecond = 20

// recheckAfter returns how often the Secret of each of so many APITokens is read: every minute, and with more than 1,200 APITokens
// as often as readsPerSecond allows.
func recheckAfter(tokens int) time.Duration {
	return max(recheckPeriod, time.Duration(tokens)*time.Second/readsPerSecond)
}

// spread shortens a period that is longer than recheckPeriod by up to a fifth, so that passes that once ran together drift apart.
func spread(period time.Duration, random float64) time.Duration {
	if period <= recheckPeriod {
		return period
	}
	return max(recheckPeriod, period-time.Duration(random*float64(period)/5))
}

// pace counts objects, at most once in recheckPeriod.
type pace struct {
	lock    sync.Mutex
	counted time.Time
	objects int
}

// count returns how many there are. If they cannot be counted, it returns the last number.
func (p *pace) count(ctx context.Context, now time.Time, count func() (int, error)) int {
	p.lock.Lock()
	defer p.lock.Unlock()
	if !p.counted.IsZero() && now.Sub(p.counted) < recheckPeriod {
		return p.objects
	}
	if n, err := count(); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Counting objects to pace the work on them")
	} else {
		p.counted, p.objects = now, n
	}
	return p.objects
}

// recheckAfter returns the time to the next pass over an APIToken that does not change.
func (r *Reconciler) recheckAfter(ctx context.Context) time.Duration {
	if r.pace == nil {
		return recheckPeriod // not in a manager
	}
	tokens := r.pace.count(ctx, r.Clock.Now(), func() (int, error) {
		var all tokensv1alpha1.APITokenList
		err := r.Client.List(ctx, &all, client.UnsafeDisableDeepCopy)
		return len(all.Items), err
	})
	return spread(recheckAfter(tokens), rand.Float64()) //nolint:gosec // it spreads load, and guards nothing
}
