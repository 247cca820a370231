package credential

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/enrolment"
	"apitokens.dev/operator/internal/upstream"
)

// anyState returns a state of a copy with its enrolment, whose times lie around those that matter.
func anyState(r *rand.Rand) (state, enrolment.Enrolment) {
	around := func(times ...time.Duration) time.Time {
		return noon.Add(times[r.IntN(len(times))] + time.Duration(r.Int64N(int64(2*time.Hour))) - time.Hour)
	}
	changes := []change{due, orphaned, moved, silent, unlisted, listed, rejected, justAsked, garbled, renamed, marked, blocked, replaced}
	s := held([]upstream.Source{upstream.Given, upstream.Enrolled, upstream.Pasted}[r.IntN(3)])
	s.note = &note{tried: around(0), checkAt: around(0, time.Hour), retireAt: around(0, -day), renewAt: around(0, -day)}
	if s.credential.Source != upstream.Given {
		s.credential.Stored = around(0, -day, -30*day, -60*day, -90*day)
	}
	if s.credential.Source == upstream.Enrolled && r.IntN(4) > 0 {
		s.credential.Expires = s.credential.Stored.Add(time.Duration(r.IntN(90)) * day)
	}
	for range r.IntN(3) {
		changes[r.IntN(len(changes))](&s)
	}
	s.stuck = r.IntN(8) == 0
	if r.IntN(8) == 0 {
		s.wanted = around(0)
	}
	e := describe(enrolment.Enrolment{Name: "alice"}, &s.credential, s.origin)
	if r.IntN(8) == 0 {
		e.State = enrolment.Pending
	}
	return s, e
}

// Until the time at which a copy is looked at again there is nothing to do about it and nothing to report, whether the product answers
// or not, and also if its user has an APIToken then.
func TestAgain(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	quiet := 0
	for range 200_000 {
		s, e := anyState(r)
		at := s.again(e)
		if at.IsZero() {
			continue
		}
		quiet++
		if describe(e, &s.credential, s.origin) != e {
			t.Fatalf("the enrolment is %+v: %+v", e, s)
		}
		if !at.After(s.now) {
			t.Fatalf("it is due at %s already, now is %s: %+v", at, s.now, s)
		}
		for _, now := range []time.Time{s.now, s.now.Add(time.Duration(r.Int64N(int64(at.Sub(s.now))))), at.Add(-1)} {
			for _, answering := range []bool{true, false} {
				for _, owned := range []bool{s.owned, true} {
					then := s
					then.now, then.answering, then.owned = now, answering, owned
					if next, found := then.next(), then.rejection(&tokensv1alpha1.AtlassianSite{}); next != leave || found != nil {
						t.Fatalf("at %s the step is %s and the rejection %v before %s: %+v", now, next, found, at, then)
					}
				}
			}
		}
	}
	if quiet < 20_000 {
		t.Errorf("only %d states are quiet", quiet)
	}
}

// A pass looks at all if nothing is known yet, if something about the whole site changed, and once an hour.
func TestWholeLooks(t *testing.T) {
	site := func(uid types.UID, generation int64) *tokensv1alpha1.AtlassianSite {
		s := &tokensv1alpha1.AtlassianSite{}
		s.UID, s.Generation = uid, generation
		return s
	}
	for name, tc := range map[string]struct {
		site    *tokensv1alpha1.AtlassianSite
		after   time.Duration
		changed string
		all     bool
	}{
		"nothing":               {site("1", 1), time.Minute, "upstream.a", false},
		"the clock stands":      {site("1", 1), 0, "upstream.a", false},
		"an hour later":         {site("1", 1), wholePeriod, "upstream.a", true},
		"the clock went back":   {site("1", 1), -time.Second, "upstream.a", true},
		"another spec":          {site("1", 2), time.Minute, "upstream.a", true},
		"another site":          {site("2", 1), time.Minute, "upstream.a", true},
		"a Secret of all names": {site("1", 1), time.Minute, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAgenda()
			if _, all := a.begin(site("1", 1), noon); !all {
				t.Error("the first pass does not look at all")
			}
			if _, all := a.begin(site("1", 1), noon); !all {
				t.Error("a pass after one that did not end does not look at all")
			}
			a.whole = a.begun
			a.put(look{name: "upstream.later", at: noon.Add(time.Hour + 1)})
			a.changed[tc.changed] = true
			names, all := a.begin(tc.site, noon.Add(tc.after))
			if all != tc.all || !all && !slices.Equal(names, []string{"upstream.a"}) {
				t.Errorf("all: %t, names %q", all, names)
			}
		})
	}
}

// The times of an agenda have no monotonic reading. Most of them are from Secrets: beside those, a clock that is put back would leave
// looks behind that are never taken.
func TestAgendaGoesByTheWallClock(t *testing.T) {
	a, now := newAgenda(), time.Now()
	a.begin(&tokensv1alpha1.AtlassianSite{}, now)
	a.put(look{name: "upstream.a", at: now, answered: now})
	if l := a.byName["upstream.a"]; a.begun != now.Round(0) || l.at != now.Round(0) || l.answered != now.Round(0) {
		t.Errorf("begun %v, look %v", a.begun, l)
	}
}

// While no pass comes, as at a site that is not served, the names of users who come and go are not kept for ever.
func TestChangesAreBounded(t *testing.T) {
	m, s := NewMemory(), &tokensv1alpha1.AtlassianSite{}
	s.Namespace, s.Name = "dev", "main"
	site := client.ObjectKeyFromObject(s)
	_ = m.Source()
	if m.Changed(site, "upstream.a"); len(m.agendas) != 0 {
		t.Error("something is kept before the first pass, which looks at all")
	}
	m.begin(s, noon)
	m.looked(site, slices.Values([]look{{name: "upstream.b", at: noon.Add(time.Minute)}}), true)
	for i := range 10 * maxChanged {
		m.Changed(site, fmt.Sprintf("upstream.%d", i))
	}
	if n := len(m.agendas[site].changed); n > maxChanged+2 {
		t.Errorf("%d names are kept", n)
	}
	if _, all := m.begin(s, noon); !all {
		t.Error("a pass after so many changes does not look at all")
	}
}

// What is due and gone is forgotten, also beside entries of `upstreamCredentials`.
func TestGoneBesideEntries(t *testing.T) {
	k, s := slowSite(3, prompt{})
	p, err := k.newPass(s, nil)
	if err != nil {
		t.Fatal(err)
	}
	due := append(make([]string, 0, 10), "upstream.z", "upstream.a", "upstream.k")
	if _, err := p.observeDue(t.Context(), due); err != nil || !slices.Equal(due, []string{"upstream.z", "upstream.a", "upstream.k"}) {
		t.Errorf("due is %q, %v", due, err)
	}
}
