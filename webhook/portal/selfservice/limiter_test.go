package selfservice

import (
	"context"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"apitokens.dev/operator/internal/authn"
)

var main = authn.SiteName{Namespace: "jira", Name: "main"}

// A product that hangs delays only the users of its own site, and at most maxWaiting of them.
func TestProductLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var limiter productLimiter
		hangs, other := main, authn.SiteName{Namespace: "jira", Name: "other"}
		ctx, cancel := context.WithTimeout(t.Context(), productTimeout)
		defer cancel()
		var running []func()
		for range maxUnknown {
			release, ok := limiter.acquire(ctx, hangs, asker{})
			if !ok {
				t.Fatal("a free slot was refused")
			}
			running = append(running, release)
		}
		var waiting sync.WaitGroup
		began := time.Now()
		for range maxWaiting {
			waiting.Go(func() {
				if _, ok := limiter.acquire(ctx, hangs, asker{}); ok || time.Since(began) != productTimeout {
					t.Errorf("got a slot, or waited %s instead of %s", time.Since(began), productTimeout)
				}
			})
		}
		synctest.Wait()
		if _, ok := limiter.acquire(ctx, hangs, asker{}); ok || time.Since(began) != 0 {
			t.Error("more than maxWaiting wait")
		}
		release, ok := limiter.acquire(ctx, other, asker{})
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

// answers is the time of an answer of the product in the tests of floods.
const answers = 100 * time.Millisecond

// flood keeps n connections busy until ctx is done: each asks again as soon as it has an answer.
func flood(ctx context.Context, limiter *productLimiter, n int, as func(int) asker) *sync.WaitGroup {
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			for ctx.Err() == nil {
				ask(ctx, limiter, as(i))
				<-time.After(time.Millisecond) // the time of the network
			}
		})
	}
	return &group
}

// ask asks a product that takes its time.
func ask(ctx context.Context, limiter *productLimiter, as asker) bool {
	ctx, cancel := context.WithTimeout(ctx, productTimeout)
	defer cancel()
	release, ok := limiter.acquire(ctx, main, as)
	if ok {
		<-time.After(answers)
		release()
	}
	return ok
}

// A client that floods a product delays others by a few answers at most.
func TestFloodsDelayOthersByFewAnswers(t *testing.T) {
	host := func(i int) asker { return unknownAt(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})) }
	known := func(i int) asker { return asker{known: true, flow: strconv.Itoa(i)} }
	for name, tc := range map[string]struct {
		attackers func(int) asker
		user      asker
		// most is how many answers the user waits for, including their own.
		most int
	}{
		"100 unknown sessions at one address, a known session":   {func(int) asker { return host(1) }, known(1), 1},
		"100 unknown sessions at 100 addresses, a known session": {host, known(1), 1},
		"100 unknown sessions at one address, a new session":     {func(int) asker { return host(1) }, host(2), 2},
		"100 unknown sessions at 9 addresses, a new session":     {func(i int) asker { return host(i % 9) }, host(10), 7},
		"one known session 100 times, another":                   {func(int) asker { return known(1) }, known(2), 2},
		"one known session 100 times, a new one":                 {func(int) asker { return known(1) }, host(1), 1},
		"100 unknown sessions in one network of IPv6, a new session in another": {
			func(i int) asker { return unknownAt(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(i)})) },
			unknownAt(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 7: 1})), 2,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var limiter productLimiter
				ctx, stop := context.WithCancel(t.Context())
				group := flood(ctx, &limiter, 100, tc.attackers)
				<-time.After(time.Second)
				for range 20 {
					began := time.Now()
					if !ask(t.Context(), &limiter, tc.user) || time.Since(began) > time.Duration(tc.most)*answers {
						t.Errorf("the user waited %v, want at most %d answers", time.Since(began), tc.most)
					}
				}
				stop()
				group.Wait()
				if len(limiter.queues) != 0 {
					t.Errorf("%d queues are left", len(limiter.queues))
				}
			})
		})
	}
}

// A session is known for some minutes after the product accepted it, and no longer once the product refuses it.
func TestSessionsAreKnownForMinutes(t *testing.T) {
	var s sessions
	now := time.Now()
	at := func(site authn.SiteName, identity ...string) string { return s.hash(site, identity) }
	alice := at(main, "", "JSESSIONID=a")
	for name, other := range map[string]string{
		"another site": at(authn.SiteName{Namespace: "jira", Name: "other"}, "", "JSESSIONID=a"), "another cookie": at(main, "", "JSESSIONID=b"),
		"a password": at(main, "JSESSIONID=a"), "parts cut elsewhere": at(main, "JSESSIONID=a", ""), "another process": new(sessions).hash(main, []string{"", "JSESSIONID=a"}),
	} {
		if other == alice {
			t.Errorf("%s has the same hash", name)
		}
	}
	if s.known(alice, now) {
		t.Error("a session is known that the product never saw")
	}
	s.answered(alice, true, now)
	for after, want := range map[time.Duration]bool{0: true, knownPeriod: true, 2 * knownPeriod: false, 10 * knownPeriod: false} {
		var one sessions
		one.answered(alice, true, now)
		if got := one.known(alice, now.Add(after)); got != want {
			t.Errorf("known after %s: %t, want %t", after, got, want)
		}
	}
	s.answered(alice, false, now)
	if s.known(alice, now) {
		t.Error("a session is known that the product refused")
	}
	for i := range 5 * maxSessions {
		s.answered(strconv.Itoa(i), true, now)
	}
	if n := len(s.recent) + len(s.earlier); n > 2*maxSessions {
		t.Errorf("%d sessions are remembered", n)
	}
}

// The product is asked about its own cookies and about credentials, and about nothing else.
func TestCookiesOfTheProduct(t *testing.T) {
	for _, name := range []string{"JSESSIONID", "CONFSESSIONID", "JiraSessionId", "seraph.rememberme.cookie", "seraph.confluence", "crowd.token_key", "__Secure-crowd.token_key"} {
		if !signsIn(name) {
			t.Errorf("%s says nobody", name)
		}
	}
	if i := slices.IndexFunc([]string{"a", "atlassian.xsrf.token", "_ga", "ROUTEID", "AJS.conglomerate.cookie", ""}, signsIn); i >= 0 {
		t.Errorf("cookie %d says somebody", i)
	}
}
