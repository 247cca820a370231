package authn_test

import (
	"crypto/rand"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/lifetime"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/token"
)

// ownRequest is a request to the operator's own REST API. It has no caller key.
func ownRequest(target string, authorization ...string) *authn.Request {
	return &authn.Request{Site: jira, Authorization: authorization, Target: target, Method: "GET"}
}

func TestIdentify(t *testing.T) {
	const path = "/jira/rest/api-tokens/latest/"
	f := newFixture(t)
	ours := basic("alice", f.token)
	wrong, err := token.New(f.record.TokenID, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	narrow := func(s *authn.Site) { s.TokenPaths = []string{"/rest/api/"} }
	for name, tc := range map[string]struct {
		request *authn.Request
		site    func(*authn.Site)
		token   func(*authn.Token)
		verdict authn.Verdict
		reason  authn.Reason
	}{
		"good":                       {ownRequest(path, ours), nil, nil, authn.Allow, authn.ReasonAuthenticated},
		"in upper case":              {ownRequest(path, basic("ALICE", f.token)), nil, nil, authn.Allow, authn.ReasonAuthenticated},
		"below it":                   {ownRequest(path+f.record.TokenID, ours), nil, nil, authn.Allow, authn.ReasonAuthenticated},
		"without a slash":            {ownRequest("/jira/rest/api-tokens", ours), nil, nil, authn.Allow, authn.ReasonAuthenticated},
		"whatever the token paths":   {ownRequest(path, ours), narrow, nil, authn.Allow, authn.ReasonAuthenticated},
		"nothing of ours":            {ownRequest(path), nil, nil, authn.Forward, authn.ReasonNoToken},
		"a password":                 {ownRequest(path, basic("alice", "password")), nil, nil, authn.Forward, authn.ReasonNoToken},
		"the wrong secret":           {ownRequest(path, basic("alice", wrong)), nil, nil, authn.Unauthorized, authn.ReasonWrongSecret},
		"the wrong user":             {ownRequest(path, basic("bob", f.token)), nil, nil, authn.Unauthorized, authn.ReasonWrongUser},
		"another scheme":             {ownRequest(path, "Bearer "+f.token), nil, nil, authn.Unauthorized, authn.ReasonSchemeNotAccepted},
		"twice":                      {ownRequest(path, ours, ours), nil, nil, authn.Unauthorized, authn.ReasonMalformedCredential},
		"the product's own path":     {ownRequest("/jira/rest/api/2/myself", ours), nil, nil, authn.Unauthorized, authn.ReasonPathNotAccepted},
		"a path that begins alike":   {ownRequest("/jira/rest/api-tokens2/", ours), nil, nil, authn.Unauthorized, authn.ReasonPathNotAccepted},
		"a path that climbs out":     {ownRequest("/jira/rest/api-tokens/../api/2/myself", ours), nil, nil, authn.Unauthorized, authn.ReasonAmbiguousPath},
		"outside the context path":   {ownRequest("/rest/api-tokens/latest/", ours), nil, nil, authn.Unauthorized, authn.ReasonPathNotAccepted},
		"an ambiguous path":          {ownRequest(path+"%2f", ours), nil, nil, authn.Unauthorized, authn.ReasonAmbiguousPath},
		"somebody else's parameters": {ownRequest(path+"?os_username=bob", ours), nil, nil, authn.Forbidden, authn.ReasonCredentialParameter},
		"suspended": {ownRequest(path, ours), nil, func(t *authn.Token) { t.Suspended = true },
			authn.Unauthorized, authn.ReasonSuspended},
		"expired": {ownRequest(path, ours), nil, func(t *authn.Token) { t.Lifetime = lifetime.Requested{Days: 1} },
			authn.Unauthorized, authn.ReasonExpired},
		"before the epoch": {ownRequest(path, ours), func(s *authn.Site) { s.Lifetime.IssuedAfter = time.Unix(2, 0) }, nil,
			authn.Unauthorized, authn.ReasonRevokedByEpoch},
		"limited to other paths": {ownRequest(path, ours), nil, func(t *authn.Token) { t.Limits.Paths = []string{"/rest/api/2"} },
			authn.Forbidden, authn.ReasonPathNotAllowed},
		"limited to other sources": {ownRequest(path, ours), nil, func(t *authn.Token) {
			t.Limits.Sources = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		}, authn.Forbidden, authn.ReasonSourceNotAllowed},
		"reads what it may read": {ownRequest(path, ours), nil, func(t *authn.Token) { t.Limits.ReadOnly = true },
			authn.Allow, authn.ReasonAuthenticated},
		"writes what it may read": {func() *authn.Request { r := ownRequest(path, ours); r.Method = "POST"; return r }(), nil,
			func(t *authn.Token) { t.Limits.ReadOnly = true }, authn.Forbidden, authn.ReasonReadOnly},
	} {
		t.Run(name, func(t *testing.T) {
			s, tok := site(jira), alice(uid, "ci")
			if tc.site != nil {
				tc.site(&s)
			}
			if tc.token != nil {
				tc.token(&tok)
			}
			f.PutSite(s)
			f.PutToken(tok)
			d := f.Identify(tc.request)
			if d.Verdict != tc.verdict || d.Reason != tc.reason {
				t.Fatalf("%s, %s; want %s, %s", d.Verdict, d.Reason, tc.verdict, tc.reason)
			}
			if d.Verdict == authn.Allow && (d.User != "alice" || d.TokenID != f.record.TokenID || d.APIToken.UID != uid) {
				t.Errorf("identified as %+v", d)
			}
			if d.Verdict == authn.Allow && d.Authorization != "" {
				t.Error("a credential of the product is released without a gateway")
			}
		})
	}
}

// Users without an upstream credential may manage their tokens, and no caller key is needed.
func TestIdentifyNeedsNoUpstreamCredential(t *testing.T) {
	f := newFixture(t)
	f.DeleteUpstreamCredential(jira, "alice")
	f.DeleteCallerKeys(jira)
	if d := f.Identify(ownRequest("/jira/rest/api-tokens/latest/", basic("alice", f.token))); d.Verdict != authn.Allow {
		t.Errorf("%s, %s", d.Verdict, d.Reason)
	}
}

func TestIdentifyCannotDecide(t *testing.T) {
	f := newFixture(t)
	r := ownRequest("/jira/rest/api-tokens/latest/", basic("alice", f.token))
	r.Site.Name = "other"
	if d := f.Identify(r); d.Verdict != authn.CannotDecide || d.Reason != authn.ReasonUnknownSite {
		t.Errorf("another site: %s, %s", d.Verdict, d.Reason)
	}
	if d := authn.NewIndex(time.Now).Identify(r); d.Verdict != authn.CannotDecide || d.Reason != authn.ReasonNotReady {
		t.Errorf("not ready: %s, %s", d.Verdict, d.Reason)
	}
}

func TestDescribe(t *testing.T) {
	f := newFixture(t)
	if _, ok := f.Describe("another"); ok {
		t.Error("a token that is not there is described")
	}
	d, ok := f.Describe(uid)
	if want := (authn.Description{TokenID: f.record.TokenID, Issued: time.Unix(1, 0).UTC()}); !ok || d != want {
		t.Errorf("described as %+v, want %+v", d, want)
	}
	tok := alice(uid, "ci")
	tok.Lifetime = lifetime.Requested{Days: 1}
	f.PutToken(tok)
	if d, _ = f.Describe(uid); d.Reason != authn.ReasonExpired || !d.Ends.Equal(time.Unix(1, 0).Add(24*time.Hour)) {
		t.Errorf("an expired token is described as %+v", d)
	}
	// The newest secret is described, not the replaced one.
	r := *f.record
	r.Entries = append([]record.Entry{{Hash: r.Entries[0].Hash, State: record.Ending, Issued: time.Unix(1, 0), Ends: time.Unix(2, 0)}}, r.Entries[0])
	r.Entries[1].Issued = time.Now()
	f.PutRecord(uid, &r)
	if d, _ = f.Describe(uid); d.Reason != "" || !d.Issued.Equal(r.Entries[1].Issued) {
		t.Errorf("a rotated token is described as %+v", d)
	}
	// Two tokens with the same id: neither authenticates.
	f.PutToken(alice("uid-2", "twin"))
	twin := *f.record
	twin.APIToken.Name = "twin"
	f.PutRecord("uid-2", &twin)
	for _, u := range []string{uid, "uid-2"} {
		if d, _ = f.Describe(u); d.Reason != authn.ReasonUnknownToken {
			t.Errorf("a token whose id exists twice is described as %+v", d)
		}
	}
	tok = alice(uid, "ci")
	tok.Suspended = true
	f.PutToken(tok)
	if d, _ = f.Describe(uid); d.Reason != authn.ReasonSuspended {
		t.Errorf("a suspended token whose id exists twice is described as %+v", d)
	}
	f.DeleteSite(jira)
	if _, ok := f.Describe(uid); ok {
		t.Error("a token without a site is described")
	}
}

// Replaced secrets are counted while they are valid. The lifetime may end them earlier than their overlap.
func TestDescribeOlderSecrets(t *testing.T) {
	now := issued.Add(time.Hour)
	for name, tc := range map[string]struct {
		ends  []time.Duration // of the replaced secrets, from now on
		days  int32
		older int
		until time.Duration // from now on
	}{
		"none":                        {nil, 0, 0, 0},
		"one":                         {[]time.Duration{1}, 0, 1, 1},
		"one that has ended":          {[]time.Duration{0}, 0, 0, 0},
		"one of two has ended":        {[]time.Duration{-1, 2}, 0, 1, 2},
		"the last one ends last":      {[]time.Duration{1, 2}, 0, 2, 2},
		"the first one ends last":     {[]time.Duration{2, 1}, 0, 2, 2},
		"the overlap ends first":      {[]time.Duration{1}, 1, 1, 1},
		"the lifetime ends first":     {[]time.Duration{100 * time.Hour}, 1, 1, 23 * time.Hour},
		"the lifetime of two secrets": {[]time.Duration{100 * time.Hour, 1}, 1, 2, 23 * time.Hour},
	} {
		f := limited(t, now, func(_ *authn.Site, k *authn.Token, r *record.Record) {
			current := r.Entries[0]
			r.Entries, k.Lifetime.Days = nil, tc.days
			for _, ends := range tc.ends {
				r.Entries = append(r.Entries, record.Entry{Hash: current.Hash, State: record.Ending, Issued: issued, Ends: now.Add(ends)})
			}
			current.Issued = now
			r.Entries = append(r.Entries, current)
		})
		until := now.Add(tc.until)
		if tc.older == 0 {
			until = time.Time{}
		}
		if d, ok := f.Describe(uid); !ok || d.Older != tc.older || !d.OlderUntil.Equal(until) {
			t.Errorf("%s: described as %+v, want %d until %v", name, d, tc.older, until)
		}
	}
}

// A record is found whether its token authenticates, is suspended or deleted, and as long as it is there.
func TestRecord(t *testing.T) {
	f := newFixture(t)
	check := func(what, uid string, want *record.Record) {
		t.Helper()
		if diff := cmp.Diff(want, f.Record(uid), cmp.AllowUnexported(record.Hash{})); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
	suspended := alice(uid, "ci")
	suspended.Suspended = true
	check("a token", uid, f.record)
	f.PutToken(suspended)
	check("a suspended token", uid, f.record)
	f.DeleteToken(uid)
	check("a deleted token", uid, f.record)
	f.DeleteRecord(uid)
	check("a deleted record", uid, nil)
	check("another token", "another", nil)
}

// The id of an imported token is only for its owner to read. It is not found by it, so duplicates do not matter.
func TestDescribeImported(t *testing.T) {
	f := importing(t, strong)
	if d, ok := f.Describe("imported-0"); !ok || d.Reason != "" || d.TokenID == "" || !d.Issued.Equal(time.Unix(1, 0)) {
		t.Errorf("described as %+v, %t", d, ok)
	}
}

// An imported secret identifies its owner at the own API too, also when its slow hash is computed first.
func TestIdentifyImported(t *testing.T) {
	f := importing(t, strong, weak)
	for _, secret := range []string{strong, weak} {
		d := f.Identify(ownRequest("/jira/rest/api-tokens/latest/", basic("alice", secret)))
		if d.Verdict != authn.Allow || d.User != "alice" || d.Authorization != "" {
			t.Errorf("%s: decided %+v", secret, d)
		}
	}
}

func TestPresented(t *testing.T) {
	f := newFixture(t)
	wrong, err := token.New(f.record.TokenID, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, unknown := newToken(t)
	if name, ok := f.Presented(jira, []byte(f.token)); !ok || name != (authn.APITokenName{Namespace: "jira", Name: "ci", UID: uid}) {
		t.Errorf("the token is that of %+v, %t", name, ok)
	}
	tok := alice(uid, "ci")
	tok.Suspended = true
	f.PutToken(tok)
	if _, ok := f.Presented(jira, []byte(f.token)); !ok {
		t.Error("the holder of a suspended token cannot revoke it")
	}
	for what, text := range map[string]string{"wrong secret": wrong, "unknown": unknown, "cut": f.token[:len(f.token)-1], "nothing": ""} {
		if name, ok := f.Presented(jira, []byte(text)); ok || name != (authn.APITokenName{}) {
			t.Errorf("%s: that of %+v", what, name)
		}
	}
	if _, ok := f.Presented(authn.SiteName{Namespace: "jira", Name: "other"}, []byte(f.token)); ok {
		t.Error("presented at another site, it is found")
	}
}

// A record made by the portal agrees only with an APIToken made by the portal.
func TestPortalAndRecordAgree(t *testing.T) {
	f := newFixture(t)
	for _, tc := range []struct{ token, record, want bool }{{true, true, true}, {true, false, false}, {false, true, false}, {false, false, true}} {
		tok, r := alice(uid, "ci"), *f.record
		tok.Portal, r.Portal = tc.token, tc.record
		f.PutToken(tok)
		f.PutRecord(uid, &r)
		if d := f.Identify(ownRequest("/jira/rest/api-tokens/latest/", basic("alice", f.token))); (d.Verdict == authn.Allow) != tc.want {
			t.Errorf("%+v: %s", tc, d.Verdict)
		}
	}
}
