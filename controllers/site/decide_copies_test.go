package site

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/upstream"
)

const (
	day  = 24 * time.Hour
	here = "http://jira.dev.svc:8080"
)

// held is a working copy with which all is well: of alice, who has APITokens, made an hour ago for 90 days.
func held(source upstream.Source) copyState {
	s := copyState{
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

// change is one thing that is different.
type change func(*copyState)

func aged(age, left time.Duration) change {
	return func(s *copyState) {
		s.credential.Stored = noon.Add(-age)
		if s.credential.Source == upstream.Enrolled {
			s.credential.Expires = noon.Add(left)
		}
	}
}

func due(s *copyState)       { s.checkAt = noon }
func orphaned(s *copyState)  { s.owned = false }
func moved(s *copyState)     { s.credential.Origin = "http://elsewhere" }
func silent(s *copyState)    { s.answering = false }
func unlisted(s *copyState)  { s.listed = false }
func listed(s *copyState)    { s.listed = true }
func rejected(s *copyState)  { s.credential.Refused = noon.Add(-day) }
func justAsked(s *copyState) { s.tried = noon.Add(1 - recheckPeriod) }
func garbled(s *copyState)   { s.readable, s.credential = false, upstream.Credential{} }
func renamed(s *copyState)   { s.credential.Refused, s.credential.Renamed = noon, true }
func replaced(s *copyState)  { s.credential.Replaced = 6 }

func TestNextStep(t *testing.T) {
	const given, enrolled, pasted = upstream.Given, upstream.Enrolled, upstream.Pasted
	for _, tc := range []struct {
		what    string
		source  upstream.Source
		changes []change
		want    copyStep
	}{
		{"given", given, nil, leave},
		{"given, to be checked", given, []change{due}, ask},
		{"given, to be checked, product away", given, []change{due, silent}, leave},
		{"given, to be checked, moved", given, []change{due, moved}, leave},
		{"given, entry gone", given, []change{unlisted}, drop},
		{"given, entry gone, product away", given, []change{unlisted, silent}, drop},
		{"given, entry gone, moved", given, []change{unlisted, moved}, drop},

		{"pasted", pasted, nil, leave},
		{"pasted, to be checked", pasted, []change{due}, ask},
		{"pasted, a year ago", pasted, []change{aged(365*day, 0)}, leave},
		{"pasted, no APIToken yet", pasted, []change{aged(pastedPeriod-1, 0), orphaned}, leave},
		{"pasted, no APIToken any more", pasted, []change{aged(pastedPeriod, 0), orphaned}, drop},
		{"pasted, no APIToken any more, product away", pasted, []change{aged(pastedPeriod, 0), orphaned, silent}, drop},
		{"pasted, refused", pasted, []change{rejected}, ask},
		{"pasted, beside an entry that is not verified", pasted, []change{listed}, leave},

		{"enrolled", enrolled, nil, leave},
		{"enrolled, to be checked", enrolled, []change{due}, ask},
		{"enrolled, to be checked, moved", enrolled, []change{due, moved}, leave},
		{"enrolled, to be checked, product away", enrolled, []change{due, silent}, leave},
		{"enrolled, beside an entry that is not verified", enrolled, []change{listed, due}, ask},
		{"enrolled, refused a while ago", enrolled, []change{rejected}, ask},
		{"enrolled, refused just now", enrolled, []change{rejected, justAsked}, leave},
		{"enrolled, refused just now, and to be checked", enrolled, []change{rejected, justAsked, due}, leave},

		{"of another user", enrolled, []change{renamed}, withdraw},
		{"of another user, asked just now", enrolled, []change{renamed, justAsked}, withdraw},
		{"of another user, product away", enrolled, []change{renamed, silent}, leave},
		{"of another user, moved", enrolled, []change{renamed, moved}, drop},

		{"no APIToken yet", enrolled, []change{aged(settlePeriod-1, 80*day), orphaned}, leave},
		{"no APIToken any more", enrolled, []change{aged(settlePeriod, 80*day), orphaned}, disuse},
		{"no APIToken any more, and not used", enrolled, []change{orphaned, rejected, justAsked}, withdraw},
		{"no APIToken any more, to be renewed", enrolled, []change{aged(70*day, 20*day), orphaned}, disuse},
		{"no APIToken any more, product away", enrolled, []change{orphaned, silent}, leave},
		{"no APIToken any more, moved", enrolled, []change{orphaned, moved}, drop},

		{"a third of its life is left", enrolled, []change{aged(60*day, 30*day)}, renew},
		{"more than a third of its life is left", enrolled, []change{aged(60*day-1, 30*day+1)}, leave},
		{"a short life", enrolled, []change{aged(20*day, 10*day)}, renew},
		{"more than a third of a short life", enrolled, []change{aged(19*day, 11*day)}, leave},
		{"the product did not say how long it lives", enrolled, []change{aged(60*day, 0), func(s *copyState) { s.credential.Expires = time.Time{} }}, renew},
		{"nor is it old", enrolled, []change{aged(59*day, 0), func(s *copyState) { s.credential.Expires = time.Time{} }}, leave},
		{"the product's clock is off", enrolled, []change{aged(checkPeriod-1, -day)}, leave},
		{"the product's clock is off still", enrolled, []change{aged(checkPeriod, -day)}, renew},
		{"to be renewed, and to be checked", enrolled, []change{aged(60*day, 30*day), due}, ask},
		{"to be renewed, tried just now", enrolled, []change{aged(60*day, 30*day), func(s *copyState) { s.renewAt = noon.Add(1) }}, leave},
		{"to be renewed, refused", enrolled, []change{aged(60*day, 30*day), rejected, justAsked}, leave},
		{"to be renewed, moved", enrolled, []change{aged(60*day, 30*day), moved}, leave},
		{"to be renewed, product away", enrolled, []change{aged(60*day, 30*day), silent}, leave},

		{"renewed just now", enrolled, []change{aged(settlePeriod-1, 90*day), replaced}, leave},
		{"renewed a while ago", enrolled, []change{aged(settlePeriod, 90*day), replaced}, retire},
		{"renewed, the old one tried just now", enrolled, []change{replaced, func(s *copyState) { s.retireAt = noon.Add(1) }}, leave},
		{"renewed, the old one cannot be revoked", enrolled, []change{aged(60*day, 30*day), replaced, func(s *copyState) { s.retireAt = noon.Add(1) }}, renew},
		{"renewed, and moved", enrolled, []change{replaced, moved}, leave},

		{"damaged, with an entry", given, []change{garbled}, leave},
		{"damaged, without", given, []change{garbled, unlisted}, drop},
	} {
		s := held(tc.source)
		for _, change := range tc.changes {
			change(&s)
		}
		if got := s.next(); got != tc.want {
			t.Errorf("%s: step %d, want %d", tc.what, got, tc.want)
		}
		if got := s.next(); s.moved() && got.asks() {
			t.Errorf("%s: it is sent to another origin", tc.what)
		}
		s.answering = false
		if got := s.next(); got.asks() {
			t.Errorf("%s: step %d asks a product that does not answer", tc.what, got)
		}
	}
}

// Nothing of the portal's is taken from somebody who has an APIToken, whatever else is.
func TestNothingIsDestroyedThatIsNeeded(t *testing.T) {
	all := []change{due, moved, silent, listed, rejected, justAsked, replaced, aged(70*day, 20*day), aged(0, 90*day)}
	for _, source := range []upstream.Source{upstream.Enrolled, upstream.Pasted} {
		for set := range 1 << len(all) {
			s := held(source)
			for i, change := range all {
				if set&(1<<i) != 0 {
					change(&s)
				}
			}
			if step := s.next(); s.destroys(step) {
				t.Fatalf("%s, %b: step %d", source, set, step)
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
		"under another name":         {atlassian.User{Name: "alicia", Key: "K1"}, nil, anothers},
		"the next one of this name":  {atlassian.User{Name: "alice", Key: "K2"}, nil, anothers},
		"a name beyond ASCII":        {atlassian.User{Name: "alicé", Key: "K1"}, nil, anothers},
		"nobody":                     {atlassian.User{}, nil, anothers},
		"refused":                    {atlassian.User{}, fmt.Errorf("asking: %w", atlassian.ErrRefused), refused},
		"unexpected":                 {atlassian.User{Name: "alice", Key: "K1"}, atlassian.ErrUnexpected, unclear},
		"something else":             {atlassian.User{}, errors.New("?"), unclear},
		"refused, whatever it names": {atlassian.User{Name: "alice"}, atlassian.ErrRefused, refused},
	} {
		if got := judge(c, tc.named, tc.err); got != tc.want {
			t.Errorf("%s: %d, want %d", name, got, tc.want)
		}
	}
	c.UserKey = ""
	if got := judge(c, atlassian.User{Name: "alice", Key: "K1"}, nil); got != accepted {
		t.Errorf("a key that nobody noted: %d", got)
	}
}

func TestIsStray(t *testing.T) {
	c, old := upstream.Credential{ID: 7, Replaced: 6}, noon.Add(-settlePeriod)
	for name, tc := range map[string]struct {
		pat  atlassian.PAT
		want bool
	}{
		"left over":         {atlassian.PAT{ID: 5, Name: "ours", Created: old}, true},
		"made just now":     {atlassian.PAT{ID: 8, Name: "ours", Created: old.Add(1)}, false},
		"nobody knows when": {atlassian.PAT{ID: 5, Name: "ours"}, false},
		"in use":            {atlassian.PAT{ID: 7, Name: "ours", Created: old}, false},
		"replaced":          {atlassian.PAT{ID: 6, Name: "ours", Created: old}, false},
		"of another name":   {atlassian.PAT{ID: 5, Name: "ours 2", Created: old}, false},
		"in another case":   {atlassian.PAT{ID: 5, Name: "Ours", Created: old}, false},
	} {
		if got := isStray(tc.pat, "ours", c, noon); got != tc.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestRejections(t *testing.T) {
	site := siteAt("dev/main", noon, "https://example.com/jira")
	const unusable, changed, ending = tokensv1alpha1.ReasonCredentialUnusable, tokensv1alpha1.ReasonUpstreamChanged, tokensv1alpha1.ReasonRenewalRefused
	const page = "'alice' has to sign in and open https://example.com/jira/plugins/servlet/api-tokens"
	stuck := func(s *copyState) { s.stuck = true }
	for name, tc := range map[string]struct {
		source  upstream.Source
		changes []change
		reason  string // "" for none
		says    []string
	}{
		"all well": {upstream.Enrolled, nil, "", nil},
		"refused":  {upstream.Enrolled, []change{rejected}, unusable, []string{page, "revoked", "deactivated"}},
		"of another user": {upstream.Enrolled, []change{renamed}, unusable, []string{
			"another name", "whoever is 'alice' now has to sign in and open https://example.com/jira/plugins/servlet/api-tokens",
		}},
		"refused, pasted":         {upstream.Pasted, []change{rejected}, unusable, []string{page}},
		"moved":                   {upstream.Enrolled, []change{moved}, changed, []string{page, here, "http://elsewhere"}},
		"moved, and refused":      {upstream.Enrolled, []change{moved, rejected}, changed, []string{page}},
		"not renewed":             {upstream.Enrolled, []change{stuck}, ending, []string{"delete some", "raise the limit", "until 2026-04-01"}},
		"not renewed, no end":     {upstream.Enrolled, []change{stuck, func(s *copyState) { s.credential.Expires = time.Time{} }}, ending, []string{"until it ends"}},
		"not renewed, refused":    {upstream.Enrolled, []change{stuck, rejected}, unusable, []string{page}},
		"refused, nobody waits":   {upstream.Enrolled, []change{rejected, orphaned}, "", nil},
		"moved, nobody waits":     {upstream.Enrolled, []change{moved, orphaned}, "", nil},
		"given, its entry tells":  {upstream.Given, []change{moved, rejected}, "", nil},
		"damaged, its entry does": {upstream.Given, []change{garbled}, "", nil},
	} {
		s := held(tc.source)
		for _, change := range tc.changes {
			change(&s)
		}
		r := s.rejection(&site)
		switch {
		case (r == nil) != (tc.reason == ""):
			t.Errorf("%s: %+v, want reason %q", name, r, tc.reason)
		case r != nil && (r.reason != tc.reason || r.user != "alice"):
			t.Errorf("%s: %+v, want reason %q", name, r, tc.reason)
		}
		for _, want := range tc.says {
			if r != nil && !strings.Contains(r.why, want) {
				t.Errorf("%s: it does not say %q: %s", name, want, r.why)
			}
		}
	}
}

func TestMemory(t *testing.T) {
	m, site := NewMemory(), types.NamespacedName{Namespace: "dev", Name: "main"}
	of := func(name string, stored time.Time) *note { return m.of(site, name, stored, noon) }
	a := of("a", noon)
	a.stuck = true
	if of("a", noon) != a {
		t.Error("it is not remembered")
	}
	if other := of("a", noon.Add(1)); other.stuck || other.checkAt.Sub(noon) < checkPeriod/2 {
		t.Error("another one in its place is taken for it, or checked just after it was stored")
	}
	if old := of("a", noon.Add(-day)); !old.checkAt.Equal(nextCheck("a", noon)) {
		t.Errorf("one that was stored long ago is checked at %s", old.checkAt)
	}
	b := of("b", time.Time{})
	m.keep(site, map[string]bool{"b": true})
	if of("b", time.Time{}) != b || len(m.notes[site]) != 1 {
		t.Errorf("kept is %v", m.notes)
	}
	if m.keep(site, nil); len(m.notes) != 0 {
		t.Errorf("of a site that is gone %v is kept", m.notes)
	}
}

func TestConditionTellsWhatIsNotRenewedApart(t *testing.T) {
	const unusable, ending = tokensv1alpha1.ReasonCredentialUnusable, tokensv1alpha1.ReasonRenewalRefused
	line := func(reason string, n int) []rejection {
		var all []rejection
		for i := range n {
			all = append(all, rejection{reason, fmt.Sprintf("u%02d", i), "why"})
		}
		return all
	}
	for name, tc := range map[string]struct {
		rejected        []rejection
		reason, message string
	}{
		"one":  {line(ending, 1), ending, "Not renewed: 'u00': why."},
		"both": {[]rejection{{ending, "a", "x"}, {unusable, "b", "y"}, {ending, "c", "z"}}, unusable, "Not in use: 'b': y. Not renewed: 'a': x; 'c': z."},
		"many": {
			slices.Concat(line(ending, 12), line(unusable, 8)), unusable,
			"Not in use: 'u00': why; 'u01': why; 'u02': why; 'u03': why; 'u04': why; 'u05': why; 'u06': why; 'u07': why. " +
				"Not renewed: 'u00': why; 'u01': why; and 10 more.",
		},
	} {
		if reason, message := credentialsCondition(tc.rejected); reason != tc.reason || message != tc.message {
			t.Errorf("%s: %s, %q; want %s, %q", name, reason, message, tc.reason, tc.message)
		}
	}
}
