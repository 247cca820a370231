package feed_test

import (
	"crypto/ed25519"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
	p := projection.Projection{Namespace: f.Site.Namespace, Site: f.Site.Name, License: text}
	data, err := p.Encode()
	must(f.T, err)
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: kubetest.SystemNamespace, Name: p.SecretName()},
		Type:       projection.SecretType, Data: map[string][]byte{projection.DataKey: data},
	}
}

// A licence is verified when it is seen, and changes to it are followed.
func TestLicensesAreFollowed(t *testing.T) {
	f := newFixture(t)
	later := time.Now().Add(time.Hour)
	good := signed(t, licenseKey, later, "Confluence", "Jira")
	f.startWith(verifier())
	f.eventually(authn.ReasonInvalidLicenseMissing)
	secret := f.projected(good)
	f.put(f.Operator, secret)
	f.eventually(authn.ReasonAuthenticated)
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
	f.eventually(authn.ReasonInvalidLicenseMissing)
}

// A projection that cannot be read, or that has the wrong name, does not count.
func TestDamagedProjectionsDoNotCount(t *testing.T) {
	f := newFixture(t)
	good := f.projected(signed(t, licenseKey, time.Now().Add(time.Hour), "Jira"))
	f.startWith(verifier())
	f.put(f.Operator, good)
	f.eventually(authn.ReasonAuthenticated)
	data := good.Data[projection.DataKey]
	good.Data[projection.DataKey] = data[1:]
	must(t, f.Operator.Update(t.Context(), good))
	f.eventually(authn.ReasonInvalidLicenseMissing)
	good.Data[projection.DataKey] = data
	must(t, f.Operator.Update(t.Context(), good))
	f.eventually(authn.ReasonAuthenticated)

	must(t, f.Operator.Delete(t.Context(), good))
	misplaced, elsewhere := good.DeepCopy(), good.DeepCopy()
	misplaced.Name += "-copy"
	elsewhere.Namespace = f.Site.Namespace
	f.put(f.Operator, misplaced, elsewhere)
	kubetest.Eventually(t, func() error { return f.damaged("projections", 2) })
	f.eventually(authn.ReasonInvalidLicenseMissing)
}

// Without keys, no site needs a licence.
func TestLicensesAreNotRequired(t *testing.T) {
	f := newFixture(t)
	f.put(f.Operator, f.projected("not a licence"))
	f.start()
	f.eventually(authn.ReasonAuthenticated)
}
