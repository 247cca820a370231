package authn_test

import (
	"net/netip"
	"testing"
	"time"

	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/record"
)

var (
	licenseEnd = time.Unix(1_000_000, 0)
	forJira    = authn.License{Products: []string{"Confluence", "Jira"}, Expires: licenseEnd}
)

// licensed is a fixture at the time now that requires licences.
func licensed(t *testing.T, now time.Time, change func(*authn.Site, *authn.Token, *record.Record)) fixture {
	t.Helper()
	f := limited(t, now, change)
	f.RequireLicenses()
	return f
}

// The table has each reason why a licence does not count. The end of a licence counts to the nanosecond and needs no event.
func TestLicenses(t *testing.T) {
	const pat, parameter = "/jira/rest/pat/latest/tokens", "/jira/rest/x?os_username=bob"
	for name, tc := range map[string]struct {
		license *authn.License
		now     time.Time
		want    authn.Reason
	}{
		"valid":                {&forJira, issued, authn.ReasonAuthenticated},
		"right before its end": {&forJira, licenseEnd.Add(-1), authn.ReasonAuthenticated},
		"at its end":           {&forJira, licenseEnd, authn.ReasonInvalidLicenseExpired},
		"right after its end":  {&forJira, licenseEnd.Add(1), authn.ReasonInvalidLicenseExpired},
		"none":                 {nil, issued, authn.ReasonInvalidLicenseMissing},
		"another product":      {&authn.License{Products: []string{"Confluence"}, Expires: licenseEnd}, issued, authn.ReasonInvalidLicenseWrongProduct},
		"another product, at its end": {
			&authn.License{Products: []string{"Confluence"}, Expires: licenseEnd}, licenseEnd, authn.ReasonInvalidLicenseWrongProduct,
		},
		"no product":     {&authn.License{Expires: licenseEnd}, issued, authn.ReasonInvalidLicenseWrongProduct},
		"no end":         {&authn.License{Products: []string{"Jira"}}, issued, authn.ReasonInvalidLicenseExpired},
		"missing":        {&authn.License{Invalid: authn.ReasonInvalidLicenseMissing}, issued, authn.ReasonInvalidLicenseMissing},
		"malformed":      {&authn.License{Invalid: authn.ReasonInvalidLicenseMalformed}, issued, authn.ReasonInvalidLicenseMalformed},
		"another's":      {&authn.License{Invalid: authn.ReasonInvalidLicenseWrongSignature}, issued, authn.ReasonInvalidLicenseWrongSignature},
		"valid but said": {&authn.License{Products: []string{"Jira"}, Expires: licenseEnd, Invalid: "x"}, issued, "x"},
	} {
		t.Run(name, func(t *testing.T) {
			f := licensed(t, tc.now, nil)
			if tc.license != nil {
				f.PutLicense(jira, *tc.license)
			}
			verdict := authn.Forbidden
			if tc.want == authn.ReasonAuthenticated {
				verdict = authn.Allow
			}
			f.want(t, "a token", request("/jira/rest/x"), verdict, tc.want)
			// Other faults of the request come first.
			f.want(t, "a path", request(pat), authn.Forbidden, authn.ReasonCredentialPath)
			f.want(t, "a parameter", request(parameter), authn.Forbidden, authn.ReasonCredentialParameter)
			f.want(t, "another path", request("/jira/secure/x"), authn.Unauthorized, authn.ReasonPathNotAccepted)
			// A client without a verified token learns nothing about the licence. A password needs none.
			f.want(t, "another user", request("/jira/rest/x", basic("bob", f.token)), authn.Unauthorized, authn.ReasonWrongUser)
			f.want(t, "a password", request("/jira/rest/x", basic("alice", "secret")), authn.Forward, authn.ReasonNoToken)
			f.checkForbidden(t, request("/jira/rest/x", basic("alice", f.token)))
		})
	}
}

// checkForbidden checks that a forbidden request gets no credential.
func (f fixture) checkForbidden(t *testing.T, r *authn.Request) {
	t.Helper()
	d := f.Decide(r)
	if want := (authn.Decision{Verdict: d.Verdict, Reason: d.Reason, User: "alice", TokenID: f.record.TokenID}); d.Verdict == authn.Forbidden && d != want {
		t.Errorf("decided %+v, want %+v", d, want)
	}
}

// The licence is reported before the limits: without one, a wider token would be refused too.
func TestLicenseIsReportedBeforeLimits(t *testing.T) {
	f := licensed(t, issued, func(s *authn.Site, k *authn.Token, _ *record.Record) {
		s.Limits = authn.Limits{Sources: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, ReadOnly: true}
		k.Limits = authn.Limits{Paths: []string{"/rest/other"}}
	})
	f.want(t, "limited", request("/jira/rest/x"), authn.Forbidden, authn.ReasonInvalidLicenseMissing)
	f.PutLicense(jira, forJira)
	f.want(t, "limited, with a licence", request("/jira/rest/x"), authn.Forbidden, authn.ReasonSourceNotAllowed)
	f = licensed(t, issued, func(_ *authn.Site, k *authn.Token, _ *record.Record) { k.Suspended = true })
	f.want(t, "suspended", request("/jira/rest/x"), authn.Unauthorized, authn.ReasonSuspended)
	f = licensed(t, issued, nil)
	f.DeleteUpstreamCredential(jira, "alice")
	f.want(t, "no credential", request("/jira/rest/x"), authn.Forbidden, authn.ReasonInvalidLicenseMissing)
}

