package authn_test

import (
	"crypto/rand"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/token"
)

// rotated replaces the fixture's record with one that has a dead secret, a replaced one and a current one. It returns their
// texts.
func (f *fixture) rotated(t *testing.T) (dead, ending, current string) {
	t.Helper()
	r := *f.record
	dead = f.token
	now := time.Now()
	add := func(e record.Entry) string {
		text, err := token.New(r.TokenID, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if e.Hash, err = record.NewHash(text, rand.Reader); err != nil {
			t.Fatal(err)
		}
		r.Entries = append(r.Entries, e)
		return text
	}
	ending = add(record.Entry{State: record.Ending, Issued: now.Add(-time.Hour), Ends: now.Add(time.Hour)})
	current = add(record.Entry{State: record.Delivered, Issued: now})
	r.Keep(r.Entries[1:], now)
	f.record = &r
	f.PutRecord(uid, &r)
	return dead, ending, current
}

// A secret of a deleted APIToken, a replaced secret, and one from before the epoch are refused, and the log has the reason and
// the id.
func TestReasonOfADeadSecret(t *testing.T) {
	f := newFixture(t)
	dead, ending, current := f.rotated(t)
	wrong, err := token.New(f.record.TokenID, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, want map[string]authn.Reason) {
		t.Helper()
		for text, reason := range want {
			d := f.Decide(request(myself, basic("alice", text)))
			if d.Reason != reason || d.TokenID != f.record.TokenID || (d.Verdict == authn.Allow) != (reason == authn.ReasonAuthenticated) {
				t.Errorf("%s: decided %+v, want %s", what, d, reason)
			}
		}
		d := f.Decide(request(myself, basic("bob", dead)))
		if d.Reason != authn.ReasonWrongUser || d.Claimed != "bob" {
			t.Errorf("%s, by another user: decided %+v", what, d)
		}
	}
	check("rotated", map[string]authn.Reason{
		dead: authn.ReasonReplaced, ending: authn.ReasonAuthenticated, current: authn.ReasonAuthenticated, wrong: authn.ReasonWrongSecret,
	})
	s := site(jira)
	s.Lifetime.IssuedAfter = time.Now().Add(-time.Minute)
	f.PutSite(s)
	check("after the epoch", map[string]authn.Reason{
		dead: authn.ReasonRevokedByEpoch, ending: authn.ReasonRevokedByEpoch, current: authn.ReasonAuthenticated, wrong: authn.ReasonWrongSecret,
	})
	f.PutSite(site(jira))
	deleted := map[string]authn.Reason{
		dead: authn.ReasonReplaced, ending: authn.ReasonDeleted, current: authn.ReasonDeleted, wrong: authn.ReasonWrongSecret,
	}
	killed := *f.record
	killed.Kill(time.Now())
	f.PutRecord(uid, &killed)
	check("dead, although the APIToken is still there", deleted)
	f.DeleteToken(uid)
	check("deleted", deleted)
	f.PutRecord(uid, f.record)
	check("deleted, but not marked yet", deleted)
	f.DeleteRecord(uid)
	if d := f.Decide(request(myself, basic("alice", current))); d.Reason != authn.ReasonUnknownToken || d.TokenID != f.record.TokenID {
		t.Errorf("without a record: decided %+v", d)
	}
}

// The own API is told which secret was presented: a replaced one may do less. A gateway is not told.
func TestDecisionTellsReplacedSecrets(t *testing.T) {
	f := newFixture(t)
	_, ending, current := f.rotated(t)
	for text, want := range map[string]record.State{ending: record.Ending, current: record.Delivered} {
		r := ownRequest("/jira/rest/api-tokens/latest/", basic("alice", text))
		if d := f.Identify(r); d.Verdict != authn.Allow || d.Secret == nil || d.Secret.State != want || !d.Secret.Hash.Verify([]byte(text)) {
			t.Errorf("decided %+v, want a secret that is %s", d, want)
		}
		if d := f.Decide(request(myself, basic("alice", text))); d.Verdict != authn.Allow || d.Secret != nil {
			t.Errorf("a gateway is told %+v", d)
		}
	}
	r := ownRequest("/jira/rest/api-tokens/latest/", basic("bob", current))
	if d := f.Identify(r); d.Secret != nil {
		t.Errorf("with a refusal: %+v", d)
	}
}

// Dead secrets are not those of an APIToken any more: nobody revokes a token with them.
func TestDeadSecretsArePresentedInVain(t *testing.T) {
	f := newFixture(t)
	dead, ending, _ := f.rotated(t)
	if _, ok := f.Presented(jira, []byte(dead)); ok {
		t.Error("a replaced secret that has ended stands for the token")
	}
	if _, ok := f.Presented(jira, []byte(ending)); !ok {
		t.Error("a replaced secret that is still valid does not stand for the token")
	}
	f.DeleteToken(uid)
	if name, ok := f.Presented(jira, []byte(ending)); ok {
		t.Errorf("the secret of a deleted token is that of %+v", name)
	}
	if d, ok := f.Describe(uid); ok {
		t.Errorf("a deleted token is described as %+v", d)
	}
}

// A dead imported secret is forwarded like any password, and the decision says so for the log.
func TestDeadImportedSecretsAreForwarded(t *testing.T) {
	f := importing(t, strong, weak)
	check := func(what, text string, verdict authn.Verdict, reason authn.Reason) {
		t.Helper()
		d := f.Decide(request(myself, basic("Alice", text)))
		if d.Verdict != verdict || d.Reason != reason || (d.Claimed != "") != (reason != authn.ReasonNoToken) || (d.TokenID != "") != (reason != authn.ReasonNoToken) {
			t.Errorf("%s: decided %+v, want %s %s", what, d, verdict, reason)
		}
		if d.User != "" || d.Authorization != basic("Alice", text) || d.Target != myself {
			t.Errorf("%s: forwarded as %+v", what, d)
		}
	}
	f.DeleteToken("imported-0")
	f.DeleteToken("imported-1")
	check("deleted", strong, authn.Forward, authn.ReasonDeleted)
	check("weak, computed", weak, authn.Forward, authn.ReasonDeleted)
	check("another one", weak+"?", authn.Forward, authn.ReasonNoToken)
	if d := f.Decide(request(myself, basic("bob", strong))); d.Reason != authn.ReasonNoToken {
		t.Errorf("another user's: decided %+v", d)
	}

	f.importSecret(t, 2, strong)
	f.want(t, "imported again", request(myself, basic("alice", strong)), authn.Allow, authn.ReasonAuthenticated)
	f.DeleteToken("imported-2")
	r := newRecord(t, "old-3", "asp_DquJoZLwlsNJm6gU", f.token)
	hash, err := record.NewImportedHash("first-"+strong, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r.Imported, r.DeliverySecret, r.Entries[0].Hash = true, "", hash
	followed := r.Entries[0]
	if followed.Hash, err = record.NewImportedHash("second-"+strong, rand.Reader); err != nil {
		t.Fatal(err)
	}
	r.Keep([]record.Entry{followed}, time.Now())
	tok := alice("imported-3", "old-3")
	tok.Imported = true
	f.PutToken(tok)
	f.PutRecord("imported-3", r)
	check("replaced at its source", "first-"+strong, authn.Forward, authn.ReasonReplaced)
	f.want(t, "the newer one", request(myself, basic("alice", "second-"+strong)), authn.Allow, authn.ReasonAuthenticated)
	s := site(jira)
	s.Lifetime.IssuedAfter = time.Now()
	f.PutSite(s)
	check("before the epoch", "first-"+strong, authn.Forward, authn.ReasonRevokedByEpoch)
}

// Only the 20 newest dead secrets of a user are compared. If two are the same, the log names the newer one.
func TestNewestDeadImportedSecrets(t *testing.T) {
	f := newFixture(t)
	for i, n := range []int{0, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19} {
		f.importSecret(t, i, fmt.Sprintf("%s-%02d", strong, n))
		f.DeleteToken(fmt.Sprintf("imported-%d", i))
	}
	for n, uid := range map[int]string{1: "imported-1", 2: "imported-3", 19: "imported-20"} {
		d := f.Decide(request(myself, basic("alice", fmt.Sprintf("%s-%02d", strong, n))))
		if d.Reason != authn.ReasonDeleted || d.TokenID != f.Record(uid).TokenID {
			t.Errorf("decided %+v, want the token of %s", d, uid)
		}
	}
	f.want(t, "one too many", request(myself, basic("alice", strong+"-00")), authn.Forward, authn.ReasonNoToken)
}

// Replaced secrets with slow hashes are compared too, each of them once: a change of the APIToken's status forgets nothing.
func TestReplacedSlowSecrets(t *testing.T) {
	f := importing(t, strong)
	r := *f.Record("imported-0")
	replaced := []string{weak, "another-" + weak}
	for _, secret := range replaced {
		hash, err := record.ParseHash(precomputed[secret])
		if err != nil {
			t.Fatal(err)
		}
		r.DeadEntries = append(r.DeadEntries, record.Entry{Hash: hash, State: record.Dead, Issued: issued, Ends: issued})
	}
	f.PutRecord("imported-0", &r)
	ask := func() {
		for _, secret := range replaced {
			f.want(t, secret, request(myself, basic("alice", secret)), authn.Forward, authn.ReasonReplaced)
		}
		f.want(t, "the current one", request(myself, basic("alice", strong)), authn.Allow, authn.ReasonAuthenticated)
	}
	ask()
	f.PutRecord("imported-0", &r)
	if n := slowHashes(ask); n != 0 {
		t.Errorf("%d slow hashes are computed again", n)
	}
}

// Only the log needs the hash of a dead secret. A machine that is too busy to compute it forwards the password.
func TestBusyMachineForwardsDeadSecrets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := importing(t, strong, weak)
		f.DeleteToken("imported-0")
		f.DeleteToken("imported-1")
		defer f.HoldSlots(2)()
		f.want(t, "while others compute", request(myself, basic("alice", weak)), authn.Forward, authn.ReasonNoToken)
		f.want(t, "a strong one beside it", request(myself, basic("alice", strong)), authn.Forward, authn.ReasonDeleted)
	})
}

