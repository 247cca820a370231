package authn_test

import (
	"crypto/rand"
	"encoding/base64"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/token"
)

const (
	key    = "caller-key-of-the-site"
	bearer = "Bearer alices-personal-access-token"
	origin = "http://jira.jira.svc:8080"
	uid    = "uid-1"

	siteUID = "uid-of-the-site"
)

var jira = authn.SiteName{Namespace: "jira", Name: "main"}

// fixture is an index with one site at the context path /jira, and one token of alice.
type fixture struct {
	*authn.Index
	token  string
	record *record.Record
}

func newToken(t testing.TB) (id, text string) {
	t.Helper()
	id, err := token.NewID(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if text, err = token.New(id, rand.Reader); err != nil {
		t.Fatal(err)
	}
	return id, text
}

func newRecord(t testing.TB, name, id, text string) *record.Record {
	t.Helper()
	hash, err := record.NewHash(text, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &record.Record{
		TokenID: id, User: "alice", DeliverySecret: "delivered",
		Site:     record.Ref{Namespace: jira.Namespace, Name: jira.Name},
		APIToken: record.Ref{Namespace: jira.Namespace, Name: name},
		Entries:  []record.Entry{{Hash: hash, State: record.Delivered, Issued: time.Unix(1, 0).UTC()}},
	}
}

func alice(uid, name string) authn.Token {
	return authn.Token{UID: uid, Namespace: jira.Namespace, Name: name, User: "Alice", Site: jira}
}

func site(name authn.SiteName) authn.Site {
	return authn.Site{Name: name, UID: siteUID, Product: "Jira", ContextPath: "/jira", TokenPaths: []string{"/rest/"}, Origin: origin}
}

func newFixture(t testing.TB) fixture {
	t.Helper()
	ix := newIndex(t, time.Now)
	id, text := newToken(t)
	r := newRecord(t, "ci", id, text)
	ix.PutSite(site(jira))
	ix.PutToken(alice(uid, "ci"))
	ix.PutRecord(uid, r)
	return fixture{Index: ix, token: text, record: r}
}

// newIndex returns an index with caller keys and an upstream credential, but without the site itself.
func newIndex(t testing.TB, now func() time.Time) *authn.Index {
	t.Helper()
	ix := authn.NewIndex(now)
	ix.PutCallerKeys(jira, map[authurl.Contract][]string{authurl.Nginx: {key}}, nil)
	ix.PutUpstreamCredential(authn.UpstreamCredential{Site: jira, User: "alice", Authorization: bearer, Origin: origin})
	ix.PutMemory(jira, authn.Memory{UID: siteUID})
	ix.SetReady()
	return ix
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func request(target string, authorization ...string) *authn.Request {
	return &authn.Request{
		Contract: authurl.Nginx, CallerKey: key, Site: jira, Authorization: authorization, Target: target,
	}
}

func TestDecide(t *testing.T) {
	f := newFixture(t)
	ours := basic("alice", f.token)
	_, unknown := newToken(t)
	wrong, err := token.New(f.record.TokenID, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	const path = "/jira/rest/api/2/myself"

	type want struct {
		verdict authn.Verdict
		reason  authn.Reason
	}
	allowed := want{authn.Allow, authn.ReasonAuthenticated}
	forwarded := want{authn.Forward, authn.ReasonNoToken}
	refused := func(reason authn.Reason) want { return want{authn.Unauthorized, reason} }
	forbidden := func(reason authn.Reason) want { return want{authn.Forbidden, reason} }

	for name, tc := range map[string]struct {
		target        string
		authorization []string
		want          want
	}{
		"a token":                          {path, []string{ours}, allowed},
		"folded user name":                 {path, []string{basic("ALICE", f.token)}, allowed},
		"scheme in lower case":             {path, []string{"basic" + ours[5:]}, allowed},
		"repeated slashes":                 {"//jira//rest///api", []string{ours}, allowed},
		"ordinary escapes":                 {"/jira/rest/api/2/user/alice%40example/a%20b", []string{ours}, allowed},
		"parameters in the path":           {"/jira/rest;a=b/api", []string{ours}, refused(authn.ReasonPathNotAccepted)},
		"parameters below the token path":  {"/jira/rest/api;a=b", []string{ours}, forbidden(authn.ReasonPathCharacterNotAllowed)},
		"dots in the path":                 {"/x/../jira/rest/api", []string{ours}, refused(authn.ReasonAmbiguousPath)},
		"searching for the prefix":         {path + "?query=asp_net&x=asp_build", []string{ours}, allowed},
		"searching without a token":        {path + "?query=asp_net", nil, forwarded},
		"searching with a PAT":             {path + "?fields=asp_score", []string{"Bearer NjE2"}, forwarded},
		"an id in the query":               {path + "?id=" + f.record.TokenID, []string{ours}, allowed},
		"an id and no secret in the query": {path + "?id=" + f.record.TokenID + "_", nil, forwarded},
		"a token beside one in the query":  {path + "?q=" + f.token, []string{ours}, forbidden(authn.ReasonCredentialParameter)},
		"a wrong one beside one in it":     {path + "?q=" + f.token, []string{basic("alice", wrong)}, refused(authn.ReasonWrongSecret)},
		"a query":                          {path + "?os_user=x&expand=os_username", []string{ours}, allowed},
		"a tab after the scheme":           {path, []string{"Basic\t" + ours[6:]}, allowed},
		"two spaces after the scheme":      {path, []string{"Basic  " + ours[6:]}, allowed},
		"white space at the start":         {path, []string{" \t" + ours}, allowed},
		"a scheme that Unicode would fold": {path, []string{"Ba\u017fic" + ours[5:]}, forwarded},
		"no credential":                    {path, nil, forwarded},
		"a password":                       {path, []string{basic("alice", "secret")}, forwarded},
		"an empty password":                {path, []string{basic("alice", "")}, forwarded},
		"a personal access token":          {path, []string{"Bearer NjE2"}, forwarded},
		"negotiate":                        {path, []string{"Negotiate " + strings.Repeat("YII", 1500)}, forwarded},
		"a password at an ambiguous path":  {"/jira/rest/%2f", []string{basic("alice", "secret")}, forwarded},
		"a password outside token paths":   {"/jira/secure/", []string{basic("alice", "secret")}, forwarded},
		"os_ parameters without a token":   {path + "?os_username=bob&os_password=x", nil, forwarded},
		"two of them":                      {path, []string{ours, ours}, refused(authn.ReasonMalformedCredential)},
		"two passwords":                    {path, []string{basic("a", "b"), basic("a", "b")}, refused(authn.ReasonMalformedCredential)},
		"joined":                           {path, []string{ours + ", " + ours}, refused(authn.ReasonMalformedCredential)},
		"joined to another":                {path, []string{"Bearer NjE2, " + ours}, refused(authn.ReasonMalformedCredential)},
		"joined to OAuth":                  {path, []string{`OAuth a="b", c="d",BASIC` + "\t" + ours[6:]}, refused(authn.ReasonMalformedCredential)},
		"OAuth":                            {path, []string{`OAuth realm="basic ", a="b",basic="c d"`}, forwarded},
		"joined behind a tab":              {path, []string{"Bearer NjE2,\t" + ours}, refused(authn.ReasonMalformedCredential)},
		"joined to a token":                {path, []string{"Bearer " + f.token + ", " + ours}, refused(authn.ReasonMalformedCredential)},
		"joined to nothing":                {path, []string{", " + ours}, refused(authn.ReasonMalformedCredential)},
		"joined to nothing, no space":      {path, []string{" ,\t," + ours}, refused(authn.ReasonMalformedCredential)},
		"joined to a scheme alone":         {path, []string{"Negotiate, " + ours}, refused(authn.ReasonMalformedCredential)},
		"joined without a value":           {path, []string{"Bearer NjE2, Basic"}, forwarded},
		"folded":                           {path, []string{ours[:20] + " " + ours[20:]}, refused(authn.ReasonMalformedCredential)},
		"not base64":                       {path, []string{"Basic !!!!"}, refused(authn.ReasonMalformedCredential)},
		"no padding":                       {path, []string{"Basic YWI6Yw"}, refused(authn.ReasonMalformedCredential)},
		"no colon":                         {path, []string{"Basic YWxpY2U="}, refused(authn.ReasonMalformedCredential)},
		"no value":                         {path, []string{"Basic"}, refused(authn.ReasonMalformedCredential)},
		"too long":                         {path, []string{basic("alice", strings.Repeat("x", 4000))}, refused(authn.ReasonMalformedCredential)},
		"a token in the clear":             {path, []string{"Basic " + f.token}, refused(authn.ReasonMalformedCredential)},
		"as bearer":                        {path, []string{"Bearer " + f.token}, refused(authn.ReasonSchemeNotAccepted)},
		"as bearer with two spaces":        {path, []string{"Bearer  " + f.token}, refused(authn.ReasonSchemeNotAccepted)},
		"as bearer behind a tab":           {path, []string{"Bearer\t" + f.token}, refused(authn.ReasonSchemeNotAccepted)},
		"without a scheme":                 {path, []string{f.token}, refused(authn.ReasonSchemeNotAccepted)},
		"quoted":                           {path, []string{`Token token="` + f.token + `"`}, refused(authn.ReasonSchemeNotAccepted)},
		"as a part of the password":        {path, []string{basic("alice", "pass "+f.token)}, refused(authn.ReasonSchemeNotAccepted)},
		"as user name":                     {path, []string{basic(f.token, "")}, refused(authn.ReasonSchemeNotAccepted)},
		"as os_password":                   {path + "?os_username=alice&os_password=" + f.token, nil, forbidden(authn.ReasonCredentialParameter)},
		"as os_password, encoded":          {path + "?os_password=%61" + f.token[1:], nil, forbidden(authn.ReasonCredentialParameter)},
		"as os_password, encoded twice":    {path + "?os_password=%2561" + f.token[1:], nil, forbidden(authn.ReasonCredentialParameter)},
		"as os_password, only the prefix":  {path + "?os_password=asp_", nil, forwarded},
		"as the name of a parameter":       {path + "?" + f.token, nil, forbidden(authn.ReasonCredentialParameter)},
		"inside a parameter":               {path + "?jql=text~%22" + f.token + "%22", nil, forbidden(authn.ReasonCredentialParameter)},
		"in the query outside token paths": {"/jira/secure/?q=" + f.token, nil, forbidden(authn.ReasonCredentialParameter)},
		"half of one in the query":         {path + "?q=" + f.token[:30], nil, forbidden(authn.ReasonCredentialParameter)},
		"as os_password beside a password": {path + "?os_password=" + f.token, []string{basic("a", "b")}, forbidden(authn.ReasonCredentialParameter)},
		"only the prefix":                  {path, []string{basic("alice", "asp_")}, refused(authn.ReasonMalformedToken)},
		"bad checksum":                     {path, []string{basic("alice", f.token[:len(f.token)-1]+"!")}, refused(authn.ReasonMalformedToken)},
		"trailing space":                   {path, []string{basic("alice", f.token+" ")}, refused(authn.ReasonMalformedToken)},
		"unknown id":                       {path, []string{basic("alice", unknown)}, refused(authn.ReasonUnknownToken)},
		"wrong secret":                     {path, []string{basic("alice", wrong)}, refused(authn.ReasonWrongSecret)},
		"wrong user":                       {path, []string{basic("bob", f.token)}, refused(authn.ReasonWrongUser)},
		"no user":                          {path, []string{basic("", f.token)}, refused(authn.ReasonWrongUser)},
		"user with a space":                {path, []string{basic("alice ", f.token)}, refused(authn.ReasonWrongUser)},
		"user that Unicode would fold":     {path, []string{basic("al\u0131ce", f.token)}, refused(authn.ReasonWrongUser)},
		"outside the token paths":          {"/jira/secure/Dashboard.jspa", []string{ours}, refused(authn.ReasonPathNotAccepted)},
		"outside the context path":         {"/rest/api/2/myself", []string{ours}, refused(authn.ReasonPathNotAccepted)},
		"shorter than the context path":    {"/", []string{ours}, refused(authn.ReasonPathNotAccepted)},
		"a prefix of a token path":         {"/jira/rest", []string{ours}, refused(authn.ReasonPathNotAccepted)},
		"another case":                     {"/jira/REST/api", []string{ours}, refused(authn.ReasonPathNotAccepted)},
		"climbing out":                     {"/jira/rest/..;/secure/x", []string{ours}, refused(authn.ReasonAmbiguousPath)},
		"an encoded slash":                 {"/jira/rest/%2fapi", []string{ours}, refused(authn.ReasonAmbiguousPath)},
		"no path":                          {"", []string{ours}, refused(authn.ReasonAmbiguousPath)},
		"making a PAT":                     {"/jira/rest/pat/latest/tokens", []string{ours}, forbidden(authn.ReasonCredentialPath)},
		"making a PAT, folded":             {"/jira/rest/PAT/latest", []string{ours}, forbidden(authn.ReasonCredentialPath)},
		"making a PAT, with a parameter":   {"/jira/rest/pat;x/latest", []string{ours}, forbidden(authn.ReasonPathCharacterNotAllowed)},
		"making a PAT, special below it":   {"/jira/rest/pat/latest;x", []string{ours}, forbidden(authn.ReasonPathCharacterNotAllowed)},
		"making a PAT, and a user":         {"/jira/rest/pat?os_username=bob", []string{ours}, forbidden(authn.ReasonCredentialPath)},
		"making a PAT, dotted":             {"/jira/rest/api/../pat", []string{ours}, refused(authn.ReasonAmbiguousPath)},
		"making a PAT, at any depth":       {"/jira/rest/x/rest/pat/latest/tokens", []string{ours}, forbidden(authn.ReasonCredentialPath)},
		"setting a password":               {"/jira/rest/api/2/user/password", []string{ours}, forbidden(authn.ReasonCredentialPath)},
		"making a session":                 {"/jira/rest/auth/1/session", []string{ours}, forbidden(authn.ReasonCredentialPath)},
		"making an OAuth token":            {"/jira/rest/oauth2/latest/token", []string{ours}, forbidden(authn.ReasonCredentialPath)},
		"making an access token":           {"/jira/rest/access-tokens/1.0/x", []string{ours}, forbidden(authn.ReasonCredentialPath)},
		"a path that only begins alike":    {"/jira/rest/patterns", []string{ours}, allowed},
		"wrong secret at a forbidden path": {"/jira/rest/pat/latest/tokens", []string{basic("alice", wrong)}, refused(authn.ReasonWrongSecret)},
		"os_username":                      {path + "?os_username=bob", []string{ours}, forbidden(authn.ReasonCredentialParameter)},
		"os_password, encoded":             {path + "?a=b&os%5Fpassword=x", []string{ours}, forbidden(authn.ReasonCredentialParameter)},
		"os_authType":                      {path + "?os_authType=none", []string{ours}, forbidden(authn.ReasonCredentialParameter)},
		"os_authType=basic":                {path + "?a=b&os_authType=basic&c=d", []string{ours}, allowed},
		"os_authType=basic, not alone":     {path + "?os_authType=basic&os_authType=cookie", []string{ours}, forbidden(authn.ReasonCredentialParameter)},
		"os_authType=basic, and a user":    {path + "?os_authType=basic&os_username=bob", []string{ours}, forbidden(authn.ReasonCredentialParameter)},
		"os_authType=basic, spelled badly": {path + "?os_authType=b%61sic", []string{ours}, forbidden(authn.ReasonCredentialParameter)},
		"os_authType=basic and more":       {path + "?os_authType=basic;x", []string{ours}, forbidden(authn.ReasonCredentialParameter)},
		"os_authType=BASIC":                {path + "?os_authType=BASIC", []string{ours}, forbidden(authn.ReasonCredentialParameter)},
		"os_authtype=basic":                {path + "?os_authtype=basic", []string{ours}, forbidden(authn.ReasonCredentialParameter)},
		"os_cookie without a value":        {path + "?os_cookie", []string{ours}, forbidden(authn.ReasonCredentialParameter)},
	} {
		t.Run(name, func(t *testing.T) {
			d := f.Decide(request(tc.target, tc.authorization...))
			if got := (want{d.Verdict, d.Reason}); got != tc.want {
				t.Fatalf("got %v %s, want %v %s", got.verdict, got.reason, tc.want.verdict, tc.want.reason)
			}
			checkAnswer(t, f, request(tc.target, tc.authorization...), d)
		})
	}
}

// checkAnswer checks invariants 1 and 2: an identity leaves if and only if a token verified, it is the stored owner's, and
// a credential of ours never goes on to the product.
func checkAnswer(t *testing.T, f fixture, r *authn.Request, d authn.Decision) {
	t.Helper()
	want := authn.Decision{Verdict: d.Verdict, Reason: d.Reason}
	switch d.Verdict {
	case authn.Allow:
		want.User, want.TokenID, want.Authorization = "alice", f.record.TokenID, bearer
		want.APIToken = authn.APITokenName{Namespace: jira.Namespace, Name: "ci", UID: uid}
		want.Target = regexp.MustCompile(`/+`).ReplaceAllString(r.Target, "/")
	case authn.Forbidden:
		want.TokenID = f.record.TokenID // for the log
		if slices.Contains(r.Authorization, basic("alice", f.token)) {
			want.User = "alice"
		}
	case authn.Forward:
		want.Authorization, want.Target = strings.Join(r.Authorization, ""), r.Target
	case authn.Unauthorized:
		want.TokenID, want.Claimed = f.presentedID(r), "" // for the log
		if d.Reason == authn.ReasonWrongUser {
			user, _, _ := strings.Cut(plain(r.Authorization[0]), ":")
			want.Claimed = user
		}
	}
	if d != want {
		t.Errorf("decided %+v, want %+v", d, want)
	}
	if strings.Contains(d.Authorization, token.Prefix) {
		t.Error("a token would reach the product")
	}
}

// presentedID returns the id of a token in Authorization, decoded if it is Basic.
func (f fixture) presentedID(r *authn.Request) string {
	ids := regexp.MustCompile(`(asp_[0-9A-Za-z]{16})_[0-9A-Za-z]`)
	for _, value := range r.Authorization {
		texts := []string{value}
		if len(r.Authorization) == 1 {
			texts = []string{plain(value), value}
		}
		for _, text := range texts {
			if found := ids.FindStringSubmatch(text); found != nil {
				return found[1]
			}
		}
	}
	return ""
}

// plain decodes the value of a header if it is Basic.
func plain(value string) string {
	scheme, rest, _ := strings.Cut(strings.ReplaceAll(value, "\t", " "), " ")
	decoded, err := base64.StdEncoding.DecodeString(rest)
	if !strings.EqualFold(scheme, "basic") || err != nil {
		return value
	}
	return string(decoded)
}

// The products run another path than that of a rewritten one. It is refused where tokens count at every path.
func TestRewrittenPathsAreAmbiguous(t *testing.T) {
	f := newFixture(t)
	everywhere := site(jira)
	everywhere.TokenPaths = []string{"/"}
	f.PutSite(everywhere)
	for target, reason := range map[string]authn.Reason{
		"/jira/s/1/_/rest/api/2/myself": authn.ReasonAmbiguousPath,
		"/jira//S/1/%5f/rest/pat":       authn.ReasonAmbiguousPath,
		"/jira/s/1/rest/api/2/myself":   authn.ReasonAuthenticated,
		"/jira/rest/s/1/_/rest/api":     authn.ReasonAuthenticated,
		"/jira/":                        authn.ReasonAuthenticated,
		"/s/1/_/rest/api":               authn.ReasonPathNotAccepted,
		"/":                             authn.ReasonPathNotAccepted,
	} {
		d := f.Decide(request(target, basic("alice", f.token)))
		want := authn.Decision{Verdict: authn.Unauthorized, Reason: reason, TokenID: f.record.TokenID}
		if (d.Verdict != authn.Allow || reason != authn.ReasonAuthenticated) && d != want {
			t.Errorf("%s: decided %+v, want %s", target, d, reason)
		}
	}
}

func TestDecideChecksTheCallerFirst(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(fixture, *authn.Request)
		want   authn.Reason
	}{
		"wrong key":           {func(_ fixture, r *authn.Request) { r.CallerKey = "x" + key[1:] }, authn.ReasonCallerKeyMismatch},
		"no key":              {func(_ fixture, r *authn.Request) { r.CallerKey = "" }, authn.ReasonCallerKeyMismatch},
		"longer key":          {func(_ fixture, r *authn.Request) { r.CallerKey = key + "\x00" }, authn.ReasonCallerKeyMismatch},
		"huge key":            {func(_ fixture, r *authn.Request) { r.CallerKey = strings.Repeat("k", 10_000) }, authn.ReasonCallerKeyMismatch},
		"key of another kind": {func(_ fixture, r *authn.Request) { r.Contract = "forward" }, authn.ReasonCallerKeyMismatch},
		"keys withdrawn":      {func(f fixture, _ *authn.Request) { f.DeleteCallerKeys(jira) }, authn.ReasonCallerKeyMismatch},
		"empty key on file": {func(f fixture, r *authn.Request) {
			f.PutCallerKeys(jira, map[authurl.Contract][]string{authurl.Nginx: {""}}, nil)
			r.CallerKey = ""
		}, authn.ReasonCallerKeyMismatch},
		"key of another site": {func(f fixture, r *authn.Request) {
			other := authn.SiteName{Namespace: "jira", Name: "other"}
			f.PutSite(site(other))
			f.PutCallerKeys(other, map[authurl.Contract][]string{authurl.Nginx: {"other"}}, nil)
			r.CallerKey = "other"
		}, authn.ReasonCallerKeyMismatch},
		"site that is new": {func(f fixture, _ *authn.Request) {
			s := site(jira)
			s.UID = "another"
			f.PutSite(s)
		}, authn.ReasonSiteNotRemembered},
		"site not remembered": {func(f fixture, _ *authn.Request) { f.DeleteMemory(jira) }, authn.ReasonSiteNotRemembered},
		"site not remembered, nor the key": {func(f fixture, r *authn.Request) {
			f.DeleteMemory(jira)
			r.CallerKey = "x"
		}, authn.ReasonCallerKeyMismatch},
		"site unknown": {func(_ fixture, r *authn.Request) { r.Site.Name = "nowhere" }, authn.ReasonUnknownSite},
		"site gone":    {func(f fixture, _ *authn.Request) { f.DeleteSite(jira) }, authn.ReasonUnknownSite},
	} {
		for _, authorization := range []string{"", basic("alice", "secret"), "ours"} {
			f := newFixture(t)
			if authorization == "ours" {
				authorization = basic("alice", f.token)
			}
			r := request("/jira/rest/api", authorization)
			tc.change(f, r)
			if got, want := f.Decide(r), (authn.Decision{Verdict: authn.CannotDecide, Reason: tc.want}); got != want {
				t.Errorf("%s: %+v, want %+v", name, got, want)
			}
		}
	}
}

func TestDecideNothingBeforeReady(t *testing.T) {
	if d := authn.NewIndex(time.Now).Decide(request("/jira/rest/api")); d.Verdict != authn.CannotDecide || d.Reason != authn.ReasonNotReady {
		t.Errorf("an empty index decided %+v", d)
	}
}

func TestPreviousCallerKeyWorks(t *testing.T) {
	f := newFixture(t)
	f.PutCallerKeys(jira, map[authurl.Contract][]string{authurl.Nginx: {"current", key}}, nil)
	if d := f.Decide(request("/jira/rest/api", basic("alice", f.token))); d.Verdict != authn.Allow {
		t.Errorf("decided %+v", d)
	}
}

// A replica refuses a key that has ended by its own clock, also while no controller removes it.
func TestReplacedCallerKeyEnds(t *testing.T) {
	for name, tc := range map[string]struct {
		left time.Duration
		want authn.Verdict
	}{"before its end": {time.Nanosecond, authn.Allow}, "at its end": {0, authn.CannotDecide}} {
		now := time.Unix(1800000000, 0)
		ix := newIndex(t, func() time.Time { return now })
		id, text := newToken(t)
		ix.PutSite(site(jira))
		ix.PutToken(alice(uid, "ci"))
		ix.PutRecord(uid, newRecord(t, "ci", id, text))
		ix.PutCallerKeys(jira, map[authurl.Contract][]string{authurl.Nginx: {"current", key}}, map[string]time.Time{key: now.Add(tc.left)})
		if d := ix.Decide(request("/jira/rest/api", basic("alice", text))); d.Verdict != tc.want {
			t.Errorf("%s: decided %+v", name, d)
		}
	}
}

func TestHandoffNeedsTheOwnersCredential(t *testing.T) {
	f := newFixture(t)
	r := request("/jira/rest/api", basic("alice", f.token))
	f.PutUpstreamCredential(authn.UpstreamCredential{Site: jira, User: "alice", Authorization: bearer, Origin: "http://elsewhere:8080"})
	want := authn.Decision{Verdict: authn.Forbidden, Reason: authn.ReasonUpstreamChanged, User: "alice", TokenID: f.record.TokenID}
	if d := f.Decide(r); d != want {
		t.Errorf("with a credential of another origin: %+v, want %+v", d, want)
	}
	f.DeleteUpstreamCredential(jira, "alice")
	want.Reason = authn.ReasonUpstreamCredentialMissing
	if d := f.Decide(r); d != want {
		t.Errorf("without a credential: %+v, want %+v", d, want)
	}
}

func TestDecideAllocations(t *testing.T) {
	f := newFixture(t)
	known := request("/jira/rest/api/2/issue/ABC-1%20?expand=all&fields=%2A", basic("alice", f.token))
	if n := testing.AllocsPerRun(1000, func() { f.Decide(known) }); n != 0 {
		t.Errorf("a known token costs %v allocations, want none", n)
	}
	_, unknown := newToken(t)
	// A refusal names the presented id, and the claimed user, for the log.
	for name, garbage := range map[string]struct {
		authorization string
		most          float64
	}{
		"nothing": {"", 0}, "malformed": {"Basic !", 0}, "password": {basic("alice", "secret"), 0}, "one long word": {strings.Repeat("x", 4096), 0},
		"bad checksum": {basic("alice", "asp_x"), 3}, "unknown": {basic("alice", unknown), 3}, "bearer": {"Bearer " + f.token, 3},
	} {
		r := request("/jira/rest/api/2/issue/ABC-1?a=b", garbage.authorization)
		if n := testing.AllocsPerRun(1000, func() { f.Decide(r) }); n > garbage.most {
			t.Errorf("%s: garbage costs %v allocations, at most %v are wanted", name, n, garbage.most)
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	f := newFixture(b)
	_, unknown := newToken(b)
	for name, authorization := range map[string]string{
		"known": basic("alice", f.token), "unknown": basic("alice", unknown), "checksum": basic("alice", "asp_x"), "password": basic("alice", "secret"),
	} {
		b.Run(name, func(b *testing.B) {
			r := request("/jira/rest/api/2/issue/ABC-1", authorization)
			b.ReportAllocs()
			for b.Loop() {
				f.Decide(r)
			}
		})
	}
}