// A licence belongs to one site, and the latest one counts.
func TestLicensesComeAndGo(t *testing.T) {
	f := licensed(t, issued, nil)
	f.PutLicense(authn.SiteName{Namespace: jira.Namespace, Name: "other"}, forJira)
	f.want(t, "another site's", request("/jira/rest/x"), authn.Forbidden, authn.ReasonInvalidLicenseMissing)
	f.PutLicense(jira, forJira)
	f.want(t, "its own", request("/jira/rest/x"), authn.Allow, authn.ReasonAuthenticated)
	f.PutLicense(jira, authn.License{Invalid: authn.ReasonInvalidLicenseMalformed})
	f.want(t, "spoiled", request("/jira/rest/x"), authn.Forbidden, authn.ReasonInvalidLicenseMalformed)
	f.PutLicense(jira, forJira)
	s := site(jira)
	s.Product = "Bitbucket"
	f.PutSite(s)
	f.want(t, "of another product", request("/jira/rest/x"), authn.Forbidden, authn.ReasonInvalidLicenseWrongProduct)
	f.PutSite(site(jira))
	f.want(t, "its own again", request("/jira/rest/x"), authn.Allow, authn.ReasonAuthenticated)
	f.DeleteLicense(jira)
	f.want(t, "gone", request("/jira/rest/x"), authn.Forbidden, authn.ReasonInvalidLicenseMissing)
}

// An operator that requires no licences ignores those that it knows.
func TestLicensesAreNotRequired(t *testing.T) {
	f := limited(t, licenseEnd, nil)
	f.want(t, "no licence", request("/jira/rest/x"), authn.Allow, authn.ReasonAuthenticated)
	for _, l := range []authn.License{forJira, {}, {Invalid: authn.ReasonInvalidLicenseWrongSignature}} {
		f.PutLicense(jira, l)
		f.want(t, "one that does not count", request("/jira/rest/x"), authn.Allow, authn.ReasonAuthenticated)
	}
}

// Unlicensed, which the page shows, gives the same reasons as requests get.
func TestUnlicensed(t *testing.T) {
	now := issued
	f := newFixture(t)
	f.Index = newIndex(t, func() time.Time { return now })
	f.PutSite(site(jira))
	want := func(name string, at authn.SiteName, want authn.Reason) {
		t.Helper()
		if got := f.Unlicensed(at); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	other := authn.SiteName{Namespace: jira.Namespace, Name: "other"}
	want("not required", jira, "")
	f.RequireLicenses()
	want("none", jira, authn.ReasonInvalidLicenseMissing)
	want("no site", other, "")
	f.PutLicense(other, forJira)
	want("another site's", jira, authn.ReasonInvalidLicenseMissing)
	f.PutLicense(jira, forJira)
	want("valid", jira, "")
	now = licenseEnd
	want("at its end", jira, authn.ReasonInvalidLicenseExpired)
	f.PutLicense(jira, authn.License{Invalid: authn.ReasonInvalidLicenseWrongSignature})
	want("spoiled", jira, authn.ReasonInvalidLicenseWrongSignature)
}

// Tokens are managed over the operator's own REST API without a licence. All other rules apply there.
func TestOwnPathsNeedNoLicense(t *testing.T) {
	f := licensed(t, issued, func(_ *authn.Site, k *authn.Token, _ *record.Record) { k.Limits.ReadOnly = true })
	own := request("/jira/rest/api-tokens/latest/", basic("alice", f.token))
	own.Method = "GET"
	if d := f.Identify(own); d.Verdict != authn.Allow || d.User != "alice" || d.Authorization != "" {
		t.Errorf("decided %+v", d)
	}
	own.Method = "POST"
	if d := f.Identify(own); d.Verdict != authn.Forbidden || d.Reason != authn.ReasonReadOnly {
		t.Errorf("decided %+v", d)
	}
	own.Method = "GET"
	f.want(t, "asked about by a gateway", own, authn.Forbidden, authn.ReasonInvalidLicenseMissing)
}

func TestLicensesAllocateNothing(t *testing.T) {
	for name, tc := range map[string]struct {
		license authn.License
		want    authn.Verdict
	}{
		"valid":    {authn.License{Products: forJira.Products, Expires: time.Now().Add(time.Hour)}, authn.Allow},
		"ended":    {forJira, authn.Forbidden},
		"no right": {authn.License{Products: []string{"Confluence"}}, authn.Forbidden},
		"spoiled":  {authn.License{Invalid: authn.ReasonInvalidLicenseMalformed}, authn.Forbidden},
	} {
		f := newFixture(t)
		r := request("/jira/rest/api/2/issue/ABC-1", basic("alice", f.token))
		free := testing.AllocsPerRun(1000, func() { f.Decide(r) })
		f.RequireLicenses()
		f.PutLicense(jira, tc.license)
		if d := f.Decide(r); d.Verdict != tc.want {
			t.Errorf("%s: decided %+v", name, d)
		}
		if n := testing.AllocsPerRun(1000, func() { f.Decide(r) }); n > free {
			t.Errorf("%s: %v allocations, without licences %v", name, n, free)
		}
	}
}
