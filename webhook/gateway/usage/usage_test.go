package usage_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"
	testclock "k8s.io/utils/clock/testing"

	"apitokens.dev/operator/internal/audit"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/webhook/gateway/usage"
)

// desk is a recorder with a fake clock and a fake API server.
type desk struct {
	*usage.Recorder

	t        *testing.T
	clock    *testclock.FakeClock
	registry *prometheus.Registry
	stop     func()

	mu    sync.Mutex
	taken []usage.Use
	// answers returns the error of a write, or nil.
	answers func(context.Context, usage.Use) error
}

const flushTimeout = 5 * time.Second

// newDesk must be called in a bubble of synctest, because settle waits for everything in the bubble.
func newDesk(t *testing.T) *desk {
	d := &desk{t: t, clock: testclock.NewFakeClock(time.Unix(second, 0)), registry: prometheus.NewRegistry()}
	d.Recorder = usage.NewRecorder(d.write, d.clock, flushTimeout, logr.Discard(), d.registry)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		d.Run(ctx)
		close(ended)
	}()
	d.stop = func() {
		cancel()
		<-ended
	}
	t.Cleanup(d.stop)
	return d
}

func (d *desk) write(ctx context.Context, u usage.Use) error {
	d.mu.Lock()
	answers := d.answers
	d.mu.Unlock()
	var err error
	if answers != nil {
		err = answers(ctx, u)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil {
		d.taken = append(d.taken, u)
	}
	return err
}

func (d *desk) answer(answers func(context.Context, usage.Use) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answers = answers
}

func always(err error) func(context.Context, usage.Use) error {
	return func(context.Context, usage.Use) error { return err }
}

// use records a use of a token from this address.
func (d *desk) use(token int, from string) {
	x := exchange(token, authn.Allow, from)
	x.At = d.clock.Now()
	d.Observe(x)
}

func exchange(token int, verdict authn.Verdict, from string) *audit.Exchange {
	// The gateway's own text is only for the log. It need not be an address.
	x := &audit.Exchange{Decision: authn.Decision{Verdict: verdict, APIToken: name(token)}, Claimed: audit.Claimed{Client: "asp_"}}
	if from != "" {
		x.Decision.Client = netip.MustParseAddr(from)
	}
	return x
}

func name(token int) authn.APITokenName {
	return authn.APITokenName{Namespace: "jira", Name: fmt.Sprint("token-", token), UID: fmt.Sprint("uid-", token)}
}

// at is the use of a token at a time after the beginning.
func at(token int, after time.Duration, from string) usage.Use {
	u := usage.Use{Token: name(token), Second: second + int64(after/time.Second)}
	if from != "" {
		u.From = netip.MustParseAddr(from)
	}
	return u
}

// step steps the clock and waits until everything that is due was done.
func (d *desk) step(by time.Duration) {
	synctest.Wait()
	d.clock.Step(by)
	synctest.Wait()
}

// took returns the writes since the last call.
func (d *desk) took() []usage.Use {
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	taken := d.taken
	d.taken = nil
	return taken
}

func (d *desk) expect(want ...usage.Use) {
	d.t.Helper()
	if diff := cmp.Diff(want, d.took(), cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		d.t.Errorf("written (-want +got):\n%s", diff)
	}
}

func (d *desk) expectMetric(name string, want float64) {
	d.t.Helper()
	synctest.Wait()
	if got := metric(d.t, d.registry, name); got != want {
		d.t.Errorf("%s is %v, want %v", name, got, want)
	}
}

// metric returns the value of a metric. The name may be followed by the label result.
func metric(t *testing.T, registry *prometheus.Registry, name string) (value float64) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			full := []string{family.GetName()}
			for _, label := range m.GetLabel() {
				full = append(full, label.GetValue())
			}
			if strings.Join(full, " ") == name {
				value += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return value
}

const (
	pending  = "apitoken_last_access_queue"
	lost     = "apitoken_last_access_lost_total"
	writes   = "apitoken_last_access_writes_total "
	here     = "192.0.2.1"
	there    = "2001:db8::1"
	spacing  = 20 * time.Millisecond
	aMinute  = time.Minute
	justLess = time.Minute - 2*time.Second // only whole seconds are written
)

var errAway = errors.New("connection refused")

func inBubble(test func(*testing.T, *desk)) func(*testing.T) {
	return func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { test(t, newDesk(t)) })
	}
}