// A blocked user's tokens are refused, by name, by the key that the token belongs to, and by the key that the user acts with.
// Nobody else's are.
func TestBlockedUsers(t *testing.T) {
	for name, tc := range map[string]struct {
		names, keys      []string
		belongs, actsFor string
		blocked          bool
	}{
		"nobody":                   {nil, nil, "k1", "k1", false},
		"somebody else":            {[]string{"bob", "alic"}, []string{"k2"}, "k1", "k1", false},
		"by name":                  {[]string{"bob", "alice"}, nil, "", "", true},
		"by the key of the record": {nil, []string{"k2", "k1"}, "k1", "", true},
		"by the key of the PAT":    {nil, []string{"k1"}, "", "k1", true},
		"by a key like the name":   {nil, []string{"alice"}, "", "", false},
		"by a name like the key":   {[]string{"k1"}, nil, "k1", "k1", false},
		"without a known key":      {[]string{"bob"}, []string{"k1"}, "", "", false},
	} {
		f := newFixture(t)
		s, r := site(jira), *f.record
		s.BlockedNames, s.BlockedKeys, r.UserKey = tc.names, tc.keys, tc.belongs
		f.PutSite(s)
		f.PutRecord(uid, &r)
		f.PutUpstreamCredential(authn.UpstreamCredential{Site: jira, User: "alice", UserKey: tc.actsFor, Authorization: bearer, Origin: origin})
		for what, d := range map[string]authn.Decision{
			"gateway": f.Decide(request(myself, basic("Alice", f.token))), "own API": f.Identify(ownRequest("/jira/rest/api-tokens/", basic("alice", f.token))),
		} {
			switch {
			case tc.blocked && (d.Verdict != authn.Unauthorized || d.Reason != authn.ReasonUserBlocked || d.TokenID != f.record.TokenID || d.User != ""):
				t.Errorf("%s, %s: decided %+v", name, what, d)
			case !tc.blocked && d.Verdict != authn.Allow:
				t.Errorf("%s, %s: decided %+v", name, what, d)
			}
		}
	}
}

