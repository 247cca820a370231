package authn_test

import (
	"fmt"
	"strings"
	"testing"

	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/record"
)

const myself = "/jira/rest/api/2/myself"

func (f fixture) expect(t *testing.T, what string, r *authn.Request, verdict authn.Verdict, reason authn.Reason) {
	t.Helper()
	if d := f.Decide(r); d.Verdict != verdict || d.Reason != reason {
		t.Errorf("%s: decided %v %s, want %v %s", what, d.Verdict, d.Reason, verdict, reason)
	}
}

// Logs, metrics and clients use these names of verdicts and reasons.
func TestNamesOfVerdictsAndReasons(t *testing.T) {
	for verdict, want := range map[authn.Verdict]string{
		authn.CannotDecide: "cannot_decide", authn.Unauthorized: "unauthorized", authn.Forbidden: "forbidden",
		authn.Forward: "forward", authn.Allow: "allow",
	} {
		if got := verdict.String(); got != want {
			t.Errorf("a verdict is called %s, want %s", got, want)
		}
	}
	for reason, want := range map[authn.Reason]string{
		authn.ReasonAuthenticated: "authenticated", authn.ReasonNoToken: "no_token",
		authn.ReasonNotReady: "not_ready", authn.ReasonUnknownSite: "unknown_site", authn.ReasonCallerKeyMismatch: "caller_key_mismatch",
		authn.ReasonCallerCertificateMissing: "caller_certificate_missing", authn.ReasonCallerCertificateUntrusted: "caller_certificate_untrusted",
		authn.ReasonCallerCertificateExpired: "caller_certificate_expired", authn.ReasonCallerCertificateUsage: "caller_certificate_usage",
		authn.ReasonCallerCertificateName: "caller_certificate_name", authn.ReasonCallerAuthoritiesMissing: "caller_authorities_missing",
		authn.ReasonBusy: "busy", authn.ReasonAmbiguousToken: "ambiguous_token", authn.ReasonNamespaceNotAllowed: "namespace_not_allowed",
		authn.ReasonSuspended: "suspended", authn.ReasonExpired: "expired", authn.ReasonReplaced: "replaced", authn.ReasonRevokedByEpoch: "revoked_by_epoch",
		authn.ReasonMalformedCredential: "malformed_credential", authn.ReasonSchemeNotAccepted: "scheme_not_accepted",
		authn.ReasonMalformedToken: "malformed_token", authn.ReasonUnknownToken: "unknown_token", authn.ReasonWrongSecret: "wrong_secret",
		authn.ReasonWrongUser: "wrong_user", authn.ReasonAmbiguousPath: "ambiguous_path", authn.ReasonPathNotAccepted: "path_not_accepted",
		authn.ReasonPathCharacterNotAllowed: "PathCharacterNotAllowed", authn.ReasonCredentialPath: "CredentialPath", authn.ReasonCredentialParameter: "CredentialParameter",
		authn.ReasonInvalidLicenseMissing: "InvalidLicenseMissing", authn.ReasonInvalidLicenseMalformed: "InvalidLicenseMalformed",
		authn.ReasonInvalidLicenseWrongSignature: "InvalidLicenseWrongSignature", authn.ReasonInvalidLicenseExpired: "InvalidLicenseExpired",
		authn.ReasonInvalidLicenseWrongProduct: "InvalidLicenseWrongProduct",
		authn.ReasonSourceNotAllowed:           "SourceNotAllowed", authn.ReasonReadOnly: "ReadOnly", authn.ReasonPathNotAllowed: "PathNotAllowed",
		authn.ReasonSiteNotRemembered: "site_not_remembered", authn.ReasonUserBlocked: "user_blocked", authn.ReasonDeleted: "deleted", authn.ReasonOwnerChanged: "OwnerChanged",
		authn.ReasonUpstreamCredentialMissing: "UpstreamCredentialMissing", authn.ReasonUpstreamChanged: "UpstreamChanged",
		authn.ReasonProbe: "Probe", authn.ReasonProbeRefused: "probe_refused",
	} {
		if string(reason) != want {
			t.Errorf("a reason is called %s, want %s", reason, want)
		}
	}
	if got := jira.String(); got != "jira/main" {
		t.Errorf("a site is called %s", got)
	}
}

