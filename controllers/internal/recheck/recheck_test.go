package recheck_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	testclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"apitokens.dev/operator/controllers/internal/recheck"
)

var pace = recheck.Pace{Period: 55 * time.Second, PerSecond: 20}

func named(i int) types.NamespacedName {
	return types.NamespacedName{Namespace: "jira", Name: fmt.Sprintf("t%d", i)}
}

// Each name comes up every max(60 s, number / 20 s), and never more than 20 come up in a second, also after all were added at once,
// and while events bring some of them forward.
func TestPace(t *testing.T) {
	for _, n := range []int{1, 2, 10, 1000, 1100, 1150, 1200, 5000} {
		for _, events := range []int{0, 3} {
			t.Run(fmt.Sprintf("%d names, %d events a second", n, events), func(t *testing.T) { checkPace(t, n, events) })
		}
	}
}

func checkPace(t *testing.T, n, events int) {
	clock := testclock.NewFakeClock(time.Unix(0, 0))
	round, seen, random := recheck.New(clock, pace), map[types.NamespacedName]time.Time{}, rand.New(rand.NewPCG(1, 2))
	look := func(name types.NamespacedName) {
		seen[name] = clock.Now()
		round.Add(name)
	}
	for i := range n {
		look(named(i))
	}
	longest := max(time.Minute, time.Duration(n)*time.Second/20)
	for range 3 * int(longest/time.Second) {
		clock.Step(time.Second)
		next := round.Next()
		if len(next) > 20 {
			t.Fatalf("%d names came up in a second", len(next))
		}
		for _, name := range next {
			if waited := clock.Since(seen[name]); waited > longest {
				t.Fatalf("%s came up after %s, want at most %s", name.Name, waited, longest)
			}
			look(name)
		}
		for range events {
			look(named(random.IntN(n)))
		}
		if oldest := round.Oldest(); oldest > longest || oldest != waitedLongest(clock.Now(), seen) {
			t.Fatalf("one waits for %s", oldest)
		}
	}
}

func waitedLongest(now time.Time, seen map[types.NamespacedName]time.Time) (longest time.Duration) {
	for _, at := range seen {
		longest = max(longest, now.Sub(at))
	}
	return longest
}

// Names come up in the order in which they were added last, and once. They wait until they are added again, or removed.
func TestOrder(t *testing.T) {
	clock := testclock.NewFakeClock(time.Unix(0, 0))
	round := recheck.New(clock, recheck.Pace{Period: time.Second, PerSecond: 20})
	if round.Oldest() != 0 || round.Next() != nil {
		t.Error("an empty round has something")
	}
	for _, i := range []int{1, 2, 3, 1, 4} {
		round.Add(named(i))
	}
	round.Remove(named(3))
	round.Remove(named(5))
	clock.Step(time.Second)
	if got, want := round.Next(), []types.NamespacedName{named(2), named(1), named(4)}; !slices.Equal(got, want) {
		t.Errorf("%v came up, want %v", got, want)
	}
	if got := round.Next(); got != nil || round.Oldest() != time.Second {
		t.Errorf("%v came up again, and one waits for %s", got, round.Oldest())
	}
	round.Add(named(2))
	round.Remove(named(1))
	clock.Step(time.Second)
	if got := round.Oldest(); got != 2*time.Second {
		t.Errorf("one waits for %s after it came up", got)
	}
	round.Remove(named(4))
	if got := round.Oldest(); got != time.Second {
		t.Errorf("one waits for %s", got)
	}
}

// A running round hands each name to the controller, and ends with its context.
func TestStart(t *testing.T) {
	clock := testclock.NewFakeClock(time.Unix(0, 0))
	round, queue := recheck.New(clock, recheck.Pace{Period: time.Second, PerSecond: 20}), workqueue.NewTypedRateLimitingQueue(
		workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	defer queue.ShutDown()
	round.Add(named(1))
	ended := make(chan error, 1)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	if err := round.Source().Start(ctx, queue); err != nil {
		t.Fatal(err)
	}
	go func() { ended <- round.Start(ctx) }()
	for !clock.HasWaiters() {
		<-time.After(time.Millisecond)
	}
	clock.Step(time.Second)
	if got, _ := queue.Get(); got.NamespacedName != named(1) {
		t.Errorf("%s was reconciled", got)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