// A token belongs to a user key. If the name has another one by now, the token is not exchanged for that user's credential. Nor is a
// token that belongs to no key yet: the credential may be that of a former user of the name. A name in a header needs no key.
func TestOwnerChanged(t *testing.T) {
	for _, tc := range []struct {
		belongs, actsFor string
		want, byHeader   authn.Reason
	}{
		{"", "", authn.ReasonAuthenticated, authn.ReasonAuthenticated},
		{"", "k2", authn.ReasonUpstreamCredentialMissing, authn.ReasonAuthenticated},
		{"k1", "", authn.ReasonAuthenticated, authn.ReasonAuthenticated},
		{"k1", "k1", authn.ReasonAuthenticated, authn.ReasonAuthenticated},
		{"k1", "k2", authn.ReasonOwnerChanged, authn.ReasonOwnerChanged},
		{"", "none", authn.ReasonUpstreamCredentialMissing, authn.ReasonAuthenticated},
		{"k1", "none", authn.ReasonUpstreamCredentialMissing, authn.ReasonAuthenticated},
	} {
		f := newFixture(t)
		r := *f.record
		r.UserKey = tc.belongs
		f.PutRecord(uid, &r)
		f.PutUpstreamCredential(authn.UpstreamCredential{Site: jira, User: "alice", UserKey: tc.actsFor, Authorization: bearer, Origin: origin})
		if tc.actsFor == "none" {
			f.DeleteUpstreamCredential(jira, "alice")
		}
		for header, want := range map[string]authn.Reason{"": tc.want, "X-Remote-User": tc.byHeader} {
			s := site(jira)
			s.IdentityHeader = header
			f.PutSite(s)
			d := f.Decide(request(myself, basic("alice", f.token)))
			if acts := want == authn.ReasonAuthenticated; d.Reason != want || (d.Verdict == authn.Allow) != acts || (d.Authorization == bearer) != (acts && header == "") {
				t.Errorf("of %q, with the credential of %q, header %q: decided %+v, want %s", tc.belongs, tc.actsFor, header, d, want)
			}
			if d.Verdict == authn.Allow && d.UserKey != tc.belongs {
				t.Errorf("the token belongs to %q, want %q", d.UserKey, tc.belongs)
			}
		}
	}
}