func TestOnceAMinuteForEachToken(t *testing.T) { inBubble(onceAMinute)(t) }

func onceAMinute(_ *testing.T, d *desk) {
	d.use(1, here)
	d.expect(at(1, 0, here))
	for range 58 {
		d.step(time.Second)
		d.use(1, there)
	}
	d.expectMetric(pending, 1)
	d.expect() // less than a minute
	d.use(2, here)
	d.step(spacing)
	d.expect(at(2, justLess, here)) // another token does not wait
	d.step(aMinute - justLess)
	d.expect(at(1, justLess, there)) // one write for all uses
	d.step(time.Hour)
	d.expect() // nothing new
	d.expectMetric(pending, 0)
	d.use(1, here)
	d.expect(at(1, time.Hour+aMinute+spacing, here))
}

func TestFiftyWritesASecond(t *testing.T) { inBubble(fiftyASecond)(t) }

func fiftyASecond(t *testing.T, d *desk) {
	const tokens = 175
	for token := range tokens {
		d.use(token, here)
	}
	total := len(d.took())
	for i := range 3 {
		n := 0
		for range 200 {
			d.step(5 * time.Millisecond)
			n += len(d.took())
		}
		if n != 50 {
			t.Errorf("%d writes in second %d", n, i)
		}
		total += n
	}
	d.expectMetric(pending, float64(tokens-total))
	for range 50 {
		d.step(spacing)
	}
	if total += len(d.took()); total != tokens {
		t.Errorf("%d tokens written, want %d", total, tokens)
	}
}

func TestOnlyAllowCounts(t *testing.T) { inBubble(onlyAllow)(t) }

func onlyAllow(_ *testing.T, d *desk) {
	for _, verdict := range []authn.Verdict{authn.CannotDecide, authn.Unauthorized, authn.Forbidden, authn.Forward} {
		d.Observe(exchange(1, verdict, here))
	}
	d.expect()
	d.expectMetric(pending, 0)
}

// Not every gateway sends the client's address.
func TestFromNowhere(t *testing.T) { inBubble(fromNowhere)(t) }

func fromNowhere(_ *testing.T, d *desk) {
	d.use(1, "")
	d.use(2, here)
	d.step(spacing)
	d.step(time.Second)
	d.use(2, "")
	d.step(aMinute)
	d.expect(at(1, 0, ""), at(2, 0, here), at(2, time.Second, ""))
}

// The newest use counts, even if requests end in another order than they began, or the clock goes back.
func TestNeverBack(t *testing.T) { inBubble(neverBack)(t) }

func neverBack(_ *testing.T, d *desk) {
	d.answer(always(errAway))
	d.step(10 * time.Second)
	d.use(1, here)
	d.clock.SetTime(time.Unix(second, 0))
	d.use(1, there)
	d.answer(nil)
	d.step(aMinute + 10*time.Second)
	d.expect(at(1, 10*time.Second, here))
}

// A refused write is final and not logged: the API server knows a later use.
func TestRefusedIsForgotten(t *testing.T) { inBubble(refusedIsForgotten)(t) }

func refusedIsForgotten(_ *testing.T, d *desk) {
	d.answer(always(fmt.Errorf("patching: %w", usage.ErrRefused)))
	d.use(1, here)
	d.expectMetric(pending, 0)
	d.answer(nil)
	d.step(time.Hour)
	d.expect()
	d.expectMetric(writes+"refused", 1)
	d.use(1, here)
	d.expect(at(1, time.Hour, here))
}

