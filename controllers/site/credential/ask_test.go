package credential

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	testclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/enrolment"
	"apitokens.dev/operator/internal/upstream"
)

// naming is a product that names one user, or fails, and counts.
type naming struct {
	Product

	user  atlassian.User
	err   error
	asked int
}

func (p *naming) WhoAmI(context.Context, atlassian.Upstream, atlassian.Credential) (atlassian.User, error) {
	if p.asked++; p.err != nil {
		return atlassian.User{}, p.err
	}
	return p.user, nil
}

func (p *naming) ListPATs(context.Context, atlassian.Upstream, atlassian.Credential) ([]atlassian.PAT, error) {
	return nil, nil
}

// asking is a site with the copy of alice, who has the key K1, after some hours.
type asking struct {
	*testing.T
	*naming

	keeper *Keeper
	site   *tokensv1alpha1.AtlassianSite
	copied upstream.Credential
}

func newAsking(t *testing.T) *asking {
	t.Helper()
	a := &asking{T: t, naming: &naming{user: atlassian.User{Name: "Alice", Key: "K1"}}}
	a.keeper, a.site = slowSite(0, a.naming)
	a.copied = upstream.Credential{
		Namespace: "dev", Site: "main", User: "alice", UserKey: "K1", Origin: here, Token: "x", Source: upstream.Pasted, Stored: time.Now().UTC(),
	}
	hold(t, a.keeper, a.site, a.copied)
	passes(t, a.keeper, a.site, 3*time.Hour)
	return a
}

// pass makes a pass, and returns the number of questions in it, and what is published.
func (a *asking) pass() (int, enrolment.Enrolment) {
	a.Helper()
	before := a.asked
	if _, err := a.keeper.Reconcile(a.Context(), a.site, &atlassian.Upstream{Product: atlassian.Jira, URL: here}); err != nil {
		a.Fatal(err)
	}
	e := enrolment.Enrolment{Namespace: "dev", Site: "main", User: "alice"}
	if _, err := readEnrolment(a.Context(), a.keeper.Live, types.NamespacedName{Namespace: "states", Name: e.SecretName()}, &e); err != nil {
		a.Fatal(err)
	}
	return a.asked - before, e
}

func (a *asking) ask(since time.Time) {
	a.keeper.Memory.Ask(client.ObjectKeyFromObject(a.site), a.copied.SecretName(), since)
}

// What somebody waits for is asked in the next pass and published, although the product was asked just now. Many who ask for the same
// copy cost one question. Without them there is none.
func TestAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAsking(t)
		for range 3 {
			<-time.After(time.Minute)
			for i := range 100 {
				a.ask(time.Now().Add(time.Duration(i-99) * time.Millisecond))
			}
			if n, e := a.pass(); n != 1 || e.Name != "alice" || time.Since(e.Checked) >= time.Second {
				t.Errorf("%d questions, published is %+v at %s", n, e, time.Now())
			}
			if n, _ := a.pass(); n != 0 {
				t.Errorf("%d more questions", n)
			}
		}
	})
}

// While the product gives no clear answer, it is asked about once a minute, and when it does the answer is published.
func TestAskInVain(t *testing.T) {
	for name, err := range map[string]error{"unclear": atlassian.ErrUnexpected, "refused": atlassian.ErrRefused} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAsking(t)
				a.err = err
				a.ask(time.Now())
				total := 0
				for range 300 {
					n, e := a.pass()
					if total += n; e.Name != "" && !e.Checked.Before(time.Now().Truncate(time.Second)) {
						t.Fatalf("published is %+v", e)
					}
					<-time.After(time.Second)
				}
				if total < 4 || total > 8 {
					t.Errorf("the product was asked %d times in five minutes", total)
				}
				a.err = nil
				<-time.After(time.Minute)
				back := time.Now().Truncate(time.Second)
				if n, e := a.pass(); n != 1 || e.Name != "alice" || e.Checked.Before(back) {
					t.Errorf("%d questions, published is %+v", n, e)
				}
			})
		})
	}
}

// A clock that was ahead, and is right again, has the product asked once for each who asks. What it published then counts for nobody.
func TestAskByAClockThatWasAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAsking(t)
		clock := testclock.NewFakePassiveClock(time.Now().Add(20 * time.Hour))
		a.keeper.Clock = clock
		a.ask(clock.Now())
		if n, e := a.pass(); n == 0 || e.Checked.Before(clock.Now().Truncate(time.Second)) {
			t.Fatalf("%d questions, published is %+v", n, e)
		}
		a.ask(clock.Now().Add(time.Second))
		clock.SetTime(time.Now())
		a.pass()
		if n, _ := a.pass(); n != 0 {
			t.Errorf("%d questions that nobody asked", n)
		}
		clock.SetTime(time.Now().Add(time.Minute))
		a.ask(clock.Now())
		if n, e := a.pass(); n != 1 || e.Name != "alice" || !e.Checked.Equal(clock.Now().UTC().Truncate(time.Second)) {
			t.Errorf("%d questions, published is %+v", n, e)
		}
	})
}

