// Package stops_test shows that what was stopped stays dead. In each history users make tokens, tokens make tokens, watches lag,
// and the clock steps. Then one stop happens while others are at work. After its answer, once every watch has caught up, no
// secret that was to die answers 200, and no other has died.
package stops_test

import (
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"apitokens.dev/operator/hack/lib/kubetest"
)

var env kubetest.Env

func TestMain(m *testing.M) {
	// Histories wait more than they compute. A -parallel flag still takes precedence.
	if err := flag.Set("test.parallel", strconv.Itoa(lanes)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(env.Main(m))
}

// lanes is how many histories run at the same time.
const lanes = 3

// One seed is run alone with -run 'TestStops/seed=17$'. Operations and faults are then the same each time. The order in which
// requests at the same time arrive is not.
func TestStops(t *testing.T) { histories(t, 50) }

func histories(t *testing.T, count int) {
	env.Required(t)
	env.AwaitGuarded(t)
	happened := &tally{counts: map[string]int{}}
	t.Cleanup(func() { happened.report(t, count) })
	accounts, free := newAccounts(t), make(chan *lane, lanes)
	for range lanes {
		free <- newLane(t, accounts)
	}
	for seed := range count {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			l := <-free
			t.Cleanup(func() { free <- l })
			newHistory(t, l, seed, happened).run()
		})
	}
}

// run lives for a while, stops something, and checks who is dead.
func (h *history) run() {
	h.create("alice", nil)
	if h.chance(80) {
		h.create("bob", nil)
	}
	h.declare()
	for range 4 + h.random.IntN(8) {
		h.live()
	}
	h.stop()
	h.settle()
	h.check()
	h.resume()
	h.settle()
	h.check()
	h.remains()
	h.count("history")
}

// resume lets users begin again. What is issued in the very moment of an epoch is alive.
func (h *history) resume() {
	if left := h.epoch.Sub(h.clock.Now()); left > 0 {
		h.step(left)
	} else {
		h.step(time.Minute)
	}
	for _, user := range []string{"alice", "bob"} {
		if t := h.create(user, nil); t == nil && !slices.Contains(h.blocked, user) {
			h.wrong("%s cannot begin again", user)
		} else if t != nil && slices.Contains(h.blocked, user) {
			t.revoked = yes
		}
	}
}

// maker is something that makes a secret while the stop happens.
type maker struct {
	request
	// of is the token that it rotates, within the overlap. If it is nil, it creates one.
	of      *apiToken
	overlap time.Duration
	held    *hold
	// first says that nothing was written when the stop was answered.
	first    bool
	answered chan answer
}

// stop starts some makers, holds them somewhere, stops something, and lets them go on.
func (h *history) stop() {
	h.surprise()
	name, o := h.order()
	h.count("stop: " + name)
	if h.chance(50) {
		h.lagBehind()
	}
	makers := h.makers(o)
	finished := h.workBeside()
	h.carryOut(o)
	for _, m := range makers {
		m.portal.release(m.held)
	}
	finished()
	for _, m := range makers {
		h.made(o, m)
	}
	h.hauntBy()
}

// order returns the stop whose turn it is. Some have no target in a history: then it is the turn of the next one.
func (h *history) order() (name string, o *order) {
	names := slices.Sorted(maps.Keys(stops))
	for i := h.seed; o == nil; i++ {
		name = names[i%len(names)]
		o = stops[name](h)
	}
	return name, o
}

// surprise makes a token that the portal of the stop has not seen yet, half of the time.
func (h *history) surprise() {
	h.at, h.unseen = pick(h, h.portals...), nil
	if h.chance(50) {
		return
	}
	h.at.catchUp()
	h.at.lag(pick(h, "apitokens", "hash"))
	other := h.portals[0]
	if other == h.at {
		other = h.portals[1]
	}
	user := pick(h, "alice", "alice", "bob")
	r := h.creation(user, h.someone(func(s *secret) bool { return s.of.user == user }))
	r.portal = other
	if t := h.created(r, h.try(r)); t != nil {
		h.unseen = t.newest()
		h.count("token that the portal of the stop has not seen")
	}
}

// makers start to make something. Each is held at one of its requests to the API server, or ends before.
func (h *history) makers(o *order) (all []*maker) {
	if o.alone {
		return nil
	}
	rotating := []*apiToken{o.spared} // of two rotations at the same time, the later one is not known
	for _, p := range h.portals {
		m := &maker{}
		user := pick(h, "alice", "alice", "bob")
		by := h.someone(func(s *secret) bool { return s.of.user == user })
		switch {
		case h.chance(20):
			continue
		case by != nil && h.chance(30) && !slices.Contains(rotating, by.of):
			m.of = by.of
			rotating = append(rotating, by.of)
			m.request, m.overlap = h.rotation(by.of, pick(h, nil, by))
		case h.chance(25):
			m.request = h.creation(user, nil)
		case by != nil:
			m.request = h.creation(user, by)
		default:
			continue
		}
		m.portal = p
		after := h.random.IntN(5)
		m.first = after == 0
		m.held = p.holdNext(after, h.chance(30), h.chance(30))
		m.answered = h.begin(m.request)
		all = append(all, m)
	}
	for _, m := range all {
		h.awaitHeld(m)
	}
	return all
}

