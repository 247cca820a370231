package authn_test

import (
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/lifetime"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/token"
)

var (
	issued   = time.Unix(1, 0) // as in newRecord
	networks = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::1/128")}
)

// limited is a fixture at the time now, after change was applied to its site, token and record.
func limited(t *testing.T, now time.Time, change func(*authn.Site, *authn.Token, *record.Record)) fixture {
	t.Helper()
	f := newFixture(t)
	f.Index = newIndex(t, func() time.Time { return now })
	s, token := site(jira), alice(uid, "ci")
	if change != nil {
		change(&s, &token, f.record)
	}
	f.PutSite(s)
	f.PutToken(token)
	f.PutRecord(uid, f.record)
	return f
}

func (f fixture) want(t *testing.T, name string, r *authn.Request, verdict authn.Verdict, reason authn.Reason) {
	t.Helper()
	if r.Authorization == nil {
		r.Authorization = []string{basic("alice", f.token)}
	}
	if d := f.Decide(r); d.Verdict != verdict || d.Reason != reason {
		t.Errorf("%s: %s %s, want %s %s", name, d.Verdict, d.Reason, verdict, reason)
	}
}

// Each end of a secret is tried a nanosecond before it, at it, and a nanosecond after it. It needs no event.
func TestTimeLimits(t *testing.T) {
	day := 24 * time.Hour
	for name, tc := range map[string]struct {
		change func(*authn.Site, *authn.Token, *record.Record)
		limit  time.Time
		reason authn.Reason
	}{
		"lifetimeDays":   {func(_ *authn.Site, k *authn.Token, _ *record.Record) { k.Lifetime.Days = 3 }, issued.Add(3 * day), authn.ReasonExpired},
		"expirationTime": {func(_ *authn.Site, k *authn.Token, _ *record.Record) { k.Lifetime.Until = issued.Add(day) }, issued.Add(day), authn.ReasonExpired},
		"the default":    {func(s *authn.Site, _ *authn.Token, _ *record.Record) { s.Lifetime.DefaultDays = 2 }, issued.Add(2 * day), authn.ReasonExpired},
		"the maximum": {func(s *authn.Site, k *authn.Token, _ *record.Record) {
			k.Lifetime.Days, s.Lifetime.MaxDays = 3, 2
		}, issued.Add(2 * day), authn.ReasonExpired},
		"the overlap": {func(_ *authn.Site, _ *authn.Token, r *record.Record) {
			r.Entries[0].State, r.Entries[0].Ends = record.Ending, issued.Add(time.Hour)
		}, issued.Add(time.Hour), authn.ReasonReplaced},
	} {
		for _, at := range []time.Duration{-1, 0, 1} {
			f := limited(t, tc.limit.Add(at), tc.change)
			if at < 0 {
				f.want(t, fmt.Sprintf("%s, %d ns", name, at), request("/jira/rest/x"), authn.Allow, authn.ReasonAuthenticated)
			} else {
				f.want(t, fmt.Sprintf("%s, %d ns", name, at), request("/jira/rest/x"), authn.Unauthorized, tc.reason)
			}
		}
	}
	for at, want := range map[time.Duration]authn.Reason{-1: "authenticated", 0: "authenticated", 1: authn.ReasonRevokedByEpoch} {
		f := limited(t, issued, func(s *authn.Site, _ *authn.Token, _ *record.Record) { s.Lifetime.IssuedAfter = issued.Add(at) })
		if d := f.Decide(request("/jira/rest/x", basic("alice", f.token))); d.Reason != want {
			t.Errorf("epoch %d ns after the issue: %s", at, d.Reason)
		}
	}
}

// Each of several secrets has its own end.
func TestSecretsEndOneByOne(t *testing.T) {
	var newer string
	f := limited(t, issued.Add(time.Hour), func(_ *authn.Site, _ *authn.Token, r *record.Record) {
		var err error
		if newer, err = token.New(r.TokenID, rand.Reader); err != nil {
			t.Fatal(err)
		}
		r.Entries[0].State, r.Entries[0].Ends = record.Ending, issued.Add(time.Minute)
		r.Entries = append(r.Entries, newRecord(t, "ci", r.TokenID, newer).Entries...)
	})
	f.want(t, "the older", request("/jira/rest/x"), authn.Unauthorized, authn.ReasonReplaced)
	f.want(t, "the newer", request("/jira/rest/x", basic("alice", newer)), authn.Allow, authn.ReasonAuthenticated)
}

