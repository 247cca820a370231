package authn_test

import (
	"crypto/rand"
	"slices"
	"strings"
	"testing"
	"time"

	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/record"
)

// sent is a part of a request, and the classes that it presents.
type sent struct {
	text    string
	classes string
	// claimed is the user whose password it is, for the log. exempt says that the site of the tests exempts its users.
	claimed string
	exempt  bool
	// exemptPath and challenged say that a path is in these lists.
	exemptPath, challenged bool
}

// Parts of requests without a token of ours. The site exempts ci-old, /rest/legacy/ and /s/, and challenges at /rest/api/2/.
var (
	sentAuthorizations = []sent{
		{text: ""},
		{text: " \t"},
		{text: basic("CI-old", "secret"), classes: "password", claimed: "ci-old", exempt: true},
		{text: basic("alice", "secret"), classes: "password", claimed: "alice"},
		{text: basic("alice", "s"), classes: "password", claimed: "alice"},
		{text: basic("alices-pat", ""), classes: "password"},
		{text: basic("ci-old", ""), classes: "password", exempt: true},
		{text: basic("", "secret"), classes: "password"},
		{text: "Bearer NjE2", classes: "bearer"},
		{text: "Negotiate YII", classes: "bearer"},
		{text: "x", classes: "bearer"},
	}
	sentQueries = []sent{
		{text: ""},
		{text: "?os_authType=basic&os_cookie=true&os_user=x&xos_password=y"},
		{text: "?os_username=ci-old&os_password=x", classes: "password", claimed: "ci-old", exempt: true},
		{text: "?os_password=x&os_username=CI%2Dold", classes: "password", claimed: "ci-old", exempt: true},
		{text: "?a=b&os_username=b+ob&os_password=x", classes: "password", claimed: "b ob"},
		{text: "?os_username=ci-old&OS%5fUsername=bob&os_password=x", classes: "password", claimed: "ci-old"},
		{text: "?os_passworD=x", classes: "password"},
		{text: "?os_username=", classes: "password"},
	}
	sentCookies = []sent{{text: ""}, {text: " \t"}, {text: "a=b", classes: "session"}}
	sentPaths   = []sent{
		{text: "/jira/rest/x"},
		{text: "/jira/rest/legacy/a%20b", exemptPath: true},
		{text: "/jira/rest/legacy", exemptPath: true},
		{text: "/jira/rest/legacyx"},
		{text: "/jira//rest/legacy/"},
		{text: "/jira/rest/legacy/../x"},
		{text: "/jira/rest/legacy/a;b"},
		{text: "/rest/legacy/"},
		{text: "/xxxx/rest/legacy/"},
		{text: "/x"},
		{text: "/jira/s/x", exemptPath: true},
		{text: "/jira/s/x/_/rest/x"},
		{text: "/jira/rest/api/2/search", challenged: true},
		{text: "/jira/rest/api/20"},
		{text: "/jira/rest/api/2/%2e%2e/x"},
		{text: "/s/x/_/rest/legacy/"},
	}
	allActions = []authn.Action{authn.ActionForward, authn.ActionObserve, authn.ActionRefuse}
)

// otherSite is the site of these tests, with one action for each class.
func otherSite(password, bearer, session, anonymous authn.Action) authn.Site {
	s := site(jira)
	s.Others = authn.OtherCredentials{
		Password: password, Bearer: bearer, Session: session, Anonymous: anonymous,
		ExemptUsers: []string{"ci-old"}, ExemptPaths: []string{"/rest/other", "/rest/legacy/", "/s/"}, ChallengePaths: []string{"/rest/api/2/"},
	}
	return s
}

// eachOther calls try for every request that is made of the parts, with what it presents.
func eachOther(try func(r *authn.Request, authorization, query, cookie, path sent)) {
	for _, a := range sentAuthorizations {
		for _, q := range sentQueries {
			for _, c := range sentCookies {
				for _, p := range sentPaths {
					r := request(p.text+q.text, a.text)
					if a.text == "" {
						r.Authorization = nil
					}
					if c.text != "" {
						r.Cookies = []string{"", c.text, ""}
					}
					try(r, a, q, c, p)
				}
			}
		}
	}
}

