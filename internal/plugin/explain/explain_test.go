package explain

import (
	"crypto/rand"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/token"
)

// Every reason of the decision has advice, and nothing else has.
func TestReasonsAreComplete(t *testing.T) {
	declared := regexp.MustCompile(`Reason\w*\s+(?:authn\.)?Reason = "(\w+)"`)
	all := map[string]bool{}
	for _, file := range []string{"../../authn/reasons.go", "../../../webhook/gateway/contract/contract.go"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range declared.FindAllStringSubmatch(string(text), -1) {
			all[m[1]] = true
			if a := reasons[authn.Reason(m[1])]; a.step == "" || a.means == "" || a.do == "" {
				t.Errorf("%s has no advice", m[1])
			}
		}
	}
	if len(all) < 50 {
		t.Errorf("found only %d reasons", len(all))
	}
	for reason := range reasons {
		if !all[string(reason)] {
			t.Errorf("%s is no reason", reason)
		}
	}
}

const now = 1_800_000_000

func at(offset time.Duration) metav1.Time { return metav1.NewTime(time.Unix(now, 0).Add(offset)) }

// fixture is a site below /jira with a token of alice.
type fixture struct {
	objects
	asked

	whole string
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	id, err := token.NewID(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := token.New(id, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{whole: whole}
	f.site = &tokensv1alpha1.AtlassianSite{
		ObjectMeta: metav1.ObjectMeta{Namespace: "jira", Name: "main", UID: "site"},
		Spec: tokensv1alpha1.AtlassianSiteSpec{
			Product: tokensv1alpha1.ProductJira, BaseURL: "https://jira.example.com/jira", UpstreamURL: "http://jira.jira.svc:8080/jira",
			TokenPaths: []string{"/rest/"},
		},
	}
	f.token = &tokensv1alpha1.APIToken{
		ObjectMeta: metav1.ObjectMeta{Namespace: "jira", Name: "ci", UID: "token", CreationTimestamp: at(-time.Hour)},
		Spec:       tokensv1alpha1.APITokenSpec{SiteRef: tokensv1alpha1.SiteReference{Name: "main"}, User: "alice", Label: "CI"},
		Status:     tokensv1alpha1.APITokenStatus{TokenID: id, IssuedTime: at(-time.Hour)},
	}
	f.method, f.target = "GET", "/jira/rest/api/2/myself"
	f.authorization = []string{basic("alice", whole)}
	return f
}

func (f *fixture) condition(of string, status metav1.ConditionStatus, reason string) {
	c := metav1.Condition{Type: of, Status: status, Reason: reason, Message: "alice: because of " + reason}
	if of == tokensv1alpha1.ConditionReady {
		f.token.Status.Conditions = append(f.token.Status.Conditions, c)
		return
	}
	f.site.Status.Conditions = append(f.site.Status.Conditions, c)
}

func (f *fixture) notReady(reason string) {
	f.condition(tokensv1alpha1.ConditionReady, metav1.ConditionFalse, reason)
}

func (f *fixture) unlicensed(reason string) {
	f.condition(tokensv1alpha1.ConditionLicensed, metav1.ConditionFalse, reason)
}

// judgements has, for each reason that objects and a request can have, a change that leads to it, and a fact of the answer.
var judgements = map[authn.Reason]struct {
	change func(*fixture)
	fact   string
}{
	authn.ReasonAuthenticated:       {func(*fixture) {}, ""},
	authn.ReasonNoToken:             {func(f *fixture) { f.authorization = nil }, ""},
	authn.ReasonPasswordObserved:    {others(func(o *tokensv1alpha1.OtherCredentials) { o.Password.Action = "Observe" }, basic("a", "b")), ""},
	authn.ReasonBearerObserved:      {others(func(o *tokensv1alpha1.OtherCredentials) { o.Bearer.Action = "Observe" }, "Bearer x"), ""},
	authn.ReasonSessionObserved:     {withSession(func(o *tokensv1alpha1.OtherCredentials) { o.Session.Action = "Observe" }), ""},
	authn.ReasonAnonymousObserved:   {others(func(o *tokensv1alpha1.OtherCredentials) { o.Anonymous.Action = "Observe" }), ""},
	authn.ReasonPasswordRefused:     {others(func(o *tokensv1alpha1.OtherCredentials) { o.Password.Action = "Refuse" }, basic("a", "b")), ""},
	authn.ReasonBearerRefused:       {others(func(o *tokensv1alpha1.OtherCredentials) { o.Bearer.Action = "Refuse" }, "Bearer x"), ""},
	authn.ReasonSessionRefused:      {withSession(func(o *tokensv1alpha1.OtherCredentials) { o.Session.Action = "Refuse" }), ""},
	authn.ReasonAnonymousRefused:    {others(func(o *tokensv1alpha1.OtherCredentials) { o.Anonymous.Action = "Refuse" }), ""},
	authn.ReasonChallenge:           {others(func(o *tokensv1alpha1.OtherCredentials) { o.Anonymous.ChallengePaths = []string{"/rest"} }), ""},
	authn.ReasonMalformedCredential: {func(f *fixture) { f.authorization = append(f.authorization, f.authorization[0]) }, ""},
	authn.ReasonSchemeNotAccepted:   {func(f *fixture) { f.authorization = []string{"Bearer " + f.whole} }, "schemes of the site: Basic"},
	authn.ReasonMalformedToken:      {func(f *fixture) { f.authorization = []string{basic("alice", f.whole[:60])} }, ""},
	authn.ReasonUnknownToken:        {func(f *fixture) { f.notReady(tokensv1alpha1.ReasonRecordMissing) }, "because of RecordMissing"},
	authn.ReasonWrongSecret: {func(f *fixture) {
		other, _ := token.New(f.token.Status.TokenID, rand.Reader)
		f.authorization = []string{basic("alice", other)}
	}, ""},
	authn.ReasonWrongUser:       {func(f *fixture) { f.authorization = []string{basic("bob", f.whole)} }, `The request has the user "bob", and the token belongs to "alice".`},
	authn.ReasonAmbiguousPath:   {func(f *fixture) { f.target = "/jira/rest/../x" }, "path: /jira/rest/../x"},
	authn.ReasonPathNotAccepted: {func(f *fixture) { f.target = "/jira/secure/x" }, "tokenPaths of the site: /rest/"},
	authn.ReasonNamespaceNotAllowed: {func(f *fixture) {
		f.token.Namespace, f.token.Spec.SiteRef.Namespace = "team", "jira"
		f.site.Spec.AllowedNamespaces.From = "Same"
	}, "namespace: team"},
	authn.ReasonUserBlocked: {func(f *fixture) { f.site.Spec.BlockedUsers = []tokensv1alpha1.BlockedUser{{Name: "alice"}} }, "blockedUsers of the site: alice"},
	authn.ReasonSuspended:   {func(f *fixture) { f.token.Spec.State = tokensv1alpha1.StateSuspended }, "state: Suspended"},
	authn.ReasonExpired: {func(f *fixture) {
		f.token.Spec.LifetimeDays, f.token.Status.IssuedTime = new(int32(1)), at(-48*time.Hour)
	}, "lifetimeDays of the token: 1"},
	authn.ReasonRevokedByEpoch:          {func(f *fixture) { f.site.Spec.IssuedAfter = at(-time.Minute) }, "issuedAfter of the site: "},
	authn.ReasonDeleted:                 {func(f *fixture) { f.token.DeletionTimestamp = new(at(-time.Second)) }, ""},
	authn.ReasonPathCharacterNotAllowed: {func(f *fixture) { f.target = "/jira/rest/a;b" }, "path: /jira/rest/a;b"},
	authn.ReasonCredentialPath:          {func(f *fixture) { f.target = "/jira/rest/pat/latest/tokens" }, "path: /jira/rest/pat/latest/tokens"},
	authn.ReasonCredentialParameter:     {func(f *fixture) { f.target += "?os_username=bob" }, ""},

	authn.ReasonInvalidLicenseMissing:        {func(f *fixture) { f.unlicensed(tokensv1alpha1.ReasonLicenseMissing) }, ""},
	authn.ReasonInvalidLicenseMalformed:      {func(f *fixture) { f.unlicensed(tokensv1alpha1.ReasonLicenseMalformed) }, ""},
	authn.ReasonInvalidLicenseWrongSignature: {func(f *fixture) { f.unlicensed(tokensv1alpha1.ReasonLicenseWrongSignature) }, ""},
	authn.ReasonInvalidLicenseWrongProduct:   {func(f *fixture) { f.unlicensed(tokensv1alpha1.ReasonLicenseWrongProduct) }, ""},
	authn.ReasonInvalidLicenseExpired:        {func(f *fixture) { f.unlicensed(tokensv1alpha1.ReasonLicenseExpired) }, ""},

	authn.ReasonSourceNotAllowed: {func(f *fixture) { f.client, f.token.Spec.AllowedSources = "192.0.2.7", []string{"10.0.0.0/8"} }, "client: 192.0.2.7"},
	authn.ReasonReadOnly:         {func(f *fixture) { f.method, f.token.Spec.Access = "POST", tokensv1alpha1.AccessReadOnly }, "method: POST"},
	authn.ReasonPathNotAllowed:   {func(f *fixture) { f.token.Spec.AllowedPaths = []string{"/rest/api/2/search"} }, "allowedPaths of the token: /rest/api/2/search"},

	authn.ReasonUpstreamCredentialMissing: {func(f *fixture) { f.notReady(tokensv1alpha1.ReasonUpstreamCredentialMissing) }, "because of UpstreamCredentialMissing"},
	authn.ReasonOwnerChanged:              {func(f *fixture) { f.notReady(tokensv1alpha1.ReasonOwnerChanged) }, "because of OwnerChanged"},
	authn.ReasonUpstreamChanged: {func(f *fixture) {
		f.condition(tokensv1alpha1.ConditionUpstreamCredentialsReady, metav1.ConditionFalse, tokensv1alpha1.ReasonUpstreamChanged)
	}, ""},
	authn.ReasonIdentityNotRepresentable: {func(f *fixture) {
		f.site.Spec.Handoff.Type, f.token.Spec.User = tokensv1alpha1.HandoffIdentityHeader, "älice"
		f.authorization = []string{basic("älice", f.whole)}
	}, ""},
	authn.ReasonUnknownSite: {func(f *fixture) {
		f.site.Status.Conditions = []metav1.Condition{{Type: tokensv1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: tokensv1alpha1.ReasonBaseURLConflict}}
	}, ""},
}

// elsewhere are reasons that no object of the API server shows: only the log of the webhook has them.
var elsewhere = []authn.Reason{
	authn.ReasonAmbiguousToken, authn.ReasonReplaced, authn.ReasonProbeRefused, authn.ReasonProbe, authn.ReasonNotReady, authn.ReasonCallerKeyMismatch,
	authn.ReasonCallerCertificateMissing, authn.ReasonCallerCertificateUntrusted, authn.ReasonCallerCertificateExpired, authn.ReasonCallerCertificateUsage,
	authn.ReasonCallerCertificateName, authn.ReasonCallerAuthoritiesMissing, authn.ReasonSiteNotRemembered, authn.ReasonBusy, unknownContract,
}

func others(change func(*tokensv1alpha1.OtherCredentials), authorization ...string) func(*fixture) {
	return func(f *fixture) {
		change(&f.site.Spec.OtherCredentials)
		f.authorization = authorization
	}
}

func withSession(change func(*tokensv1alpha1.OtherCredentials)) func(*fixture) {
	return func(f *fixture) {
		others(change)(f)
		f.cookies = []string{"JSESSIONID=x"}
	}
}

// explain names every reason: those that the objects show by judging, and the others when the log has them.
func TestEveryReasonIsNamed(t *testing.T) {
	for reason := range reasons {
		tc, judged := judgements[reason]
		if judged == slices.Contains(elsewhere, reason) {
			t.Errorf("%s is neither judged nor in the log alone, or both", reason)
		}
		if !judged {
			continue
		}
		t.Run(string(reason), func(t *testing.T) {
			f := newFixture(t)
			tc.change(f)
			if reason == authn.ReasonWrongSecret {
				f.knowRecord(t)
			}
			j, err := judge(f.objects, f.asked, time.Unix(now, 0))
			if err != nil {
				t.Fatal(err)
			}
			a := newAnswer(f.objects, f.asked, j, time.Unix(now, 0))
			if j.Reason != reason || a.Means != reasons[reason].means || a.Site != "jira/main" {
				t.Errorf("got %s: %+v", j.Reason, a)
			}
			if all := strings.Join(a.Facts, "\n"); !strings.Contains(all, tc.fact) || tc.fact == "" && reason == authn.ReasonSuspended {
				t.Errorf("no fact %q in %q", tc.fact, a.Facts)
			}
			if text := fmt.Sprint(a); strings.Contains(text, f.whole[len(f.whole)-20:]) || strings.Contains(text, "SITE") || strings.Contains(text, "NAME ") {
				t.Errorf("the answer has a secret, or an unfilled word: %s", text)
			}
		})
	}
}

// knowRecord lets the fixture's user read the record of the token.
func (f *fixture) knowRecord(t *testing.T) {
	t.Helper()
	var j judged
	known := asked{pasted: pasted{authorization: []string{basic("alice", f.whole)}}}
	var err error
	if f.record, err = j.assumeRecord(f.token, known, time.Unix(now, 0)); err != nil {
		t.Fatal(err)
	}
}

// A refusal in the log has the same advice.
func TestLog(t *testing.T) {
	for reason := range reasons {
		log := `{"time":"2026-11-26T12:00:00Z","msg":"other"}` + "\nno JSON\n" +
			`{"time":"2026-11-26T12:00:00Z","verdict":"unauthorized","reason":"` + string(reason) + `","site":"jira/main","tokenID":"asp_x","requestID":"r1"}` + "\n"
		l, err := find(strings.NewReader(log), "r1")
		if err != nil || l.Reason != reason || !slices.Contains(l.facts(), "token id: asp_x") {
			t.Errorf("%s: %v, %+v", reason, err, l)
		}
		if _, err := find(strings.NewReader(log), "r2"); err == nil || !strings.Contains(err.Error(), `no line about the request "r2"`) {
			t.Errorf("another request: %v", err)
		}
	}
}

func TestRead(t *testing.T) {
	const whole = "asp_CEMdV8w5tmJF87Qp_x7Jq0Zk3bVt9LmN2pRs5wYc8dFg1hTj4kXz6aQe0uWabcd"
	for name, tc := range map[string]struct {
		text string
		want pasted
		err  string
	}{
		"curl": {
			"curl -u alice:" + whole + " https://jira.example.com/rest/api/2/myself",
			pasted{authorization: []string{basic("alice", whole)}, method: "GET", host: "jira.example.com", target: "/rest/api/2/myself"}, "",
		},
		"curl with everything": {
			"$ curl -sSX POST --user 'alice:" + whole + "' \\\n  -H \"Content-Type: application/json\" -b JSESSIONID=1 --max-time 3 -d '{\"a\": \"b c\"}' " +
				"'https://jira.example.com:8443/jira/rest/x?a=b#c'",
			pasted{
				authorization: []string{basic("alice", whole)}, cookies: []string{"JSESSIONID=1"}, method: "POST", host: "jira.example.com:8443",
				target: "/jira/rest/x?a=b",
			}, "",
		},
		"curl with attached values": {
			"curl -sualice:" + whole + " --request=DELETE jira.example.com",
			pasted{authorization: []string{basic("alice", whole)}, method: "DELETE", host: "jira.example.com", target: "/"}, "",
		},
		"curl with a header": {
			"curl -H 'Authorization: Bearer " + whole + "' -I https://a/b",
			pasted{authorization: []string{"Bearer " + whole}, method: "HEAD", host: "a", target: "/b"}, "",
		},
		"curl with a user in the URL": {
			"curl https://alice:" + whole + "@a/b",
			pasted{authorization: []string{basic("alice", whole)}, method: "GET", host: "a", target: "/b"}, "",
		},
		"curl with switches": {
			"curl -s -L -kv --fail https://a/b -G --compressed", pasted{method: "GET", host: "a", target: "/b"}, "",
		},
		"curl with data": {"curl --data x=y --oauth2-bearer NjE2 https://a/b", pasted{authorization: []string{"Bearer NjE2"}, method: "POST", host: "a", target: "/b"}, ""},
		"curl, cut off":  {"curl https://a/b -u", pasted{}, "paste all of it"},
		"curl, nonsense": {"curl 'https://%zz/" + whole + "'", pasted{}, "cannot be read"},
		"a header":       {"Authorization: Basic YTpi", pasted{authorization: []string{"Basic YTpi"}}, ""},
		"a request": {
			"> GET /rest/x HTTP/1.1\n> Host: a\n> Authorization: Basic YTpi\n> Cookie: x=y",
			pasted{authorization: []string{"Basic YTpi"}, cookies: []string{"x=y"}, method: "GET", host: "a", target: "/rest/x"}, "",
		},
		"a token":       {" " + whole + "\n", pasted{alone: whole}, ""},
		"nothing":       {"", pasted{}, errNothing.Error()},
		"prose":         {"why does it not work", pasted{}, errNothing.Error()},
		"a path":        {"/rest/api", pasted{}, errNothing.Error()},
		"another field": {"Accept: text/html", pasted{}, errNothing.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := read(tc.text)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) || strings.Contains(err.Error(), whole[30:]) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil || fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", tc.want) {
				t.Errorf("%v: got %+v, want %+v", err, got, tc.want)
			}
		})
	}
}