func TestGoneIsForgotten(t *testing.T) { inBubble(goneIsForgotten)(t) }

func goneIsForgotten(_ *testing.T, d *desk) {
	asked := make(chan struct{})
	d.answer(func(context.Context, usage.Use) error {
		<-asked
		return fmt.Errorf("patching: %w", usage.ErrGone)
	})
	d.use(1, here)
	synctest.Wait()
	d.clock.Step(time.Second)
	d.use(1, here) // while it is being written
	close(asked)
	d.expectMetric(pending, 0)
	d.answer(nil)
	d.step(time.Hour)
	d.expect()
	d.expectMetric(writes+"gone", 1)
}

// A use during the write of the same token is not lost, and not written within the same minute.
func TestUsedWhileItIsWritten(t *testing.T) { inBubble(usedWhileWritten)(t) }

func usedWhileWritten(_ *testing.T, d *desk) {
	proceed := make(chan struct{})
	d.answer(func(context.Context, usage.Use) error {
		<-proceed
		return nil
	})
	d.use(1, here)
	d.step(time.Second)
	d.use(1, there)
	close(proceed)
	d.expect(at(1, 0, here))
	d.step(justLess)
	d.expect()
	d.step(aMinute - justLess)
	d.expect(at(1, time.Second, there))
}

func TestAPIServerAway(t *testing.T) { inBubble(apiServerAway)(t) }

func apiServerAway(t *testing.T, d *desk) {
	const tokens = 100
	var attempts atomic.Int64
	d.answer(func(context.Context, usage.Use) error {
		attempts.Add(1)
		return errAway
	})
	synctest.Wait()
	var gaps []time.Duration
	since, before := d.clock.Now(), int64(0)
	for range 150 {
		for token := range tokens {
			d.use(token, here)
		}
		synctest.Wait()
		if n := attempts.Load(); n > before {
			gaps, since, before = append(gaps, d.clock.Since(since)), d.clock.Now(), n
		}
		d.step(time.Second)
	}
	want := []time.Duration{0, 1, 2, 4, 8, 16, 30, 30, 30}
	for i := range want {
		want[i] *= time.Second
	}
	if diff := cmp.Diff(want, gaps[:min(len(gaps), len(want))]); diff != "" {
		t.Errorf("between attempts (-want +got):\n%s", diff)
	}
	d.expectMetric(pending, tokens)
	d.expectMetric(lost, 0)
	d.answer(nil)
	d.step(30 * time.Second)
	for range tokens {
		d.step(spacing)
	}
	for range 3 { // entries that were tried wait for a minute
		d.step(aMinute)
	}
	newest := map[authn.APITokenName]int64{}
	for _, u := range d.took() {
		if newest[u.Token] != 0 {
			t.Errorf("%v was written twice", u.Token)
		}
		newest[u.Token] = u.Second
	}
	for token := range tokens {
		if got := newest[name(token)]; got != second+149 {
			t.Errorf("token %d: written second %d, want the newest", token, got-second)
		}
	}
}

// A token that can never be written does not delay the others.
func TestOneFails(t *testing.T) { inBubble(oneFails)(t) }

func oneFails(_ *testing.T, d *desk) {
	d.answer(func(_ context.Context, u usage.Use) error {
		if u.Token == name(0) {
			return errAway
		}
		return nil
	})
	d.use(0, here)
	d.use(1, here)
	d.use(2, here)
	d.step(time.Second)
	d.step(spacing)
	d.expect(at(1, 0, here), at(2, 0, here))
	d.expectMetric(pending, 1)
	d.expectMetric(writes+"failed", 1)
}

// Tokens whose status is too large delay no others, however many they are. Each is tried less and less often, and again as
// ever once it can be written.
func TestRejectedTokensDelayNoOthers(t *testing.T) { inBubble(rejectedTokens)(t) }

