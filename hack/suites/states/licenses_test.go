package states_test

import (
	"crypto/ed25519"
	"strings"
	"time"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/license"
)

var licenseKey, otherLicenseKey = ed25519.NewKeyFromSeed([]byte(strings.Repeat("a", 32))), ed25519.NewKeyFromSeed([]byte(strings.Repeat("b", 32)))

// wantLicenses makes sites need licences from now on, as an operator with public keys does.
func (w *world) wantLicenses() {
	w.licenses = license.NewVerifier(licenseKey.Public().(ed25519.PublicKey))
}

// paper puts a licence into a Secret, and returns a change that makes a site refer to it.
func (w *world) paper(name, text string) siteMod {
	w.Helper()
	w.put(name+"-license", "license", text)
	return licenseIn(name + "-license")
}

func licenseIn(secret string) siteMod {
	return func(s *tokensv1alpha1.AtlassianSite) { s.Spec.LicenseSecretRef.Name = secret }
}

func (w *world) licenseBy(key ed25519.PrivateKey, until time.Time, products ...string) string {
	w.Helper()
	text, err := license.License{Licensee: "Example Inc.", Products: products, Expires: until}.Sign(key)
	w.must(err)
	return text
}

var licenseExamples = []example{
	{"licensed", 0, func(w *world, name string) {
		w.site(name, w.paper(name, w.licenseBy(licenseKey, noon.Add(365*day), "Jira", "Confluence")))
	}},
	{"license-missing", 0, func(w *world, name string) { w.site(name) }},
	{"license-secret-missing", 0, func(w *world, name string) { w.site(name, licenseIn("jira-license")) }},
	{"license-key-missing", 0, func(w *world, name string) {
		w.put(name, "license.jws", "under another key")
		w.site(name, licenseIn(name))
	}},
	{"license-empty", 0, func(w *world, name string) { w.site(name, w.paper(name, "\t\n")) }},
	{"license-malformed", 0, func(w *world, name string) { w.site(name, w.paper(name, "PUT-THE-LICENCE-HERE")) }},
	{"license-of-others", 0, func(w *world, name string) {
		w.site(name, w.paper(name, w.licenseBy(otherLicenseKey, noon.Add(365*day), "Jira")))
	}},
	{"license-expired", 30 * day, func(w *world, name string) {
		s := w.site(name, w.paper(name, w.licenseBy(licenseKey, noon, "Jira")))
		w.later(30 * day)
		w.lookAtSite(s)
	}},
	{"license-for-confluence", 0, func(w *world, name string) {
		w.site(name, w.paper(name, w.licenseBy(licenseKey, noon.Add(365*day), "Confluence")))
	}},
}