// wantOther is the reference: docs/reference/requests.md, written once more. own is for the operator's own REST API.
func wantOther(s authn.Site, r *authn.Request, a, q, c, p sent, own bool) authn.Decision {
	presents := func(class string) bool { return slices.Contains([]string{a.classes, q.classes, c.classes}, class) }
	nothing := a.classes+q.classes+c.classes == ""
	forward := authn.Decision{Verdict: authn.Forward, Reason: authn.ReasonNoToken, Target: r.Target, Authorization: strings.Join(r.Authorization, "")}
	if nothing && !own && p.challenged && len(s.Others.ChallengePaths) > 0 {
		return authn.Decision{Verdict: authn.Unauthorized, Reason: authn.ReasonChallenge}
	}
	claimed := a.claimed
	if claimed == "" {
		claimed = q.claimed
	}
	exempt := p.exemptPath || (a.classes != "password" || a.exempt) && (q.classes == "" || q.exempt)
	// A password in the query belongs to the user of Basic if the query names none.
	if strings.EqualFold(q.text, "?os_password=x") {
		exempt = p.exemptPath || a.classes == "password" && a.exempt
	}
	password := s.Others.Password
	if exempt && password == authn.ActionRefuse {
		password = authn.ActionObserve
	}
	rules := []struct {
		applies bool
		action  authn.Action
		observe authn.Decision
		refuse  authn.Decision
	}{
		{
			presents("password"), password,
			authn.Decision{Reason: "password_observed"}, authn.Decision{Verdict: authn.Forbidden, Reason: "PasswordRefused"},
		},
		{presents("bearer"), s.Others.Bearer, authn.Decision{Reason: "bearer_observed"}, authn.Decision{Verdict: authn.Forbidden, Reason: "BearerRefused"}},
		{
			presents("session") && !own, s.Others.Session,
			authn.Decision{Reason: "session_observed"}, authn.Decision{Verdict: authn.Forbidden, Reason: "SessionRefused"},
		},
		{nothing && !own, s.Others.Anonymous, authn.Decision{Reason: "anonymous_observed"}, authn.Decision{Verdict: authn.Unauthorized, Reason: "anonymous_refused"}},
	}
	for _, rule := range rules {
		if rule.applies && rule.action == authn.ActionRefuse {
			if rule.refuse.Verdict == authn.Forbidden {
				rule.refuse.Claimed = claimed
			}
			return rule.refuse
		}
	}
	for _, rule := range rules {
		if rule.applies && rule.action == authn.ActionObserve {
			forward.Reason, forward.Claimed = rule.observe.Reason, claimed
			break
		}
	}
	return forward
}

// Each combination of what a request presents, with each combination of actions: the strictest action counts.
func TestEachMixOfOtherCredentials(t *testing.T) {
	f, failed := newFixture(t), 0
	reached := map[authn.Reason]int{}
	for n := range 3 * 3 * 3 * 3 * 2 {
		s := otherSite(allActions[n%3], allActions[n/3%3], allActions[n/9%3], allActions[n/27%3])
		if n/81 == 1 {
			s.Others.ChallengePaths = nil
		}
		f.PutSite(s)
		eachOther(func(r *authn.Request, a, q, c, p sent) {
			want, wantOwn := wantOther(s, r, a, q, c, p, false), wantOther(s, r, a, q, c, p, true)
			reached[want.Reason]++
			got, own := f.Decide(r), f.Identify(r)
			if got != want || own != wantOwn {
				if failed++; failed < 10 {
					t.Errorf("%v\n%+v:\ngot  %+v\nwant %+v\nown API: %+v\nwant     %+v", s.Others, r, got, want, own, wantOwn)
				}
			}
		})
	}
	if len(reached) != 10 {
		t.Errorf("reached only %v", reached)
	}
}

// A site that says nothing forwards everything, and one that challenges only challenges.
func TestOtherCredentialsByDefault(t *testing.T) {
	f := newFixture(t)
	eachOther(func(r *authn.Request, a, _, _, _ sent) {
		if d := f.Decide(r); d.Verdict != authn.Forward || d.Reason != authn.ReasonNoToken || d.Authorization != a.text || d.Target != r.Target || d.Claimed != "" {
			t.Errorf("%+v: %+v", r, d)
		}
	})
	s := site(jira)
	s.Others.ChallengePaths = []string{"/"}
	f.PutSite(s)
	f.expect(t, "everywhere", request("/jira/secure/x"), authn.Unauthorized, authn.ReasonChallenge)
	f.expect(t, "with a credential", request("/jira/secure/x", "Bearer x"), authn.Forward, authn.ReasonNoToken)
}