// A token that a token made lives only where both of their namespaces are allowed.
func TestNamespaceOfTheParent(t *testing.T) {
	f := newFixture(t)
	s := site(jira)
	s.AllowsNamespace = func(labels map[string]string) bool { return labels["tokens"] == "yes" }
	f.PutSite(s)
	f.PutNamespace("team-a", map[string]string{"tokens": "yes"})
	child := alice(uid, "ci")
	for _, step := range []struct {
		what   string
		change func()
		want   authn.Reason
	}{
		{"of no token", func() { f.PutToken(child) }, authn.ReasonAuthenticated},
		{"of a token of another namespace", func() { child.ParentNamespace = "team-a"; f.PutToken(child) }, authn.ReasonAuthenticated},
		{"closed", func() { f.PutNamespace("team-a", nil) }, authn.ReasonNamespaceNotAllowed},
		{"open again", func() { f.PutNamespace("team-a", map[string]string{"tokens": "yes"}) }, authn.ReasonAuthenticated},
		{"gone", func() { f.DeleteNamespace("team-a") }, authn.ReasonNamespaceNotAllowed},
		{"of the site's namespace", func() { child.ParentNamespace = "jira"; f.PutToken(child) }, authn.ReasonAuthenticated},
	} {
		step.change()
		f.expect(t, step.what, request(myself, basic("alice", f.token)), map[bool]authn.Verdict{true: authn.Allow, false: authn.Unauthorized}[step.want == authn.ReasonAuthenticated], step.want)
	}
}

// A refusal names the id that was presented, wherever it stood, and never more of the token.
func TestRefusalsNameThePresentedID(t *testing.T) {
	f := newFixture(t)
	id, unknown := newToken(t)
	for name, r := range map[string]*authn.Request{
		"unknown":            request(myself, basic("alice", unknown)),
		"cut off":            request(myself, basic("alice", unknown[:40])),
		"as bearer":          request(myself, "Bearer "+unknown),
		"as the user":        request(myself, basic(unknown, "x")),
		"in the clear":       request(myself, "Basic "+unknown),
		"in the second":      request(myself, "Bearer x", "Bearer "+unknown),
		"in the query":       request(myself + "?q=%61" + unknown[1:]),
		"at another path":    request("/jira/secure/", basic("alice", unknown)),
		"at an unclear path": request("/jira/rest/%2f", basic("alice", unknown)),
	} {
		if d := f.Decide(r); d.TokenID != id || d.User != "" || d.Verdict != authn.Unauthorized && d.Verdict != authn.Forbidden {
			t.Errorf("%s: decided %+v, want %s", name, d, id)
		}
	}
	f.DeleteCallerKeys(jira)
	if d := f.Decide(request(myself, basic("alice", unknown))); d != (authn.Decision{Reason: authn.ReasonCallerKeyMismatch}) {
		t.Errorf("to somebody else than the ingress: %+v", d)
	}
}