func TestSuspended(t *testing.T) {
	f := limited(t, issued, func(_ *authn.Site, k *authn.Token, _ *record.Record) { k.Suspended = true })
	f.want(t, "suspended", request("/jira/rest/x"), authn.Unauthorized, authn.ReasonSuspended)
	f.PutToken(alice(uid, "ci"))
	f.want(t, "active again", request("/jira/rest/x"), authn.Allow, authn.ReasonAuthenticated)
}

func TestReadOnly(t *testing.T) {
	ofToken := limited(t, issued, func(_ *authn.Site, k *authn.Token, _ *record.Record) { k.Limits.ReadOnly = true })
	ofSite := limited(t, issued, func(s *authn.Site, _ *authn.Token, _ *record.Record) { s.Limits.ReadOnly = true })
	free := limited(t, issued, nil)
	for method, passes := range map[string]bool{
		"GET": true, "HEAD": true, "OPTIONS": true, "POST": false, "PUT": false, "PATCH": false, "DELETE": false, "TRACE": false,
		"CONNECT": false, "get": false, "": false, "PROPFIND": false, "GETS": false,
	} {
		r := func() *authn.Request {
			r := request("/jira/rest/x")
			r.Method = method
			return r
		}
		free.want(t, "free: "+method, r(), authn.Allow, authn.ReasonAuthenticated)
		for name, f := range map[string]fixture{"token": ofToken, "site": ofSite} {
			if passes {
				f.want(t, name+": "+method, r(), authn.Allow, authn.ReasonAuthenticated)
			} else {
				f.want(t, name+": "+method, r(), authn.Forbidden, authn.ReasonReadOnly)
			}
		}
	}
}

func TestAllowedSources(t *testing.T) {
	direct := func(a string) authn.Client { return authn.Client{Address: a} }
	forwarded := func(headers ...string) authn.Client {
		return authn.Client{Address: "10.0.0.1", Forwarded: headers}
	}
	for name, tc := range map[string]struct {
		hops   int
		client authn.Client
		want   string // the address, or ""
		passes bool
	}{
		"in the network":                     {0, direct("10.1.2.3"), "10.1.2.3", true},
		"at its edge":                        {0, direct("10.255.255.255"), "10.255.255.255", true},
		"beside it":                          {0, direct("11.0.0.0"), "11.0.0.0", false},
		"IPv6":                               {0, direct("2001:db8::1"), "2001:db8::1", true},
		"another IPv6":                       {0, direct("2001:db8::2"), "2001:db8::2", false},
		"IPv4 in IPv6":                       {0, direct("::ffff:10.1.2.3"), "10.1.2.3", true},
		"IPv4 in IPv6, elsewhere":            {0, direct("::ffff:11.1.2.3"), "11.1.2.3", false},
		"with a zone":                        {0, direct("2001:db8::1%eth0"), "", false},
		"nothing":                            {0, direct(""), "", false},
		"no address":                         {0, direct("10.1.2.3, 10.1.2.4"), "", false},
		"with a port":                        {0, direct("10.1.2.3:80"), "10.1.2.3", true},
		"IPv6 in brackets":                   {0, direct("[2001:db8::1]"), "2001:db8::1", true},
		"IPv6 with a port":                   {0, direct("[2001:db8::1]:51234"), "2001:db8::1", true},
		"a proxy that writes ports":          {1, forwarded("10.1.2.3:51234, 192.0.2.1"), "10.1.2.3", true},
		"the same, and IPv6":                 {1, forwarded("[2001:db8::1]:51234, 192.0.2.1"), "2001:db8::1", true},
		"the same, from elsewhere":           {1, forwarded("[2001:db8::2]:51234, 192.0.2.1"), "2001:db8::2", false},
		"the same, IPv4 in IPv6":             {1, forwarded("[::ffff:10.1.2.3]:1, 192.0.2.1"), "10.1.2.3", true},
		"two proxies that write ports":       {2, forwarded("10.1.2.3:1, 192.0.2.2:2, 192.0.2.1"), "10.1.2.3", true},
		"not trusted to forward":             {0, authn.Client{Address: "11.0.0.1", Forwarded: []string{"10.1.2.3"}}, "11.0.0.1", false},
		"behind one proxy":                   {1, forwarded("10.1.2.3, 192.0.2.1"), "10.1.2.3", true},
		"behind one proxy, from elsewhere":   {1, forwarded("11.1.2.3, 192.0.2.1"), "11.1.2.3", false},
		"forged in front":                    {1, forwarded("10.1.2.3, 11.1.2.3, 192.0.2.1"), "11.1.2.3", false},
		"forged in a header of its own":      {1, forwarded("10.1.2.3", "11.1.2.3, 192.0.2.1"), "11.1.2.3", false},
		"behind one proxy, in two headers":   {1, forwarded("10.1.2.3", "192.0.2.1"), "10.1.2.3", true},
		"forged in front, without spaces":    {1, forwarded("11.1.2.3,10.1.2.3,192.0.2.1"), "10.1.2.3", true},
		"nothing, added by a proxy":          {1, forwarded("10.1.2.3", ",192.0.2.1"), "", false},
		"with tabs":                          {1, forwarded("\t10.1.2.3\t,192.0.2.1"), "10.1.2.3", true},
		"without spaces, with more of them":  {1, forwarded("10.1.2.3 ,192.0.2.1"), "10.1.2.3", true},
		"behind two proxies":                 {2, forwarded("10.1.2.3, 192.0.2.2, 192.0.2.1"), "10.1.2.3", true},
		"behind fewer proxies than it takes": {2, forwarded("10.1.2.3, 192.0.2.1"), "", false},
		"behind a proxy that does not say":   {1, authn.Client{Address: "10.1.2.3"}, "", false},
		"behind one that says something odd": {1, forwarded("unknown, 192.0.2.1"), "", false},
		"behind one that says nothing":       {1, forwarded(", 192.0.2.1"), "", false},
	} {
		ofToken := limited(t, issued, func(s *authn.Site, k *authn.Token, _ *record.Record) {
			s.TrustedHops, k.Limits.Sources = tc.hops, networks
		})
		ofSite := limited(t, issued, func(s *authn.Site, _ *authn.Token, _ *record.Record) {
			s.TrustedHops, s.Limits.Sources = tc.hops, networks
		})
		for whose, f := range map[string]fixture{"token": ofToken, "site": ofSite} {
			r := request("/jira/rest/x", basic("alice", f.token))
			r.Client = tc.client
			d := f.Decide(r)
			want := netip.Addr{}
			if tc.want != "" {
				want = netip.MustParseAddr(tc.want)
			}
			if d.Client != want {
				t.Errorf("%s: the client is %s, want %s", name, d.Client, want)
			}
			if passed := d.Verdict == authn.Allow; passed != tc.passes || !passed && (d.Verdict != authn.Forbidden || d.Reason != authn.ReasonSourceNotAllowed) {
				t.Errorf("%s, limit of the %s: %s %s", name, whose, d.Verdict, d.Reason)
			}
		}
	}
}

