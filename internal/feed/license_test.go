package feed_test

import (
	"crypto/ed25519"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/license"
	"apitokens.dev/operator/internal/projection"
)

var licenseKey, otherKey = ed25519.NewKeyFromSeed([]byte(strings.Repeat("a", 32))), ed25519.NewKeyFromSeed([]byte(strings.Repeat("b", 32)))

func verifier() *license.Verifier {
	return license.NewVerifier(licenseKey.Public().(ed25519.PublicKey))
}

func signed(t *testing.T, key ed25519.PrivateKey, until time.Time, products ...string) string {
	t.Helper()
	text, err := license.License{Licensee: "Example Inc.", Products: products, Expires: until}.Sign(key)
	must(t, err)
	return text
}

// projected is the Secret that the controller would write for the site.
func (f *fixture) projected(text string) *corev1.Secret {
	f.Helper()
	return f.Project(f.T, projection.Projection{License: text})
}

// A licence is verified when it is seen, and changes to it are followed.
func TestLicensesAreFollowed(t *testing.T) {
	f := newFixture(t)
	later := time.Now().Add(time.Hour)
	good := signed(t, licenseKey, later, "Confluence", "Jira")
	f.startWith(verifier())
	f.eventually(authn.ReasonInvalidLicenseMissing)
	secret := f.Projection
	for _, step := range []struct {
		name, license string
		want          authn.Reason
	}{
		{"words", "not a licence", authn.ReasonInvalidLicenseMalformed},
		{"mended", good + "\n", authn.ReasonAuthenticated},
		{"signed by somebody else", signed(t, otherKey, later, "Jira"), authn.ReasonInvalidLicenseWrongSignature},
		{"nothing", "", authn.ReasonInvalidLicenseMissing},
		{"of another product", signed(t, licenseKey, later, "Confluence"), authn.ReasonInvalidLicenseWrongProduct},
		{"ended", signed(t, licenseKey, time.Now().Add(-time.Second), "Jira"), authn.ReasonInvalidLicenseExpired},
		{"renewed", good, authn.ReasonAuthenticated},
	} {
		secret.Data = f.projected(step.license).Data
		must(t, f.Operator.Update(t.Context(), secret))
		f.eventually(step.want)
		t.Logf("%s: seen", step.name)
	}
	must(t, f.Operator.Delete(t.Context(), secret))
	f.eventually(authn.ReasonSiteNotRemembered)
}

// What is remembered about a site is followed. Until it is there for this very site, nothing is decided.
func TestMemoryIsFollowed(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.eventually(authn.ReasonAuthenticated)
	remember := func(uid types.UID, epoch time.Time, want authn.Reason) {
		t.Helper()
		data, err := projection.Projection{Namespace: f.Site.Namespace, Site: f.Site.Name, UID: string(uid), IssuedAfter: epoch}.Encode()
		must(t, err)
		f.Projection.Data[projection.DataKey] = data
		must(t, f.Operator.Update(t.Context(), f.Projection))
		f.eventually(want)
	}
	remember(f.Site.UID, time.Now().Add(time.Hour).UTC(), authn.ReasonRevokedByEpoch)
	remember("another", time.Time{}, authn.ReasonSiteNotRemembered)
	remember(f.Site.UID, time.Time{}, authn.ReasonAuthenticated)
	must(t, env.Admin.Delete(t.Context(), f.Site))
	f.eventually(authn.ReasonUnknownSite)
	f.put(env.Admin, f.Site) // another site: it has a new UID
	f.eventually(authn.ReasonSiteNotRemembered)
	remember(f.Site.UID, time.Time{}, authn.ReasonAuthenticated)
}

// A projection that cannot be read, or that has the wrong name, does not count.
func TestDamagedProjectionsDoNotCount(t *testing.T) {
	f := newFixture(t)
	good := f.Projection
	good.Data = f.projected(signed(t, licenseKey, time.Now().Add(time.Hour), "Jira")).Data
	f.startWith(verifier())
	must(t, f.Operator.Update(t.Context(), good))
	f.eventually(authn.ReasonAuthenticated)
	data := good.Data[projection.DataKey]
	good.Data[projection.DataKey] = data[1:]
	must(t, f.Operator.Update(t.Context(), good))
	f.eventually(authn.ReasonSiteNotRemembered)
	good.Data[projection.DataKey] = data
	must(t, f.Operator.Update(t.Context(), good))
	f.eventually(authn.ReasonAuthenticated)

	must(t, f.Operator.Delete(t.Context(), good))
	misplaced, elsewhere := good.DeepCopy(), good.DeepCopy()
	misplaced.Name += "-copy"
	elsewhere.Namespace = f.Site.Namespace
	f.put(f.Operator, misplaced, elsewhere)
	kubetest.Eventually(t, func() error { return f.damaged("projections", 2) })
	f.eventually(authn.ReasonSiteNotRemembered)
}

// Without keys, no site needs a licence.
func TestLicensesAreNotRequired(t *testing.T) {
	f := newFixture(t)
	f.Projection.Data = f.projected("not a licence").Data
	must(t, f.Operator.Update(t.Context(), f.Projection))
	f.start()
	f.eventually(authn.ReasonAuthenticated)
}