// A Decision without a verdict lets nothing pass.
func TestZeroVerdictLetsNothingPass(t *testing.T) {
	if v := (authn.Decision{}).Verdict; v != authn.CannotDecide {
		t.Errorf("the zero verdict is %v", v)
	}
}

// asp_ begins a credential of ours behind any character that cannot be part of one (token68, RFC 9110 section 11.2). In the
// middle of another credential it does not.
func TestWhereTokensAreRecognised(t *testing.T) {
	f := newFixture(t)
	for i := range 256 {
		before := string([]byte{byte(i)})
		verdict, reason := authn.Unauthorized, authn.ReasonSchemeNotAccepted
		if strings.Trim(before, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/") == "" {
			verdict, reason = authn.Forward, authn.ReasonNoToken
		}
		f.expect(t, fmt.Sprintf("behind %q", before), request(myself, "Custom "+before+f.token), verdict, reason)
		f.expect(t, fmt.Sprintf("behind x%q", before), request(myself, "Custom x"+before+f.token), verdict, reason)
		f.expect(t, fmt.Sprintf("behind =%q", before), request(myself, "Custom="+before+f.token), verdict, reason)
	}
	f.expect(t, "behind a tab", request(myself, "Bearer\t"+f.token), authn.Unauthorized, authn.ReasonSchemeNotAccepted)
	for _, short := range []string{"Bearer asp_", "Bearer asp_x", "Bearer x=asp_", "asp_", "Custom asp_, x"} {
		f.expect(t, short, request(myself, short), authn.Unauthorized, authn.ReasonSchemeNotAccepted)
	}
	f.expect(t, "less than the prefix", request(myself, "Bearer asp"), authn.Forward, authn.ReasonNoToken)
	f.expect(t, "a JWT with it inside", request(myself, "Bearer eyJhbGciOi.J9asp_x.y"), authn.Forward, authn.ReasonNoToken)
	f.expect(t, "behind a JWT with it inside", request(myself, "Bearer J9asp_x,"+f.token), authn.Unauthorized, authn.ReasonSchemeNotAccepted)
	f.expect(t, "as user and as password", request(myself, basic(f.token, f.token)), authn.Unauthorized, authn.ReasonWrongUser)
	f.expect(t, "two credentials and one in the query", request(myself+"?os_password="+f.token, "Bearer x", "Bearer y"),
		authn.Unauthorized, authn.ReasonMalformedCredential)
}

func TestSpellingOfBasic(t *testing.T) {
	f := newFixture(t)
	ours := strings.TrimPrefix(basic("alice", f.token), "Basic ")
	f.expect(t, "more space behind the scheme", request(myself, "Basic   "+ours), authn.Allow, authn.ReasonAuthenticated)
	f.expect(t, "a tab behind the space", request(myself, "Basic \t"+ours), authn.Allow, authn.ReasonAuthenticated)
	f.expect(t, "white space before the scheme", request(myself, " \tBasic "+ours), authn.Allow, authn.ReasonAuthenticated)
	f.expect(t, "a tab", request(myself, "Basic\t"+ours), authn.Allow, authn.ReasonAuthenticated)
	for _, scheme := range []string{"Basi", "Basicx", "Basid", "Casic", ""} {
		f.expect(t, "the scheme "+scheme, request(myself, scheme+" "+ours), authn.Forward, authn.ReasonNoToken)
	}

	// "a:b" is YTpi, and "a:" is YTo=. A lenient decoder ignores the last two bits, so YTp= would be the same.
	f.expect(t, "canonical base64", request(myself, "Basic YTo="), authn.Forward, authn.ReasonNoToken)
	f.expect(t, "another spelling", request(myself, "Basic YTp="), authn.Unauthorized, authn.ReasonMalformedCredential)

	longest := strings.Repeat("x", 1024/4*3-len("alice:"))
	f.expect(t, "1024 characters", request(myself, basic("alice", longest)), authn.Forward, authn.ReasonNoToken)
	f.expect(t, "more", request(myself, basic("alice", longest+"x")), authn.Unauthorized, authn.ReasonMalformedCredential)
}

