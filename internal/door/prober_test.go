package door

import (
	"context"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	testclock "k8s.io/utils/clock/testing"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

// looks runs a Prober that gives prepared findings, and counts how often each base URL was looked at.
type looks struct {
	*Prober
	*testing.T

	clock *testclock.FakeClock
	mu    sync.Mutex
	found Finding
	// started has each look, and blocked blocks those at a base URL.
	started chan string
	blocked map[string]chan struct{}
}

func startProber(t *testing.T) *looks {
	t.Helper()
	l := &looks{
		T: t, clock: testclock.NewFakeClock(time.Now()), found: Finding{Reason: tokensv1alpha1.ReasonProtected},
		started: make(chan string, 1000), blocked: map[string]chan struct{}{},
	}
	l.Prober = NewProber(l.clock, func(ctx context.Context, s Site) Finding {
		l.started <- s.BaseURL
		if blocked := l.blocked[s.BaseURL]; blocked != nil {
			select {
			case <-ctx.Done():
			case <-blocked:
			}
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.found
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- l.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l
}

func (l *looks) prepare(reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.found.Reason = reason
}

func receive[T any](t *testing.T, what string, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(20 * time.Second):
		t.Fatalf("there was no %s", what)
	}
	return v
}

// idle waits until the only site waits on the clock.
func (l *looks) idle() {
	l.Helper()
	for deadline := time.Now().Add(20 * time.Second); !l.clock.HasWaiters(); {
		if time.Now().After(deadline) {
			l.Fatal("the prober does not wait")
		}
	}
}

func (l *looks) expectNoLook(why string) {
	l.Helper()
	select {
	case url := <-l.started:
		l.Errorf("%s was looked at %s", url, why)
	default:
	}
}

var main = types.NamespacedName{Namespace: "jira", Name: "main"}

// A site is looked at at once, when it changes, every few minutes, and sooner while something is wrong. Only another finding is
// an event.
func TestPaceOfLooks(t *testing.T) {
	l := startProber(t)
	site := Site{BaseURL: "first", Generation: 1}
	if f, ok := l.Found(main, site); ok {
		t.Errorf("before it was looked at: %+v", f)
	}
	receive(t, "look", l.started)
	if e := receive(t, "event", l.Changed()); e.Object.GetNamespace() != "jira" || e.Object.GetName() != "main" {
		t.Errorf("an event about %+v", e.Object)
	}
	if f, ok := l.Found(main, site); !ok || f.Reason != tokensv1alpha1.ReasonProtected {
		t.Errorf("found %+v, %v", f, ok)
	}

	l.idle()
	l.clock.Step(period - time.Second)
	l.expectNoLook("early")
	l.clock.Step(period/5 + time.Second)
	receive(t, "look after a period", l.started)
	l.idle()
	select {
	case <-l.Changed():
		t.Error("the same finding is news")
	default:
	}

	l.prepare(tokensv1alpha1.ReasonOpenDoor)
	l.clock.Step(2 * period)
	receive(t, "look", l.started)
	receive(t, "event", l.Changed())
	if f, ok := l.Found(main, site); !ok || f.Reason != tokensv1alpha1.ReasonOpenDoor {
		t.Errorf("found %+v, %v", f, ok)
	}
	l.idle()
	l.clock.Step(2 * soonAgain)
	receive(t, "look soon again", l.started)
	l.idle()

	site.ProductAnswers = true
	if _, ok := l.Found(main, site); !ok {
		t.Error("the finding is forgotten because the product answers")
	}
	l.expectNoLook("because the product answers")
	site.BaseURL, site.Generation = "second", 2
	if _, ok := l.Found(main, site); ok {
		t.Error("the finding is of another site")
	}
	if url := receive(t, "look at once", l.started); url != "second" {
		t.Errorf("looked at %s", url)
	}
	receive(t, "event", l.Changed())
	l.idle()

	l.Forget(main)
	l.Forget(main)
	l.clock.Step(10 * period)
	l.expectNoLook("after it was forgotten")
}

// A site that hangs delays no other, nor the caller. What was found about it before it changed does not count.
func TestSitesDoNotWaitForEachOther(t *testing.T) {
	l := startProber(t)
	hanging := make(chan struct{})
	l.blocked["hanging"] = hanging
	l.Found(main, Site{BaseURL: "hanging"})
	receive(t, "look", l.started)
	for _, name := range []string{"a", "b", "c"} {
		other := types.NamespacedName{Namespace: "jira", Name: name}
		l.Found(other, Site{BaseURL: name})
		receive(t, "look at another site", l.started)
		if e := receive(t, "event", l.Changed()); e.Object.GetName() != name {
			t.Errorf("an event about %s", e.Object.GetName())
		}
	}
	l.Found(main, Site{BaseURL: "mended"})
	close(hanging)
	if url := receive(t, "look at what it is now", l.started); url != "mended" {
		t.Errorf("looked at %s", url)
	}
	receive(t, "event", l.Changed())
	if _, ok := l.Found(main, Site{BaseURL: "mended"}); !ok {
		t.Error("nothing was found")
	}
	select {
	case <-l.Changed():
		t.Error("what was found before the change is news")
	default:
	}
}

// The prober that does not run yet has the sites looked at when it does, and ends while one hangs.
func TestProberBeginsWithWhatItKnows(t *testing.T) {
	started := make(chan string, 1)
	p := NewProber(testclock.NewFakeClock(time.Now()), func(ctx context.Context, s Site) Finding {
		started <- s.BaseURL
		<-ctx.Done()
		return Finding{}
	})
	p.Found(main, Site{BaseURL: "early"})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Start(ctx) }()
	receive(t, "look", started)
	cancel()
	if err := receive(t, "end", done); err != nil {
		t.Error(err)
	}
	p.Found(types.NamespacedName{Name: "late"}, Site{})
	if _, ok := p.Found(main, Site{BaseURL: "early"}); ok {
		t.Error("a look that was broken off found something")
	}
}
