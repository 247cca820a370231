package authn_test

import (
	"crypto/rand"
	mathrand "math/rand/v2"
	"testing"

	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/token"
)

func (f fixture) authenticates() bool {
	return f.Decide(request("/jira/rest/api", basic("alice", f.token))).Verdict == authn.Allow
}

// APIToken, record, site, caller keys and credential come and go in any order. The token authenticates exactly while all of
// them are there.
func TestLinkInAnyOrder(t *testing.T) {
	f := newFixture(t)
	parts := []struct{ put, remove func() }{
		{func() { f.PutToken(alice(uid, "ci")) }, func() { f.DeleteToken(uid) }},
		{func() { f.PutRecord(uid, f.record) }, func() { f.DeleteRecord(uid) }},
		{func() { f.PutSite(site(jira)) }, func() { f.DeleteSite(jira) }},
		{func() { f.PutMemory(jira, authn.Memory{UID: siteUID}) }, func() { f.DeleteMemory(jira) }},
		{func() { f.PutCallerKeys(jira, map[authurl.Contract][]string{authurl.Nginx: {key}}, nil) }, func() { f.DeleteCallerKeys(jira) }},
		{func() {
			f.PutUpstreamCredential(authn.UpstreamCredential{Site: jira, User: "alice", Authorization: bearer, Origin: origin})
		}, func() { f.DeleteUpstreamCredential(jira, "alice") }},
	}
	present := []bool{true, true, true, true, true, true}
	random := mathrand.New(mathrand.NewPCG(1, 2))
	for step := range 10_000 {
		i := random.IntN(len(parts))
		if present[i] = random.IntN(4) > 0; present[i] {
			parts[i].put()
		} else {
			parts[i].remove()
		}
		want := true
		for _, p := range present {
			want = want && p
		}
		if got := f.authenticates(); got != want {
			t.Fatalf("step %d, present %v: authenticates is %v", step, present, got)
		}
		if got, want := f.Size() == 1, present[0] && present[1]; got != want {
			t.Fatalf("step %d: %d tokens in the index", step, f.Size())
		}
	}
}

func TestRecordMustAgreeWithItsAPIToken(t *testing.T) {
	for name, change := range map[string]func(*record.Record, *authn.Token){
		"user":           func(r *record.Record, _ *authn.Token) { r.User = "bob" },
		"site":           func(r *record.Record, _ *authn.Token) { r.Site.Name = "other" },
		"site namespace": func(r *record.Record, _ *authn.Token) { r.Site.Namespace = "other" },
		"name":           func(r *record.Record, _ *authn.Token) { r.APIToken.Name = "other" },
		"namespace":      func(r *record.Record, _ *authn.Token) { r.APIToken.Namespace = "other" },
		"spec user":      func(_ *record.Record, t *authn.Token) { t.User = "bob" },
		"spec site":      func(_ *record.Record, t *authn.Token) { t.Site.Name = "other" },
		"UID":            func(_ *record.Record, t *authn.Token) { t.UID = "uid-2" },
	} {
		f := newFixture(t)
		r, tok := *f.record, alice(uid, "ci")
		change(&r, &tok)
		f.DeleteToken(uid)
		f.PutRecord(uid, &r)
		f.PutToken(tok)
		if f.authenticates() {
			t.Errorf("authenticates although the %s disagrees", name)
		}
	}
}

// A token id that exists twice can only be a damaged or copied record. Neither authenticates.
func TestTokenIDThatExistsTwice(t *testing.T) {
	f := newFixture(t)
	text, err := token.New(f.record.TokenID, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	duplicate := newRecord(t, "duplicate", f.record.TokenID, text)
	f.PutRecord("uid-2", duplicate)
	if !f.authenticates() {
		t.Error("a record without an APIToken disturbed another")
	}
	f.PutToken(alice("uid-2", "duplicate"))
	for _, secret := range []string{f.token, text} {
		if d := f.Decide(request("/jira/rest/api", basic("alice", secret))); d.Verdict != authn.Unauthorized {
			t.Errorf("%v although another APIToken has the same token id", d.Verdict)
		}
	}
	f.DeleteToken("uid-2")
	if !f.authenticates() {
		t.Error("does not authenticate although the duplicate is gone")
	}
	f.PutToken(alice("uid-2", "duplicate"))
	f.DeleteRecord("uid-2")
	f.DeleteToken(uid)
	f.DeleteToken("uid-2")
	if f.Size() != 0 {
		t.Errorf("%d tokens are left", f.Size())
	}
}

// A token is valid at one site, even if the same ingress and the same user exist at another.
func TestTokenIsGoodForItsSiteOnly(t *testing.T) {
	f := newFixture(t)
	other := authn.SiteName{Namespace: "jira", Name: "other"}
	f.PutSite(site(other))
	f.PutMemory(other, authn.Memory{UID: siteUID})
	f.PutCallerKeys(other, map[authurl.Contract][]string{authurl.Nginx: {key}}, nil)
	f.PutUpstreamCredential(authn.UpstreamCredential{Site: other, User: "alice", Authorization: bearer, Origin: origin})
	r := request("/jira/rest/api", basic("alice", f.token))
	r.Site = other
	if d := f.Decide(r); d.Verdict != authn.Unauthorized || d.Reason != authn.ReasonUnknownToken {
		t.Errorf("at another site: %+v", d)
	}
}