// Both limits apply: a token may narrow what the site allows, and not widen it.
func TestSourcesOfSiteAndToken(t *testing.T) {
	f := limited(t, issued, func(s *authn.Site, k *authn.Token, _ *record.Record) {
		s.Limits.Sources = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		k.Limits.Sources = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("192.0.2.0/24")}
	})
	for address, passes := range map[string]bool{"10.1.2.3": true, "10.2.2.3": false, "192.0.2.1": false} {
		r := request("/jira/rest/x")
		r.Client.Address = address
		if passes {
			f.want(t, address, r, authn.Allow, authn.ReasonAuthenticated)
		} else {
			f.want(t, address, r, authn.Forbidden, authn.ReasonSourceNotAllowed)
		}
	}
}

func TestAllowedPaths(t *testing.T) {
	f := limited(t, issued, func(_ *authn.Site, k *authn.Token, _ *record.Record) {
		k.Limits.Paths = []string{"/rest/api/2/search", "/rest/agile/"}
	})
	for path, passes := range map[string]bool{
		"/jira/rest/api/2/search":         true,
		"/jira/rest/api/2/search?jql=x":   true,
		"/jira/rest/api/2/search/":        true,
		"/jira/rest/api/2/search/deep/er": true,
		"/jira/rest/api/2/searching":      false,
		"/jira/rest/api/2/sear%63h":       true,
		"/jira/rest/api/2/Search":         false,
		"/jira/rest/api/2/":               false,
		"/jira/rest/agile":                true,
		"/jira/rest/agile/1.0/board":      true,
		"/jira/rest/x/rest/agile":         false,
		"/jira//rest//agile//1.0":         true,
	} {
		if passes {
			f.want(t, path, request(path), authn.Allow, authn.ReasonAuthenticated)
		} else {
			f.want(t, path, request(path), authn.Forbidden, authn.ReasonPathNotAllowed)
		}
	}
}

