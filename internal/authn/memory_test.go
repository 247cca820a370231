package authn_test

import (
	"testing"
	"time"

	"apitokens.dev/operator/internal/authn"
)

// The later one of a site's epoch and the one that is remembered of its name counts, whichever comes first.
func TestRememberedEpoch(t *testing.T) {
	early, late := time.Unix(1, 0), time.Unix(2, 0) // the fixture's token was issued at the first
	for name, tc := range map[string]struct {
		own, remembered time.Time
		want            authn.Reason
	}{
		"none":              {time.Time{}, time.Time{}, authn.ReasonAuthenticated},
		"of the site":       {late, time.Time{}, authn.ReasonRevokedByEpoch},
		"remembered":        {time.Time{}, late, authn.ReasonRevokedByEpoch},
		"a lower one":       {early, late, authn.ReasonRevokedByEpoch},
		"a higher one":      {late, early, authn.ReasonRevokedByEpoch},
		"neither is later":  {early, early, authn.ReasonAuthenticated},
		"only an early one": {time.Time{}, early, authn.ReasonAuthenticated},
	} {
		f := newFixture(t)
		s := site(jira)
		s.Lifetime.IssuedAfter = tc.own
		memory := authn.Memory{UID: siteUID, IssuedAfter: tc.remembered}
		for order, put := range map[string]func(){
			"the site first":   func() { f.PutSite(s); f.PutMemory(jira, memory) },
			"the memory first": func() { f.PutMemory(jira, memory); f.PutSite(s) },
		} {
			f.PutSite(site(jira))
			f.PutMemory(jira, authn.Memory{UID: siteUID})
			put()
			if d := f.Decide(request(myself, basic("alice", f.token))); d.Reason != tc.want {
				t.Errorf("%s, %s: decided %+v, want %s", name, order, d, tc.want)
			}
		}
	}
}

// Until something is remembered about this very site, nothing is decided for it, with a token or without.
func TestSiteThatIsNotRemembered(t *testing.T) {
	f := newFixture(t)
	for name, change := range map[string]func(){
		"nothing":         func() { f.DeleteMemory(jira) },
		"an earlier site": func() { f.PutMemory(jira, authn.Memory{UID: "earlier"}) },
		"no UID":          func() { f.PutMemory(jira, authn.Memory{}) },
		"nothing, and the site has no UID": func() {
			s := site(jira)
			s.UID = ""
			f.PutSite(s)
			f.DeleteMemory(jira)
		},
		"another name": func() {
			f.DeleteMemory(jira)
			f.PutMemory(authn.SiteName{Namespace: "jira", Name: "other"}, authn.Memory{UID: siteUID})
		},
	} {
		change()
		want := authn.Decision{Verdict: authn.CannotDecide, Reason: authn.ReasonSiteNotRemembered}
		for _, authorization := range []string{basic("alice", f.token), basic("alice", "password"), "Bearer x"} {
			if d := f.Decide(request(myself, authorization)); d != want {
				t.Errorf("%s: decided %+v", name, d)
			}
		}
		if d := f.Identify(ownRequest("/jira/rest/api-tokens/", basic("alice", f.token))); d != want {
			t.Errorf("%s, at the own API: decided %+v", name, d)
		}
		f.PutSite(site(jira))
		f.PutMemory(jira, authn.Memory{UID: siteUID})
		if !f.authenticates() {
			t.Errorf("%s: not even once it is remembered", name)
		}
	}
}