// workBeside starts a round of the controller, and holds it at one of its requests to the API server. finished lets it go on, and
// waits for its end.
func (h *history) workBeside() (finished func()) {
	if h.chance(50) {
		return func() {}
	}
	held, ended := h.control.holdNext(h.random.IntN(12), h.chance(30), h.chance(30)), make(chan struct{})
	go func() {
		defer close(ended)
		h.keeper.round(h.Context())
	}()
	select {
	case <-held.reached:
		h.did("the controller is held: answered %t, lost %t", held.answered, held.lost)
		h.count("controller that was held")
	case <-ended:
		h.did("the controller makes a round")
	}
	return func() {
		h.control.release(held)
		<-ended
	}
}

// awaitHeld waits until a maker is held or answered.
func (h *history) awaitHeld(m *maker) {
	select {
	case <-m.held.reached:
		h.did("%s, and is held: answered %t, first %t", m.request, m.held.answered, m.first)
		h.count("maker that was held")
	case a := <-m.answered:
		m.answered <- a
		m.first = false
		m.portal.disarm()
		h.did("%s, and is answered: %s", m.request, a)
	case <-time.After(patience):
		m.portal.catchUp()
		m.first = false
		h.did("%s, and waits", m.request)
	}
	if m.held.answered {
		m.first = false
	}
}

// carryOut stops, and repeats it until the answer says that it is done.
func (h *history) carryOut(o *order) {
	h.Helper()
	unclear := false
	for range 5 {
		answered := make(chan answer, 1)
		go func() { answered <- o.run() }()
		var a answer
		if o.portal == nil {
			a = <-answered
		} else {
			a = h.await(answered, o.portal)
		}
		h.did("STOP: %s: %s", o.what, a)
		gone := a.status == http.StatusNotFound || a.status == http.StatusUnauthorized && o.spared != nil
		if a.ok() || unclear && gone { // the first try did it
			o.killed()
			return
		}
		unclear = unclear || !a.clear()
		if o.portal != nil {
			o.portal.mend()
		}
		h.catchUp(h.T)
	}
	h.wrong("it cannot be stopped")
}

// made notes what a maker made.
func (h *history) made(o *order, m *maker) {
	h.Helper()
	a := h.await(m.answered, m.portal)
	h.did("%s goes on: %s", m.request, a)
	if m.of != nil {
		h.rotated(m.of, m.overlap, a)
		return
	}
	t := h.created(m.request, a)
	if t == nil {
		return
	}
	h.count("creation beside a stop")
	t.revoked = o.takes(t.user, t.by)
	if t.revoked == maybe && t.by != nil && m.first {
		t.revoked = yes // its token was dead before anything was written
	}
}

// hauntBy lets secrets that must be dead try to make others, at portals that may not know.
func (h *history) hauntBy() {
	h.Helper()
	now := h.clock.Now()
	for _, s := range slices.Clone(h.secrets) {
		if _, may := h.lives(s, now); may || h.chance(50) {
			continue
		}
		if t := h.create(s.of.user, s); t != nil {
			t.revoked = yes
		}
	}
}

// settle ends all faults, lets the controller finish, and waits until every process has seen everything.
func (h *history) settle() {
	h.Helper()
	h.mend()
	h.product.SetUnavailable(false)
	h.reconcile()
	h.catchUp(h.T)
}

func itoa(n int) string { return strconv.Itoa(n) }

// tally counts what happened in all histories, to prove that they reach what is interesting.
type tally struct {
	sync.Mutex

	counts map[string]int
}

func (y *tally) count(what string) {
	y.Lock()
	defer y.Unlock()
	y.counts[what]++
}

func (y *tally) report(t *testing.T, histories int) {
	var all []string
	for _, what := range slices.Sorted(maps.Keys(y.counts)) {
		all = append(all, fmt.Sprintf("%s %d", what, y.counts[what]))
	}
	t.Log(strings.Join(all, ", "))
	if t.Failed() || y.counts["history"] < histories {
		return // those that were chosen prove something of themselves alone
	}
	enough := []string{"creation", "rotation", "delivery", "lag", "maker that was held", "controller that was held", "outage", "token that the portal of the stop has not seen", "token for the next user of a name", "pending mark", "creation beside a stop", "dead", "alive"}
	for name := range stops {
		enough = append(enough, "stop: "+name)
	}
	for _, what := range enough {
		if y.counts[what] == 0 {
			t.Errorf("there was no %s", what)
		}
	}
}