func TestNamespaces(t *testing.T) {
	elsewhere := func(allows func(map[string]string) bool) fixture {
		return limited(t, issued, func(s *authn.Site, k *authn.Token, r *record.Record) {
			s.AllowsNamespace, k.Namespace, r.APIToken.Namespace = allows, "ci", "ci"
		})
	}
	labelled := func(labels map[string]string) bool { return labels["jira"] == "yes" }
	r := func() *authn.Request { return request("/jira/rest/x") }

	f := elsewhere(nil)
	f.PutNamespace("ci", nil)
	f.want(t, "a site for its own namespace", r(), authn.Unauthorized, authn.ReasonNamespaceNotAllowed)
	suspended := alice(uid, "ci")
	suspended.Namespace, suspended.Suspended = "ci", true
	f.PutToken(suspended)
	f.want(t, "suspended there", r(), authn.Unauthorized, authn.ReasonNamespaceNotAllowed)

	f = elsewhere(labelled)
	f.want(t, "a namespace that was not seen", r(), authn.Unauthorized, authn.ReasonNamespaceNotAllowed)
	f.PutNamespace("ci", map[string]string{"jira": "no"})
	f.want(t, "a namespace that is not allowed", r(), authn.Unauthorized, authn.ReasonNamespaceNotAllowed)
	f.PutNamespace("ci", map[string]string{"jira": "yes"})
	f.want(t, "a namespace that is allowed", r(), authn.Allow, authn.ReasonAuthenticated)
	f.PutNamespace("ci", nil)
	f.want(t, "a label that was withdrawn", r(), authn.Unauthorized, authn.ReasonNamespaceNotAllowed)
	f.PutNamespace("ci", map[string]string{"jira": "yes"})
	f.DeleteNamespace("ci")
	f.want(t, "a namespace that is gone", r(), authn.Unauthorized, authn.ReasonNamespaceNotAllowed)
	f.PutNamespace("ci", map[string]string{"jira": "yes"})
	f.PutSite(site(jira))
	f.want(t, "a permission that was withdrawn", r(), authn.Unauthorized, authn.ReasonNamespaceNotAllowed)

	f = elsewhere(func(map[string]string) bool { return true })
	f.want(t, "a namespace that was not seen, where any is allowed", r(), authn.Unauthorized, authn.ReasonNamespaceNotAllowed)
	f.PutNamespace("ci", nil)
	f.want(t, "any namespace", r(), authn.Allow, authn.ReasonAuthenticated)

	f = limited(t, issued, func(s *authn.Site, _ *authn.Token, _ *record.Record) {
		s.AllowsNamespace = func(map[string]string) bool { return false }
	})
	f.want(t, "the site's own namespace", r(), authn.Allow, authn.ReasonAuthenticated)
}

// Invariant 6: the validity is computed for every refused token, unknown ones too. If it were computed only for the right
// secret, the time to read its memory would reveal that the secret is right.
func TestValidityIsAlwaysComputed(t *testing.T) {
	asked := 0
	f := limited(t, issued, func(s *authn.Site, k *authn.Token, r *record.Record) {
		s.AllowsNamespace = func(map[string]string) bool { asked++; return false }
		k.Namespace, r.APIToken.Namespace = "ci", "ci"
	})
	f.PutNamespace("ci", nil)
	_, unknown := newToken(t)
	wrongSecret, err := token.New(f.record.TokenID, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for reason, credential := range map[authn.Reason]string{
		authn.ReasonUnknownToken: basic("alice", unknown), authn.ReasonWrongSecret: basic("alice", wrongSecret),
		authn.ReasonWrongUser: basic("carol", f.token), authn.ReasonNamespaceNotAllowed: basic("alice", f.token),
	} {
		r := request("/jira/rest/x")
		r.Authorization, asked = []string{credential}, 0
		f.want(t, string(reason), r, authn.Unauthorized, reason)
		if asked != 1 {
			t.Errorf("refused as %s after %d computations of the validity, want one", reason, asked)
		}
	}
}

// The order of limits is fixed: the site's before the token's, and in each the source, the method, then the path.
func TestOrderOfLimits(t *testing.T) {
	f := limited(t, issued, func(s *authn.Site, k *authn.Token, _ *record.Record) {
		s.Limits = authn.Limits{ReadOnly: true, Paths: []string{"/rest/a"}, Sources: networks}
		k.Limits = authn.Limits{Paths: []string{"/rest/a/b"}, Sources: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}}
	})
	for _, tc := range []struct {
		address, method, path string
		verdict               authn.Verdict
		reason                authn.Reason
	}{
		{"11.1.1.1", "PUT", "/x", authn.Forbidden, authn.ReasonSourceNotAllowed},
		{"10.2.1.1", "PUT", "/x", authn.Forbidden, authn.ReasonReadOnly},
		{"10.2.1.1", "GET", "/x", authn.Forbidden, authn.ReasonPathNotAllowed},
		{"10.2.1.1", "GET", "/a", authn.Forbidden, authn.ReasonSourceNotAllowed},
		{"10.1.1.1", "GET", "/a", authn.Forbidden, authn.ReasonPathNotAllowed},
		{"10.1.1.1", "GET", "/a/b", authn.Allow, authn.ReasonAuthenticated},
	} {
		r := request("/jira/rest" + tc.path)
		r.Method, r.Client.Address = tc.method, tc.address
		f.want(t, fmt.Sprintf("%+v", tc), r, tc.verdict, tc.reason)
	}
}

