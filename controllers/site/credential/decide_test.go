package credential

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/upstream"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

const (
	day  = 24 * time.Hour
	here = "http://jira.dev.svc:8080"
)

// held returns a sound working copy of alice, who has APITokens. It was stored an hour ago, for 90 days.
func held(source upstream.Source) state {
	s := state{
		now: noon, name: "copy", readable: true, owned: true, origin: here, answering: true,
		credential: upstream.Credential{Namespace: "dev", Site: "main", User: "alice", Origin: here, Token: "x", Source: source},
		note:       &note{tried: noon.Add(-time.Hour), checkAt: noon.Add(time.Second)},
	}
	switch source {
	case upstream.Given:
		s.listed, s.owned = true, false
	case upstream.Enrolled:
		s.credential.ID, s.credential.Expires = 7, noon.Add(90*day-time.Hour)
		fallthrough
	case upstream.Pasted:
		s.credential.Stored = noon.Add(-time.Hour)
	}
	return s
}

// change changes one thing of a state.
type change func(*state)

func aged(age, left time.Duration) change {
	return func(s *state) {
		s.credential.Stored = noon.Add(-age)
		if s.credential.Source == upstream.Enrolled {
			s.credential.Expires = noon.Add(left)
		}
	}
}

func due(s *state)       { s.checkAt = noon }
func orphaned(s *state)  { s.owned = false }
func moved(s *state)     { s.credential.Origin = "http://elsewhere" }
func silent(s *state)    { s.answering = false }
func unlisted(s *state)  { s.listed = false }
func listed(s *state)    { s.listed = true }
func rejected(s *state)  { s.credential.Refused = noon.Add(-day) }
func justAsked(s *state) { s.tried = noon.Add(1 - recheckPeriod) }
func garbled(s *state)   { s.readable, s.credential = false, upstream.Credential{} }
func renamed(s *state)   { s.credential.Refused, s.credential.Renamed = noon, true }
func marked(s *state)    { s.credential.Ending = noon }
func blocked(s *state)   { s.blocked = true }
func replaced(s *state)  { s.credential.Replaced = 6 }

