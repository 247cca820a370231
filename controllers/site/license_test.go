package site_test

import (
	"context"
	"crypto/ed25519"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/site"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/license"
)

var licenseKey, otherKey = ed25519.NewKeyFromSeed([]byte(strings.Repeat("a", 32))), ed25519.NewKeyFromSeed([]byte(strings.Repeat("b", 32)))

func signed(t *testing.T, key ed25519.PrivateKey, until time.Time, products ...string) string {
	t.Helper()
	text, err := license.License{Licensee: "Example Inc.", Products: products, Expires: until}.Sign(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// wantLicenses makes the reconciler require licences from now on.
func (w *world) wantLicenses() {
	w.reconciler.Licenses = license.NewVerifier(licenseKey.Public().(ed25519.PublicKey))
}

func (w *world) expectLicensed(s *tokensv1alpha1.AtlassianSite, reason string) {
	w.Helper()
	w.expect(s, tokensv1alpha1.ConditionLicensed, reason)
}

// Each change of a licence emits one Event. Without a licence, nothing else of the site changes.
func TestLicense(t *testing.T) {
	w := newWorld(t)
	w.wantLicenses()
	w.jira("jira", "alice")
	w.give("alice", pat("alice", 1))
	s := w.site("main", users("alice"))
	later := w.clock.Now().Add(1000 * time.Hour)
	for _, step := range []struct {
		change func()
		reason string
		events []string
	}{
		{func() {}, tokensv1alpha1.ReasonLicenseMissing, []string{"Normal Serving", "Warning LicenseMissing"}},
		{func() { w.change(s, licenseRef("paper", "")) }, tokensv1alpha1.ReasonLicenseMissing, nil},
		{func() { w.paper("other", "x") }, tokensv1alpha1.ReasonLicenseMissing, nil},
		{func() { w.paper("license", canary) }, tokensv1alpha1.ReasonLicenseMalformed, []string{"Warning LicenseMalformed"}},
		{func() { w.paper("license", signed(t, otherKey, later, "Jira")) }, tokensv1alpha1.ReasonLicenseWrongSignature, []string{"Warning LicenseWrongSignature"}},
		{func() { w.paper("license", signed(t, licenseKey, later, "Confluence")) }, tokensv1alpha1.ReasonLicenseWrongProduct,
			[]string{"Warning LicenseWrongProduct"}},
		{func() { w.paper("license", signed(t, licenseKey, w.clock.Now(), "Jira")) }, tokensv1alpha1.ReasonLicenseExpired, []string{"Warning LicenseExpired"}},
		{func() { w.paper("license", signed(t, licenseKey, later, "Jira")+"\n") }, tokensv1alpha1.ReasonLicenseValid, nil},
		{func() { w.paper("license", "") }, tokensv1alpha1.ReasonLicenseMissing, []string{"Warning LicenseMissing"}},
	} {
		step.change()
		w.reconcile(s)
		w.expectLicensed(s, step.reason)
		if events := w.emitted(); !slices.EqualFunc(events, step.events, strings.HasPrefix) {
			t.Errorf("%s: events %q, want %q", step.reason, events, step.events)
		}
		w.expectReady(s, tokensv1alpha1.ReasonServing)
		w.expectCredentials(s, tokensv1alpha1.ReasonVerified)
		w.expectIdle(s)
	}
}

// A pass comes at the end of the licence, and not up to a minute later.
func TestLicenseEnds(t *testing.T) {
	w := newWorld(t)
	w.wantLicenses()
	w.clock.SetTime(time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC))
	end := w.clock.Now().Add(90 * time.Second)
	w.paper("license", signed(t, licenseKey, end, "Jira"))
	s := w.site("main", licenseRef("paper", ""))
	for _, step := range []struct {
		now    time.Time
		again  time.Duration
		reason string
	}{
		{end.Add(-90 * time.Second), time.Minute, tokensv1alpha1.ReasonLicenseValid},
		{end.Add(-30 * time.Second), 30 * time.Second, tokensv1alpha1.ReasonLicenseValid},
		{end.Add(-time.Nanosecond), time.Nanosecond, tokensv1alpha1.ReasonLicenseValid},
		{end, time.Minute, tokensv1alpha1.ReasonLicenseExpired},
	} {
		w.clock.SetTime(step.now)
		if result, err := w.pass(w.reconciler, s); err != nil || result != (ctrl.Result{RequeueAfter: step.again}) {
			t.Errorf("at %s: %+v, %v, want again after %s", step.now, result, err, step.again)
		}
		w.expectLicensed(s, step.reason)
	}
}

// The condition exists only where licences are required, and only for a site that is served.
func TestLicenseIsNotWanted(t *testing.T) {
	w := newWorld(t)
	s := w.site("main")
	w.reconcile(s)
	expect := func(what string, there bool) {
		t.Helper()
		if c := apimeta.FindStatusCondition(s.Status.Conditions, tokensv1alpha1.ConditionLicensed); (c != nil) != there {
			t.Errorf("%s: the condition is %+v", what, c)
		}
	}
	expect("not wanted", false)
	w.wantLicenses()
	w.reconcile(s)
	expect("wanted", true)
	w.change(s, upstreamURL("https://jira."+w.ns+".example"))
	w.reconcile(s)
	w.expectNotServed(s, tokensv1alpha1.ReasonUpstreamNotAllowed)
	w.change(s, upstreamURL(w.origin("jira")+"/jira"))
	w.reconcile(s)
	expect("served again", true)
	w.emitted()
	w.reconciler.Licenses = nil
	w.reconcile(s)
	expect("not wanted any more", false)
	if events := w.emitted(); len(events) != 0 {
		t.Errorf("events %q", events)
	}
	w.expectIdle(s)
}

// here is a client that lists what is in the world's namespace: other tests have sites too.
func (w *world) here() client.Client {
	return interceptor.NewClient(w.api, interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, l client.ObjectList, o ...client.ListOption) error {
			return c.List(ctx, l, append(o, client.InNamespace(w.ns))...)
		},
	})
}

func TestLicenseMetrics(t *testing.T) {
	w := newWorld(t)
	w.wantLicenses()
	end := time.Unix(4_000_000_000, 0)
	w.paper("license", signed(t, licenseKey, end, "Jira"))
	good, missing, other := w.site("a", licenseRef("paper", "")), w.site("b"), w.site("c", licenseRef("paper", ""), ofConfluence)
	w.site("not-looked-at-yet")
	for _, s := range []*tokensv1alpha1.AtlassianSite{good, missing, other} {
		w.reconcile(s)
	}
	metrics := &site.Licenses{Client: w.here(), Verifier: w.reconciler.Licenses, Namespace: kubetest.SystemNamespace}
	want := strings.ReplaceAll(`
# HELP apitoken_site_license_expiration_timestamp_seconds When the licence of a site ends, if it was verified.
# TYPE apitoken_site_license_expiration_timestamp_seconds gauge
apitoken_site_license_expiration_timestamp_seconds{site="NS/a"} 4e+09
apitoken_site_license_expiration_timestamp_seconds{site="NS/c"} 4e+09
# HELP apitoken_site_licensed 1 if the licence of a site is valid, else 0, with the reason of its condition Licensed. Only where sites need licences.
# TYPE apitoken_site_licensed gauge
apitoken_site_licensed{reason="LicenseMissing",site="NS/b"} 0
apitoken_site_licensed{reason="LicenseValid",site="NS/a"} 1
apitoken_site_licensed{reason="LicenseWrongProduct",site="NS/c"} 0
`, "NS", w.ns)
	if err := testutil.CollectAndCompare(metrics, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}
