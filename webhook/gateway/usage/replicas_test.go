package usage_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/watch"
	testclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/webhook/gateway/usage"
)

// replica is a recorder with its own clock, at the real API server.
type replica struct {
	*usage.Recorder

	clock    *testclock.FakeClock
	registry *prometheus.Registry
}

func startReplica(t *testing.T, skew time.Duration) *replica {
	r := &replica{clock: testclock.NewFakeClock(time.Unix(second, 0).Add(skew)), registry: prometheus.NewRegistry()}
	r.Recorder = usage.NewRecorder(writer(t), r.clock, flushTimeout, logr.Discard(), r.registry)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { r.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
		if n := metric(t, r.registry, lost); n > 0 {
			t.Errorf("%v last accesses were lost", n)
		}
	})
	return r
}

// awaitWritten steps the clock of a replica until nothing is left to write.
func (r *replica) awaitWritten(t *testing.T) {
	t.Helper()
	kubetest.Eventually(t, func() error {
		r.clock.Step(30 * time.Second)
		if n := metric(t, r.registry, pending); n > 0 {
			return fmt.Errorf("%v are pending", n)
		}
		return nil
	})
}

// The clocks of replicas differ, and they write in any order. The status of a token never goes back, and ends with the latest
// use that any of them saw.
func TestReplicasNeverGoBack(t *testing.T) {
	token := newToken(t)
	report(t, token)
	watching, err := env.Admin.Watch(t.Context(), &tokensv1alpha1.APITokenList{}, client.InNamespace(token.Namespace))
	if err != nil {
		t.Fatal(err)
	}
	replicas := []*replica{startReplica(t, -10*time.Minute), startReplica(t, 0), startReplica(t, 10*time.Minute)}
	random := rand.New(rand.NewPCG(1, 2))
	var latest int64
	for range 40 {
		var used []*replica
		for _, i := range random.Perm(len(replicas))[:1+random.IntN(len(replicas))] {
			r := replicas[i]
			x := exchange(1, authn.Allow, here)
			x.Decision.APIToken = nameOf(token)
			x.At = r.clock.Now()
			latest = max(latest, x.At.Unix())
			r.Observe(x)
			used = append(used, r)
		}
		for _, r := range used {
			r.awaitWritten(t)
		}
	}
	kubetest.Eventually(t, func() error {
		if s := status(t, token); s.LastAccessedTime.Unix() != latest || s.TokenID == "" {
			return fmt.Errorf("the status is %+v, want second %d", s, latest)
		}
		return nil
	})
	expectForward(t, watching, latest)
	refused, written := 0.0, 0.0
	for _, r := range replicas {
		refused += metric(t, r.registry, writes+"refused")
		written += metric(t, r.registry, writes+"written")
	}
	if refused == 0 || written < 10 {
		t.Errorf("%v written, %v refused: that shows nothing", written, refused)
	}
}

// expectForward checks that the status of a token only moves forward.
func expectForward(t *testing.T, watching watch.Interface, latest int64) {
	t.Helper()
	defer watching.Stop()
	var last int64
	for event := range watching.ResultChan() {
		if token, ok := event.Object.(*tokensv1alpha1.APIToken); ok && !token.Status.LastAccessedTime.IsZero() {
			if now := token.Status.LastAccessedTime.Unix(); now < last {
				t.Errorf("it went from %d back to %d", last, now)
			} else if last = now; last == latest {
				return
			}
		}
	}
}