func TestNextStep(t *testing.T) {
	const given, enrolled, pasted = upstream.Given, upstream.Enrolled, upstream.Pasted
	for _, tc := range []struct {
		what    string
		source  upstream.Source
		changes []change
		want    step
	}{
		{"given", given, nil, leave},
		{"given, to be checked", given, []change{due}, check},
		{"given, to be checked, product away", given, []change{due, silent}, leave},
		{"given, to be checked, moved", given, []change{due, moved}, leave},
		{"given, entry gone", given, []change{unlisted}, drop},
		{"given, entry gone, product away", given, []change{unlisted, silent}, drop},
		{"given, entry gone, moved", given, []change{unlisted, moved}, drop},

		{"pasted", pasted, nil, leave},
		{"pasted, to be checked", pasted, []change{due}, check},
		{"pasted, a year ago", pasted, []change{aged(365*day, 0)}, leave},
		{"pasted, no APIToken yet", pasted, []change{aged(pastedPeriod-1, 0), orphaned}, leave},
		{"pasted, no APIToken any more", pasted, []change{aged(pastedPeriod, 0), orphaned}, mark},
		{"pasted, no APIToken any more, product away", pasted, []change{aged(pastedPeriod, 0), orphaned, silent}, mark},
		{"pasted, no APIToken any more, marked", pasted, []change{aged(pastedPeriod, 0), orphaned, marked}, drop},
		{"pasted, marked, but needed again", pasted, []change{marked}, check},
		{"pasted, of a blocked user", pasted, []change{blocked, silent}, drop},
		{"pasted, refused", pasted, []change{rejected}, check},
		{"pasted, beside an entry that is not verified", pasted, []change{listed}, leave},

		{"enrolled", enrolled, nil, leave},
		{"enrolled, to be checked", enrolled, []change{due}, check},
		{"enrolled, to be checked, moved", enrolled, []change{due, moved}, leave},
		{"enrolled, to be checked, product away", enrolled, []change{due, silent}, leave},
		{"enrolled, beside an entry that is not verified", enrolled, []change{listed, due}, check},
		{"enrolled, refused a while ago", enrolled, []change{rejected}, check},
		{"enrolled, refused just now", enrolled, []change{rejected, justAsked}, leave},
		{"enrolled, refused just now, and to be checked", enrolled, []change{rejected, justAsked, due}, leave},

		{"of another user", enrolled, []change{renamed}, withdraw},
		{"of another user, asked just now", enrolled, []change{renamed, justAsked}, withdraw},
		{"of another user, product away", enrolled, []change{renamed, silent}, leave},
		{"of another user, moved", enrolled, []change{renamed, moved}, leave},
		{"of another user, moved, and at its end", enrolled, []change{aged(90*day, 0), renamed, moved}, drop},

		{"no APIToken yet", enrolled, []change{aged(settlePeriod-1, 80*day), orphaned}, leave},
		{"no APIToken any more", enrolled, []change{aged(settlePeriod, 80*day), orphaned}, mark},
		{"no APIToken any more, marked", enrolled, []change{aged(settlePeriod, 80*day), orphaned, marked}, withdraw},
		{"no APIToken any more, and not used", enrolled, []change{orphaned, rejected, justAsked}, mark},
		{"no APIToken any more, not used, marked", enrolled, []change{orphaned, rejected, justAsked, marked}, withdraw},
		{"no APIToken any more, to be renewed", enrolled, []change{aged(70*day, 20*day), orphaned}, mark},
		{"no APIToken any more, product away", enrolled, []change{orphaned, silent}, leave},
		{"no APIToken any more, moved", enrolled, []change{orphaned, moved}, leave},
		{"no APIToken any more, moved, marked", enrolled, []change{orphaned, moved, marked}, leave},
		{"no APIToken any more, moved, just before its end", enrolled, []change{aged(90*day-1, 1), orphaned, moved}, leave},
		{"no APIToken any more, moved, at its end", enrolled, []change{aged(90*day, 0), orphaned, moved}, mark},
		{"no APIToken any more, moved, at its end, marked", enrolled, []change{aged(90*day, 0), orphaned, moved, marked}, drop},
		{"marked, but needed again", enrolled, []change{marked}, check},
		{"marked, but needed again, product away", enrolled, []change{marked, silent}, leave},

		{"of a blocked user", enrolled, []change{blocked}, disuse},
		{"of a blocked user, product away", enrolled, []change{blocked, silent}, disuse},
		{"of a blocked user, not used", enrolled, []change{blocked, rejected}, withdraw},
		{"of a blocked user, not used, product away", enrolled, []change{blocked, rejected, silent}, leave},
		{"of a blocked user, moved", enrolled, []change{blocked, moved}, disuse},
		{"of a blocked user, moved, not used", enrolled, []change{blocked, moved, rejected}, leave},
		{"given, of a blocked user", given, []change{blocked, silent}, drop},

		{"a third of its life is left", enrolled, []change{aged(60*day, 30*day)}, renew},
		{"more than a third of its life is left", enrolled, []change{aged(60*day-1, 30*day+1)}, leave},
		{"a short life", enrolled, []change{aged(20*day, 10*day)}, renew},
		{"more than a third of a short life", enrolled, []change{aged(19*day, 11*day)}, leave},
		{"the product did not say how long it lives", enrolled, []change{aged(60*day, 0), func(s *state) { s.credential.Expires = time.Time{} }}, renew},
		{"nor is it old", enrolled, []change{aged(59*day, 0), func(s *state) { s.credential.Expires = time.Time{} }}, leave},
		{"the product's clock is off", enrolled, []change{aged(checkPeriod-1, -day)}, leave},
		{"the product's clock is off still", enrolled, []change{aged(checkPeriod, -day)}, renew},
		{"to be renewed, and to be checked", enrolled, []change{aged(60*day, 30*day), due}, check},
		{"to be renewed, tried just now", enrolled, []change{aged(60*day, 30*day), func(s *state) { s.renewAt = noon.Add(1) }}, leave},
		{"to be renewed, refused", enrolled, []change{aged(60*day, 30*day), rejected, justAsked}, leave},
		{"to be renewed, moved", enrolled, []change{aged(60*day, 30*day), moved}, leave},
		{"to be renewed, product away", enrolled, []change{aged(60*day, 30*day), silent}, leave},

		{"renewed just now", enrolled, []change{aged(settlePeriod-1, 90*day), replaced}, leave},
		{"renewed a while ago", enrolled, []change{aged(settlePeriod, 90*day), replaced}, retire},
		{"renewed, the old one tried just now", enrolled, []change{replaced, func(s *state) { s.retireAt = noon.Add(1) }}, leave},
		{"renewed, the old one cannot be revoked", enrolled, []change{aged(60*day, 30*day), replaced, func(s *state) { s.retireAt = noon.Add(1) }}, renew},
		{"renewed, and moved", enrolled, []change{replaced, moved}, leave},

		{"damaged, with an entry", given, []change{garbled}, leave},
		{"damaged, without", given, []change{garbled, unlisted}, leave},
	} {
		s := held(tc.source)
		for _, change := range tc.changes {
			change(&s)
		}
		if got := s.next(); got != tc.want {
			t.Errorf("%s: step %s, want %s", tc.what, got, tc.want)
		}
		if got := s.next(); s.moved() && got.asks() {
			t.Errorf("%s: it is sent to another origin", tc.what)
		}
		s.answering = false
		if got := s.next(); got.asks() {
			t.Errorf("%s: step %s asks a product that does not answer", tc.what, got)
		}
	}
}