// Live says of a text what a request with it would be told, for each way in which a token can be none or not work.
func TestLive(t *testing.T) {
	f := newFixture(t)
	dead, ending, current := f.rotated(t)
	_, foreign := newToken(t)
	other := authn.SiteName{Namespace: jira.Namespace, Name: "other"}
	elsewhere := site(other)
	elsewhere.ContextPath = "/jira"
	f.PutSite(elsewhere)
	living, of := alice(uid, "ci"), site(jira)
	for _, step := range []struct {
		name string
		set  func()
		want map[string]bool // by text
	}{
		{"a token with three secrets", func() {}, map[string]bool{
			current: true, ending: true, dead: false, foreign: false, current + "x": false, current[:token.Length-1]: false, "": false, "password": false,
		}},
		{"suspended", func() { suspended := living; suspended.Suspended = true; f.PutToken(suspended) }, map[string]bool{current: false}},
		{"limited", func() { limited := living; limited.Limits.ReadOnly = true; f.PutToken(limited) }, map[string]bool{current: true}},
		{"expired", func() { expired := living; expired.Lifetime.Until = time.Now().Add(-time.Minute); f.PutToken(expired) }, map[string]bool{current: false}},
		{"resumed", func() { f.PutToken(living) }, map[string]bool{current: true}},
		{"of before the epoch", func() { later := of; later.Lifetime.IssuedAfter = time.Now().Add(time.Minute); f.PutSite(later) }, map[string]bool{current: false}},
		{"of a blocked user", func() { blocking := of; blocking.BlockedNames = []string{"alice"}; f.PutSite(blocking) }, map[string]bool{current: false}},
		{"allowed again", func() { f.PutSite(of) }, map[string]bool{current: true}},
		{"deleted", func() { f.DeleteToken(uid) }, map[string]bool{current: false}},
	} {
		step.set()
		for text, want := range step.want {
			got, known := f.Live(jira, []byte(text))
			if got != want || !known {
				t.Errorf("%s: %.20q… is live: %t", step.name, text, got)
			}
			d := f.Identify(ownRequest("/jira/rest/api-tokens/latest/", basic("alice", text)))
			if (d.Verdict == authn.Allow) != got {
				t.Errorf("%s: a request with %.20q… is told %+v", step.name, text, d)
			}
			if live, _ := f.Live(other, []byte(text)); live {
				t.Errorf("%s: %.20q… is live at another site", step.name, text)
			}
		}
	}
	if live, known := f.Live(authn.SiteName{Name: "none"}, []byte(current)); live || known {
		t.Error("live at a site that does not exist")
	}
	f.PutToken(living)
	if live, _ := f.Live(jira, []byte(current)); !live {
		t.Error("the token does not work before the memory is lost")
	}
	f.DeleteMemory(jira)
	d := f.Identify(ownRequest("/jira/rest/api-tokens/latest/", basic("alice", current)))
	if live, known := f.Live(jira, []byte(current)); live || known || d.Verdict != authn.CannotDecide {
		t.Errorf("without the memory of the site: live %t, known %t, a request is told %+v", live, known, d)
	}
	if live, known := authn.NewIndex(time.Now).Live(jira, []byte(current)); live || known {
		t.Error("known before the index is ready")
	}
}

// To ask costs no more memory for one text than for another, so that the time says nothing either.
func TestLiveCostsTheSame(t *testing.T) {
	f := newFixture(t)
	id, unknown := newToken(t)
	wrong, err := token.New(f.record.TokenID, rand.Reader)
	if err != nil || id == "" {
		t.Fatal(err)
	}
	for _, text := range []string{f.token, unknown, wrong} {
		if n := testing.AllocsPerRun(100, func() { f.Live(jira, []byte(text)) }); n > 1 { // the text itself
			t.Errorf("%.20s…: %v allocations", text, n)
		}
	}
}