// Another name under the same key is published by the check that finds it. After the product refused the personal access token,
// nobody is named, until it accepts it again.
func TestNameIsPublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAsking(t)
		published := func(what, name string, state enrolment.State) {
			t.Helper()
			passes(t, a.keeper, a.site, 2*time.Hour)
			if _, e := a.pass(); e.Name != name || e.State != state || e.UserKey != "K1" {
				t.Errorf("%s: published is %+v", what, e)
			}
		}
		published("in the beginning", "alice", enrolment.Held)
		a.user.Name = "Alice.Old"
		published("renamed", "alice.old", enrolment.Held)
		a.keeper.Memory = NewMemory() // a restart
		published("after a restart", "alice.old", enrolment.Held)
		a.err = atlassian.ErrRefused
		published("refused", "", enrolment.Ended)
		a.err = nil
		published("accepted again", "alice.old", enrolment.Held)
		a.user = atlassian.User{Name: "alice"} // and no key
		published("without a key", "", enrolment.Held)
	})
}

// A name that was published says nothing about another key, a personal access token that is refused, or none.
func TestNameFollowsTheKey(t *testing.T) {
	before := enrolment.Enrolment{Namespace: "dev", Site: "main", User: "alice", State: enrolment.Held, UserKey: "K1", Name: "alice", Checked: noon}
	for what, tc := range map[string]struct {
		change func(*upstream.Credential)
		name   string
	}{
		"renewed":         {func(c *upstream.Credential) { c.ID, c.Token = 8, "y" }, "alice"},
		"ending":          {func(c *upstream.Credential) { c.Ending = noon }, "alice"},
		"of another key":  {func(c *upstream.Credential) { c.UserKey = "K2" }, ""},
		"without a key":   {func(c *upstream.Credential) { c.UserKey = "" }, ""},
		"refused":         {func(c *upstream.Credential) { c.Refused = noon }, ""},
		"of other server": {func(c *upstream.Credential) { c.Origin = "https://elsewhere.example" }, ""},
	} {
		c := upstream.Credential{User: "alice", UserKey: "K1", Origin: here, Token: "x", ID: 7, Source: upstream.Enrolled}
		tc.change(&c)
		if got := describe(before, &c, here); got.Name != tc.name {
			t.Errorf("%s: the name is %q", what, got.Name)
		}
	}
	if got := describe(before, nil, here); got.Name != "" {
		t.Errorf("without a copy the name is %q", got.Name)
	}
}

// Ask has a pass made over the site, also one that came before the controller started. To ask again for the same does not.
func TestAskEnqueues(t *testing.T) {
	m, queue := NewMemory(), workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	defer queue.ShutDown()
	main, other := types.NamespacedName{Namespace: "dev", Name: "main"}, types.NamespacedName{Namespace: "dev", Name: "other"}
	expect := func(what string, want ...types.NamespacedName) {
		t.Helper()
		if queue.Len() != len(want) {
			t.Fatalf("%s: %d passes, want %v", what, queue.Len(), want)
		}
		for range want {
			next, _ := queue.Get()
			if queue.Done(next); next.NamespacedName != want[0] {
				t.Errorf("%s: a pass over %s", what, next)
			}
		}
	}
	m.Ask(main, "upstream.x", noon)
	if err := m.Source().Start(t.Context(), queue); err != nil {
		t.Fatal(err)
	}
	expect("before the start", main)
	m.Ask(main, "upstream.x", noon)
	m.Ask(main, "upstream.x", noon.Add(-time.Second))
	expect("the same")
	m.Ask(other, "upstream.y", noon)
	expect("another site", other)
	m.Ask(main, "upstream.x", noon.Add(time.Second))
	expect("later", main)
	m.forgetSite(main)
	m.Ask(main, "upstream.x", noon)
	expect("forgotten", main)
	answered := enrolment.Enrolment{Name: "alice", Checked: noon}
	if got := m.wanted(main, "upstream.x", answered, noon); !got.IsZero() {
		t.Errorf("what is answered is wanted since %s", got)
	}
	m.Ask(main, "upstream.x", noon)
	expect("answered, and lost again", main)
	answered.Checked = noon.Add(time.Second)
	if got := m.wanted(main, "upstream.x", answered, noon); !got.Equal(noon) {
		t.Error("an answer of a clock that was ahead counts")
	}
}