// An empty list allows nothing. Nil is no limit.
func TestNothingIsAllowedByAnEmptyList(t *testing.T) {
	for reason, limits := range map[authn.Reason]authn.Limits{
		authn.ReasonSourceNotAllowed: {Sources: []netip.Prefix{}}, authn.ReasonPathNotAllowed: {Paths: []string{}},
	} {
		f := limited(t, issued, func(_ *authn.Site, k *authn.Token, _ *record.Record) { k.Limits = limits })
		f.want(t, "an empty list", request("/jira/rest/x"), authn.Forbidden, reason)
	}
}

// The limits are checked after the secret and the user, so that only the holder of a token learns of them.
func TestOnlyTheHolderLearnsOfLimits(t *testing.T) {
	f := limited(t, issued, func(_ *authn.Site, k *authn.Token, _ *record.Record) {
		k.Suspended, k.Lifetime, k.Limits = true, lifetime.Requested{Until: issued}, authn.Limits{ReadOnly: true, Paths: []string{"/rest/none"}, Sources: networks}
	})
	f.want(t, "wrong user", request("/jira/rest/x", basic("bob", f.token)), authn.Unauthorized, authn.ReasonWrongUser)
	_, other := newToken(t)
	f.want(t, "unknown", request("/jira/rest/x", basic("alice", other)), authn.Unauthorized, authn.ReasonUnknownToken)
}

// Addresses with a wrong port, wrong brackets or a zone are unknown, behind a trusted proxy too.
func TestAddressesThatAreNone(t *testing.T) {
	for _, text := range []string{
		"10.1.2.3:", "10.1.2.3:x", "10.1.2.3:65536", "10.1.2.3:-1", "10.1.2.3:1:2", "10.1.2.3 :1", "010.1.2.3", "10.1.2", "10.1.2.3/32",
		"[10.1.2.3]", "[10.1.2.3]:1", "[2001:db8::1", "2001:db8::1]", "[2001:db8::1]x", "[2001:db8::1]:", "[2001:db8::1]:x", "[]", "[]:1", "[", "]",
		"2001:db8::1%eth0", "[2001:db8::1%eth0]", "[fe80::1%1]:80", "[[2001:db8::1]]", "\"[2001:db8::1]:1\"", "for=10.1.2.3", "unknown", "_hidden", ":80", "",
	} {
		for _, client := range []authn.Client{{Address: text}, {Address: "10.0.0.1", Forwarded: []string{text + ", 192.0.2.1"}}} {
			f := limited(t, issued, func(s *authn.Site, k *authn.Token, _ *record.Record) {
				s.TrustedHops, k.Limits.Sources = len(client.Forwarded), networks
			})
			r := request("/jira/rest/x", basic("alice", f.token))
			r.Client = client
			if d := f.Decide(r); d.Client.IsValid() || d.Reason != authn.ReasonSourceNotAllowed {
				t.Errorf("%q is the address %s, and the verdict %s", text, d.Client, d.Reason)
			}
		}
	}
}

// Every valid address is read the same in each form that proxies write.
func TestAddressesInEveryForm(t *testing.T) {
	random := mathrand.New(mathrand.NewPCG(1, 2))
	f := newFixture(t)
	for range 2000 {
		var bytes [16]byte
		for i := range bytes {
			bytes[i] = byte(random.Uint32())
		}
		a := netip.AddrFrom16(bytes)
		forms := []string{a.String(), "[" + a.String() + "]", netip.AddrPortFrom(a, uint16(random.Uint32())).String()}
		if random.IntN(2) == 0 {
			a = netip.AddrFrom4([4]byte(bytes[:4]))
			forms = []string{a.String(), netip.AddrPortFrom(a, uint16(random.Uint32())).String(), "::ffff:" + a.String(), "[::ffff:" + a.String() + "]:80"}
		}
		for _, form := range forms {
			r := request("/jira/rest/x")
			r.Client.Address = form
			if d := f.Decide(r); d.Client != a {
				t.Fatalf("%s is read as %s, want %s", form, d.Client, a)
			}
		}
	}
}