func rejectedTokens(t *testing.T, d *desk) {
	const bad, all, minutes = 20, 60, 40
	var mu sync.Mutex
	attempts := map[string]int{}
	d.answer(func(_ context.Context, u usage.Use) error {
		mu.Lock()
		defer mu.Unlock()
		attempts[u.Token.UID]++
		for token := range bad {
			if u.Token == name(token) {
				return fmt.Errorf("%w: too large", usage.ErrRejected)
			}
		}
		return nil
	})
	for range minutes {
		for token := range all {
			d.use(token, here)
		}
		for range 3 * all {
			d.step(spacing)
		}
		d.step(aMinute - 3*all*spacing)
	}
	for token := range all {
		n := attempts[name(token).UID]
		// After 0, 1, 3, 7, 15 and 31 minutes.
		if token < bad && (n < 5 || n > 6) || token >= bad && n != minutes {
			t.Errorf("token %d was tried %d times in %d minutes", token, n, minutes)
		}
	}
	d.expectMetric(pending, bad)
	d.expectMetric(writes+"failed", 0)

	d.answer(nil)
	d.took()
	for range 20 {
		d.step(aMinute)
		for range 2 * bad {
			d.step(spacing)
		}
	}
	if got := len(d.took()); got != bad {
		t.Errorf("%d of the %d tokens were written", got, bad)
	}
	d.use(0, there)
	d.step(aMinute)
	if got := len(d.took()); got != 1 {
		t.Errorf("a token that can be written again was written %d times in a minute", got)
	}
}

func TestMemoryIsBounded(t *testing.T) { inBubble(memoryIsBounded)(t) }

func memoryIsBounded(_ *testing.T, d *desk) {
	d.answer(always(errAway))
	for token := range usage.MaxTokens + 10 {
		d.use(token, here)
	}
	d.expectMetric(pending, usage.MaxTokens)
	d.expectMetric(lost, 10)
	d.use(0, there) // a known token has its place
	d.expectMetric(lost, 10)
	d.answer(always(usage.ErrGone))
	d.stop()
}

func TestFlush(t *testing.T) {
	for name, tc := range map[string]struct {
		answers       func(ends time.Time) func(context.Context, usage.Use) error
		written, lost float64
	}{
		"written":     {func(time.Time) func(context.Context, usage.Use) error { return nil }, 1000, 0},
		"away":        {func(time.Time) func(context.Context, usage.Use) error { return always(errAway) }, 0, 1000},
		"gone":        {func(time.Time) func(context.Context, usage.Use) error { return always(usage.ErrGone) }, 0, 0},
		"never heard": {func(time.Time) func(context.Context, usage.Use) error { return hang }, 0, 1000},
	} {
		t.Run(name, inBubble(func(t *testing.T, d *desk) {
			d.answer(hang) // a write in progress at SIGTERM counts too
			for token := range 1000 {
				d.use(token, here)
			}
			synctest.Wait()
			began := time.Now()
			d.answer(tc.answers(began))
			d.stop()
			if took := time.Since(began); took > flushTimeout {
				t.Errorf("took %s", took)
			}
			d.expectMetric(pending, 0)
			d.expectMetric(lost, tc.lost)
			d.expectMetric(writes+"written", tc.written)
			if got := len(d.took()); got != int(tc.written) {
				t.Errorf("%d written, want %v", got, tc.written)
			}
		}))
	}
}

func hang(ctx context.Context, _ usage.Use) error {
	<-ctx.Done()
	return ctx.Err()
}

// Failed writes of the flush are tried again until the time is up.
func TestFlushTriesAgain(t *testing.T) {
	inBubble(func(t *testing.T, d *desk) {
		d.answer(always(errAway))
		for token := range 30 {
			d.use(token, here)
		}
		synctest.Wait()
		stopped := make(chan struct{})
		go func() {
			d.stop()
			close(stopped)
		}()
		synctest.Wait()
		d.answer(nil)
		d.step(time.Second) // the pause between two rounds
		<-stopped
		d.expectMetric(lost, 0)
		if got := len(d.took()); got != 30 {
			t.Errorf("%d written, want 30", got)
		}
	})(t)
}