// What a site says of other credentials changes nothing about tokens of ours, whichever way they are presented.
func TestOtherCredentialsAreOthers(t *testing.T) {
	f := newFixture(t)
	requests := []*authn.Request{
		request(myself, basic("alice", f.token)), request(myself, basic("bob", f.token)), request(myself, "Bearer "+f.token), request(myself, basic("alice", "asp_x")),
		request(myself + "?q=" + f.token), request(myself+"?os_username=alice", basic("alice", f.token)), request("/jira/secure/x", basic("alice", f.token)),
		request(myself, "Basic x"), request(myself, "Bearer x", "Bearer y"),
	}
	for _, r := range requests {
		r.Cookies = []string{"JSESSIONID=1"}
		f.PutSite(site(jira))
		want := f.Decide(r)
		f.PutSite(otherSite(authn.ActionRefuse, authn.ActionRefuse, authn.ActionRefuse, authn.ActionRefuse))
		if got := f.Decide(r); got != want || got.Verdict == authn.Forward {
			t.Errorf("%+v: %+v, want %+v", r, got, want)
		}
	}
}

// An imported token is a token, with any action. Once it is dead, its secret is a password like any other.
func TestRefusedPasswordOfADeadImport(t *testing.T) {
	f := newFixture(t)
	s := otherSite(authn.ActionRefuse, authn.ActionForward, authn.ActionForward, authn.ActionForward)
	f.PutSite(s)
	const secret = "Zm9vYmFyYmF6cXV4MDEyMzQ1Njc4OUFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFla"
	imported := alice("uid-2", "old")
	imported.Imported = true
	hash, err := record.NewImportedHash(secret, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r := *f.record
	r.TokenID, r.Imported, r.DeliverySecret, r.APIToken.Name = "asp_ggggGGGG00001111", true, "", "old"
	r.Entries = []record.Entry{{Hash: hash, State: record.Delivered, Issued: time.Unix(1, 0)}}
	f.PutToken(imported)
	f.PutRecord("uid-2", &r)
	f.expect(t, "alive", request(myself, basic("alice", secret)), authn.Allow, authn.ReasonAuthenticated)
	f.DeleteToken("uid-2")
	d := f.Decide(request(myself, basic("Alice", secret)))
	if want := (authn.Decision{Verdict: authn.Forbidden, Reason: authn.ReasonPasswordRefused, TokenID: r.TokenID, Claimed: "alice"}); d != want {
		t.Errorf("dead: %+v, want %+v", d, want)
	}
	s.Others.Password = authn.ActionObserve
	f.PutSite(s)
	if d := f.Decide(request(myself, basic("Alice", secret))); d.Reason != authn.ReasonDeleted || d.Verdict != authn.Forward || d.Claimed != "alice" {
		t.Errorf("dead and observed: %+v", d)
	}
}

// Each way to present each token, with each list of schemes: Bearer is another spelling of Basic with the owner's name, and nothing
// else.
func TestBearer(t *testing.T) {
	f := newFixture(t)
	_, unknown := newToken(t)
	values := map[string]string{"right": f.token, "unknown": unknown, "malformed": f.token[:60], "prefix": "asp_", "with a space": f.token + " ", "long": f.token + strings.Repeat("0", 2000)}
	for name, value := range values {
		for _, scheme := range []string{"Bearer ", "bearer ", "BEARER\t \t", " Bearer ", "Bear\u0435r ", "Bearers ", "Token ", ""} {
			for _, accepted := range []bool{false, true} {
				s := site(jira)
				s.Bearer = accepted
				f.PutSite(s)
				got := f.Decide(request(myself, scheme+value))
				bearer := strings.EqualFold(strings.TrimSpace(scheme), "bearer")
				want := authn.Decision{Verdict: authn.Unauthorized, Reason: authn.ReasonSchemeNotAccepted, TokenID: got.TokenID}
				if accepted && bearer {
					if want = f.Decide(request(myself, basic("alice", value))); name == "long" {
						want = authn.Decision{Verdict: authn.Unauthorized, Reason: authn.ReasonMalformedToken, TokenID: f.record.TokenID}
					}
				}
				if got != want {
					t.Errorf("%s as %q, accepted %t: %+v, want %+v", name, scheme, accepted, got, want)
				}
			}
		}
	}
	s := site(jira)
	s.Bearer = true
	f.PutSite(s)
	f.expect(t, "joined to a password", request(myself, "Bearer "+f.token+", Basic YTpi"), authn.Unauthorized, authn.ReasonMalformedCredential)
	f.expect(t, "a PAT before it", request(myself, "Bearer NjE2 "+f.token), authn.Unauthorized, authn.ReasonSchemeNotAccepted)
	f.expect(t, "a PAT", request(myself, "Bearer NjE2"), authn.Forward, authn.ReasonNoToken)
	f.expect(t, "as the password of nobody", request(myself, basic("", f.token)), authn.Unauthorized, authn.ReasonWrongUser)
	f.expect(t, "outside the token paths", request("/jira/secure/x", "Bearer "+f.token), authn.Unauthorized, authn.ReasonPathNotAccepted)
	if d := f.Identify(request("/jira/rest/api-tokens/latest/", "Bearer "+f.token)); d.Verdict != authn.Allow || d.User != "alice" {
		t.Errorf("at the operator's own API: %+v", d)
	}
}

// A site that hands over users in a header needs and releases no credential of theirs. Everything else is as before.
func TestIdentityHeader(t *testing.T) {
	f := newFixture(t)
	s := site(jira)
	s.IdentityHeader = "X-Remote-User"
	f.PutSite(s)
	ours := basic("alice", f.token)
	want := authn.Decision{
		Verdict: authn.Allow, Reason: authn.ReasonAuthenticated, User: "alice", TokenID: f.record.TokenID, IdentityHeader: "X-Remote-User", Target: myself,
		APIToken: authn.APITokenName{Namespace: "jira", Name: "ci", UID: uid},
	}
	for name, change := range map[string]func(){
		"with a credential":                   func() {},
		"with that of another server":         func() { f.putCredential("", "http://elsewhere:8080") },
		"with one of an unknown key":          func() { f.putKey("k1") },
		"with one of the right key":           func() { f.putCredential("k1", origin) },
		"without a credential":                func() { f.DeleteUpstreamCredential(jira, "alice") },
		"without a credential, and no key":    func() { f.putKey("") },
		"with one of a key that no one knows": func() { f.putCredential("k2", origin) },
	} {
		change()
		got := f.Decide(request(strings.Replace(myself, "/rest", "//rest", 1), ours))
		if got.UserKey != f.record.UserKey {
			t.Errorf("%s: the user key is %q", name, got.UserKey)
		}
		if got.UserKey = ""; got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
		f.putKey("")
	}
	f.putKey("k1")
	f.putCredential("k2", origin)
	f.expect(t, "the name changed hands", request(myself, ours), authn.Forbidden, authn.ReasonOwnerChanged)
	d := f.Decide(request(myself, "Bearer NjE2"))
	if want := (authn.Decision{Verdict: authn.Forward, Reason: authn.ReasonNoToken, Target: myself, Authorization: "Bearer NjE2", IdentityHeader: "X-Remote-User"}); d != want {
		t.Errorf("without a token: %+v, want %+v", d, want)
	}
	if d := f.Identify(request("/jira/rest/api-tokens/latest/", ours)); d.Verdict != authn.Allow || d.IdentityHeader != "" {
		t.Errorf("at the operator's own API: %+v", d)
	}
}

func (f fixture) putCredential(key, from string) {
	f.PutUpstreamCredential(authn.UpstreamCredential{Site: jira, User: "alice", UserKey: key, Authorization: bearer, Origin: from})
}

func (f fixture) putKey(key string) {
	f.record.UserKey = key
	f.PutRecord(uid, f.record)
}

// A name is handed over in a header only if every server reads it as it is.
func TestIdentityThatAHeaderCannotHold(t *testing.T) {
	f := newFixture(t)
	for n := range 0x17f {
		for _, name := range []string{string(rune(n)), "a" + string(rune(n)) + "b", string(rune(n)) + "b", "a" + string(rune(n))} {
			name = strings.ToLower(name)
			r := *f.record
			r.User = name
			owned := alice(uid, "ci")
			owned.User = name
			f.PutToken(owned)
			f.PutRecord(uid, &r)
			f.PutUpstreamCredential(authn.UpstreamCredential{Site: jira, User: name, Authorization: bearer, Origin: origin})
			if strings.Contains(name, ":") {
				continue // no user of Basic has one
			}
			for _, header := range []string{"", "X-Forwarded-User"} {
				s := site(jira)
				s.IdentityHeader = header
				f.PutSite(s)
				want := authn.ReasonAuthenticated
				if header != "" && (strings.TrimSpace(name) != name || strings.ContainsFunc(name, func(c rune) bool { return c < ' ' || c > '~' })) {
					want = authn.ReasonIdentityNotRepresentable
				}
				if d := f.Decide(request(myself, basic(name, f.token))); d.Reason != want {
					t.Errorf("%q in %q: %+v, want %s", name, header, d, want)
				}
			}
		}
	}
}