// The path ends at the first question mark, and the query begins there.
func TestQueryIsNoPath(t *testing.T) {
	f := newFixture(t)
	ours := basic("alice", f.token)
	f.expect(t, "an ambiguous query", request(myself+"?a=%2f\\#/../../..", ours), authn.Allow, authn.ReasonAuthenticated)
	for _, query := range []string{"%", "a%", "a%6", "a%6g", "%6", "&", "os_userna", "os_usernames", "os_%75serna", "%os_username"} {
		f.expect(t, query, request(myself+"?"+query, ours), authn.Allow, authn.ReasonAuthenticated)
	}
	for _, query := range []string{"os_%75sername", "%6fs_username=", "os_cooki%65", "OS_USERNAME=x", "&&a&os_authType"} {
		f.expect(t, query, request(myself+"?"+query, ours), authn.Forbidden, authn.ReasonCredentialParameter)
	}
}

func TestEveryTokenPathCounts(t *testing.T) {
	f := newFixture(t)
	s := site(jira)
	s.TokenPaths = []string{"/rest/", "/plugins/", "/download/"}
	f.PutSite(s)
	ours := basic("alice", f.token)
	for _, below := range []string{"/rest/x", "/plugins/x", "/download/x"} {
		f.expect(t, below, request("/jira"+below, ours), authn.Allow, authn.ReasonAuthenticated)
	}
	f.expect(t, "none of them", request("/jira/secure/x", ours), authn.Unauthorized, authn.ReasonPathNotAccepted)
}

// Each caller key of a site works, in any order and beside any other stored key. One that is too long never works.
func TestCallerKeys(t *testing.T) {
	f := newFixture(t)
	longest := strings.Repeat("k", 128)
	for name, tc := range map[string]struct {
		keys []string
		with string
		want authn.Reason
	}{
		"the first":                      {[]string{key, "previous"}, key, authn.ReasonAuthenticated},
		"the last":                       {[]string{"current", key}, key, authn.ReasonAuthenticated},
		"beside an empty one":            {[]string{"", key}, key, authn.ReasonAuthenticated},
		"before an empty one":            {[]string{key, ""}, key, authn.ReasonAuthenticated},
		"twice on file":                  {[]string{key, key}, key, authn.ReasonAuthenticated},
		"128 bytes":                      {[]string{longest}, longest, authn.ReasonAuthenticated},
		"129 bytes":                      {[]string{longest + "k"}, longest + "k", authn.ReasonCallerKeyMismatch},
		"129 bytes, the last is another": {[]string{longest + "k"}, longest + "x", authn.ReasonCallerKeyMismatch},
		"128 of 129 bytes":               {[]string{longest + "k"}, longest, authn.ReasonCallerKeyMismatch},
		"129 instead of 128 bytes":       {[]string{longest}, longest + "k", authn.ReasonCallerKeyMismatch},
		"a part":                         {[]string{key}, key[:len(key)-1], authn.ReasonCallerKeyMismatch},
	} {
		f.PutCallerKeys(jira, map[authurl.Contract][]string{authurl.Nginx: tc.keys}, nil)
		r := request(myself, basic("alice", f.token))
		r.CallerKey = tc.with
		if d := f.Decide(r); d.Reason != tc.want {
			t.Errorf("%s: %+v, want %s", name, d, tc.want)
		}
	}
}

// An empty record without an APIToken authenticates nothing.
func TestRecordWithoutNamesAuthenticatesNothing(t *testing.T) {
	f := newFixture(t)
	id, text := newToken(t)
	blank := newRecord(t, "", id, text)
	blank.User, blank.Site, blank.APIToken = "", record.Ref{}, record.Ref{}
	f.PutRecord("uid-2", blank)
	if f.Size() != 1 {
		t.Errorf("%d tokens authenticate, want the one of the fixture", f.Size())
	}
}

// Several entries have the same token id and go in any order. Only the last one left authenticates again.
func TestTokenIDThatExistsFourTimes(t *testing.T) {
	uids := []string{"uid-1", "uid-2", "uid-3", "uid-4"}
	for i := range 4 * 4 * 4 {
		order := []int{i % 4, i / 4 % 4, i / 16}
		if order[0] == order[1] || order[0] == order[2] || order[1] == order[2] {
			continue
		}
		f := newFixture(t)
		f.DeleteToken(uid)
		for _, u := range uids {
			f.PutRecord(u, f.record)
			f.PutToken(alice(u, "ci"))
		}
		for _, i := range order {
			if f.authenticates() {
				t.Errorf("order %v: authenticates although there are others", order)
			}
			f.DeleteToken(uids[i])
		}
		if !f.authenticates() || f.Size() != 1 {
			t.Errorf("order %v: does not authenticate although the others are gone", order)
		}
	}
}