// A random run keeps the invariants: no token is written twice a minute, no time goes back, and in the end the newest use of
// each token is written.
func TestRandomUse(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(strconv.FormatUint(seed, 10), inBubble(func(t *testing.T, d *desk) { randomUse(t, d, rand.New(rand.NewPCG(seed, 1))) }))
	}
}

func randomUse(t *testing.T, d *desk, r *rand.Rand) {
	type last struct {
		second int64
		tried  time.Time
	}
	tried, newest := map[authn.APITokenName]last{}, map[authn.APITokenName]int64{}
	var broken []string
	answers := rand.New(rand.NewPCG(r.Uint64(), 2)) // its own source, because another goroutine uses it
	d.answer(func(_ context.Context, u usage.Use) error {
		before, now := tried[u.Token], d.clock.Now()
		if u.Second < before.second || now.Sub(before.tried) < time.Minute {
			broken = append(broken, fmt.Sprintf("%v at %s after %v", u, now, before))
		}
		tried[u.Token] = last{u.Second, now}
		return []error{nil, nil, nil, errAway}[answers.IntN(4)]
	})
	for range 2000 {
		if token := r.IntN(20); r.IntN(2) == 0 {
			d.use(token, here)
			newest[name(token)] = d.clock.Now().Unix()
		}
		d.step(time.Duration(r.IntN(2_000)) * time.Millisecond)
	}
	d.answer(nil)
	written := map[authn.APITokenName]int64{}
	for range 40 {
		d.step(30 * time.Second)
	}
	d.expectMetric(pending, 0)
	for _, u := range d.took() {
		written[u.Token] = u.Second
	}
	if diff := cmp.Diff(newest, written); diff != "" {
		t.Errorf("written (-want +got):\n%s", diff)
	}
	for _, b := range broken {
		t.Error(b)
	}
}

// The last use of each token is written, however often and from wherever tokens are used in a second.
func TestRepeatedUse(t *testing.T) {
	inBubble(func(t *testing.T, d *desk) {
		const tokens = 30_000 // more than repeats has slots
		d.answer(hang)
		d.use(tokens, here) // so that nothing else is written before the end
		r, last := rand.New(rand.NewPCG(1, 2)), map[authn.APITokenName]usage.Use{name(tokens): at(tokens, 0, here)}
		for i := range 10 * tokens {
			token, from := r.IntN(tokens), []string{"", here, there, "::", "::1", "2001:db8::1"}[r.IntN(6)]
			if i%2 == 0 {
				token = r.IntN(10) // busy ones
			}
			after := d.clock.Since(time.Unix(second, 0))
			d.use(token, from)
			last[name(token)] = at(token, after, from)
			if i%1000 == 0 {
				d.clock.Step(100 * time.Millisecond)
			}
		}
		d.answer(nil)
		d.stop()
		written := map[authn.APITokenName]usage.Use{}
		for _, u := range d.took() {
			written[u.Token] = u
		}
		if diff := cmp.Diff(last, written, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Errorf("written (-want +got):\n%.2000s", diff)
		}
	})(t)
}

// Requests wait for Observe, so it must be fast, and allocate nothing for a known token.
func TestObserveAllocatesNothing(t *testing.T) {
	d := usage.NewRecorder(always(nil), testclock.NewFakeClock(time.Unix(second, 0)), 0, logr.Discard(), prometheus.NewRegistry())
	for _, from := range []string{here, there, ""} {
		x := exchange(1, authn.Allow, from)
		if n := testing.AllocsPerRun(100, func() { d.Observe(x) }); n != 0 {
			t.Errorf("from %q: %v allocations", from, n)
		}
	}
}

func BenchmarkObserve(b *testing.B) {
	d := usage.NewRecorder(always(nil), clock.RealClock{}, 0, logr.Discard(), prometheus.NewRegistry())
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		x := exchange(1, authn.Allow, there)
		for pb.Next() {
			d.Observe(x)
		}
	})
}