// A user with an APIToken never loses a copy from the portal, in any state.
func TestNothingIsDestroyedThatIsNeeded(t *testing.T) {
	all := []change{due, moved, silent, listed, rejected, justAsked, replaced, marked, aged(70*day, 20*day), aged(0, 90*day)}
	for _, source := range []upstream.Source{upstream.Enrolled, upstream.Pasted} {
		for set := range 1 << len(all) {
			s := held(source)
			for i, change := range all {
				if set&(1<<i) != 0 {
					change(&s)
				}
			}
			if step := s.next(); s.destroys(step) {
				t.Fatalf("%s, %b: step %s", source, set, step)
			}
			if s.owned = false; s.abandoned() && s.credential.Source == upstream.Enrolled && s.next() == drop && !s.moved() {
				t.Fatalf("%s, %b: it is forgotten, and not revoked", source, set)
			}
		}
	}
}

func TestNextCheck(t *testing.T) {
	minutes := map[int]int{}
	for i := range 6000 {
		name := upstream.SecretName("dev", "main", fmt.Sprintf("user-%d", i))
		next := nextCheck(name, noon)
		if after := next.Sub(noon); after < 0 || after >= checkPeriod || nextCheck(name, next) != next {
			t.Fatalf("%s is checked after %s", name, after)
		}
		minutes[next.Minute()]++
		n := &note{}
		for range 3 {
			n.checked(name, next.Add(10*time.Minute)) // there were many
			if n.checkAt.Sub(next) != checkPeriod {
				t.Fatalf("%s is checked at %s, and then at %s", name, next, n.checkAt)
			}
			next = n.checkAt
		}
	}
	if len(minutes) != 60 {
		t.Errorf("they are due in %d minutes of 60 only", len(minutes))
	}
	for minute, n := range minutes {
		if n > 200 {
			t.Errorf("%d of 6000 are due in minute %d", n, minute)
		}
	}
}

func TestJudge(t *testing.T) {
	c := upstream.Credential{User: "alice", UserKey: "K1"}
	for name, tc := range map[string]struct {
		named atlassian.User
		err   error
		want  answer
	}{
		"herself":                    {atlassian.User{Name: "alice", Key: "K1"}, nil, accepted},
		"spelled otherwise":          {atlassian.User{Name: "Alice", Key: "K1"}, nil, accepted},
		"without a key":              {atlassian.User{Name: "alice"}, nil, accepted},
		"under another name":         {atlassian.User{Name: "alicia", Key: "K1"}, nil, accepted},
		"the next one of this name":  {atlassian.User{Name: "alice", Key: "K2"}, nil, anothers},
		"another name and no key":    {atlassian.User{Name: "alicia"}, nil, anothers},
		"another name and key":       {atlassian.User{Name: "alicia", Key: "K2"}, nil, anothers},
		"nobody":                     {atlassian.User{}, nil, anothers},
		"refused":                    {atlassian.User{}, fmt.Errorf("asking: %w", atlassian.ErrRefused), refused},
		"unexpected":                 {atlassian.User{Name: "alice", Key: "K1"}, atlassian.ErrUnexpected, unclear},
		"something else":             {atlassian.User{}, errors.New("?"), unclear},
		"refused, whatever it names": {atlassian.User{Name: "alice"}, atlassian.ErrRefused, refused},
	} {
		if got := judge(c, tc.named, tc.err); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
	c.UserKey = ""
	for name, want := range map[string]answer{"alice": accepted, "Alice": accepted, "alicia": anothers, "alicé": anothers} {
		if got := judge(c, atlassian.User{Name: name, Key: "K1"}, nil); got != want {
			t.Errorf("%s, with a key that nobody noted: %s", name, got)
		}
	}
}

func TestIsStray(t *testing.T) {
	c, old, ours := upstream.Credential{User: "alice", ID: 7, Replaced: 6}, noon.Add(-settlePeriod), upstream.PATName("site", "alice", "")
	for name, tc := range map[string]struct {
		pat  atlassian.PAT
		want bool
	}{
		"left over":                {atlassian.PAT{ID: 5, Name: ours, Created: old}, true},
		"left over, of the portal": {atlassian.PAT{ID: 5, Name: upstream.PATName("site", "alice", "abcde"), Created: old}, true},
		"made just now":            {atlassian.PAT{ID: 8, Name: ours, Created: old.Add(1)}, false},
		"nobody knows when":        {atlassian.PAT{ID: 5, Name: ours}, false},
		"in use":                   {atlassian.PAT{ID: 7, Name: ours, Created: old}, false},
		"replaced":                 {atlassian.PAT{ID: 6, Name: ours, Created: old}, false},
		"of another site":          {atlassian.PAT{ID: 5, Name: upstream.PATName("other", "alice", ""), Created: old}, false},
		"of her former name":       {atlassian.PAT{ID: 5, Name: upstream.PATName("site", "alicia", ""), Created: old}, false},
		"in another case":          {atlassian.PAT{ID: 5, Name: strings.ToLower(ours), Created: old}, false},
	} {
		if got := isStray(tc.pat, "site", c, noon); got != tc.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
