package site

import (
	"crypto/ed25519"
	"strings"
	"testing"
	"time"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/license"
)

func TestJudgeLicense(t *testing.T) {
	ours := ed25519.NewKeyFromSeed([]byte(strings.Repeat("a", ed25519.SeedSize)))
	theirs := ed25519.NewKeyFromSeed([]byte(strings.Repeat("b", ed25519.SeedSize)))
	v := license.NewVerifier(ours.Public().(ed25519.PublicKey))
	signed := func(key ed25519.PrivateKey, until time.Time, products ...string) entry {
		text, err := license.License{Licensee: "Example Inc.", Products: products, Expires: until}.Sign(key)
		if err != nil {
			t.Fatal(err)
		}
		return entry{secret: true, key: true, data: []byte(text)}
	}
	later := noon.Add(time.Hour)
	const where = "the key 'license' of Secret 'paper', which `licenseSecretRef` names"
	for name, tc := range map[string]struct {
		ref             tokensv1alpha1.LicenseSecretReference
		found           entry
		reason, message string
	}{
		"valid": {ref("paper", ""), signed(ours, later, "Jira"), tokensv1alpha1.ReasonLicenseValid,
			"Licensed to 'Example Inc.' for Jira until 2026-01-01T13:00:00Z."},
		"valid for more": {ref("paper", ""), signed(ours, later, "Bitbucket", "Confluence", "Jira"), tokensv1alpha1.ReasonLicenseValid,
			"Licensed to 'Example Inc.' for Bitbucket, Confluence and Jira until 2026-01-01T13:00:00Z."},
		"about to end": {ref("paper", ""), signed(ours, noon.Add(time.Second), "Jira"), tokensv1alpha1.ReasonLicenseValid,
			"Licensed to 'Example Inc.' for Jira until 2026-01-01T12:00:01Z."},
		"ended": {ref("paper", ""), signed(ours, noon, "Jira"), tokensv1alpha1.ReasonLicenseExpired,
			"The licence of 'Example Inc.' ended at 2026-01-01T12:00:00Z. Put a new one under " + where + "."},
		"another product": {ref("paper", ""), signed(ours, later, "Confluence"), tokensv1alpha1.ReasonLicenseWrongProduct,
			"The licence of 'Example Inc.' is for Confluence, and this site is Jira. Put one for Jira under " + where + "."},
		"another product, ended": {ref("paper", ""), signed(ours, noon, "Confluence"), tokensv1alpha1.ReasonLicenseWrongProduct,
			"The licence of 'Example Inc.' is for Confluence, and this site is Jira. Put one for Jira under " + where + "."},
		"another key": {ref("paper", "signed.jws"), signed(theirs, later, "Jira"), tokensv1alpha1.ReasonLicenseWrongSignature,
			"No key that this operator was started with (--license-public-keys) verifies the licence under the key 'signed.jws' of Secret 'paper', " +
				"which `licenseSecretRef` names. Put one there that was issued for it, or start it with the key."},
		"words": {ref("paper", ""), entry{secret: true, key: true, data: []byte("a secret that got there")}, tokensv1alpha1.ReasonLicenseMalformed,
			"The content of " + where + ", is not a licence. Put one there exactly as it was issued."},
		"no reference": {ref("", ""), entry{}, tokensv1alpha1.ReasonLicenseMissing,
			"This operator wants a licence for each site, and `licenseSecretRef` names none. Put the licence into a Secret beside the site, and name that."},
		"no Secret": {ref("paper", ""), entry{}, tokensv1alpha1.ReasonLicenseMissing,
			"There is no Secret 'paper', which `licenseSecretRef` names. Create it with the key 'license', and put the licence there."},
		"no key": {ref("paper", "signed.jws"), entry{secret: true}, tokensv1alpha1.ReasonLicenseMissing,
			"Secret 'paper' has no key 'signed.jws', which `licenseSecretRef` names. Create the key, and put the licence there."},
		"nothing": {ref("paper", ""), entry{secret: true, key: true, data: []byte("\n")}, tokensv1alpha1.ReasonLicenseMissing,
			"There is nothing under " + where + ". Put the licence there."},
	} {
		l := judgeLicense(v, tokensv1alpha1.AtlassianSiteSpec{Product: tokensv1alpha1.ProductJira, LicenseSecretRef: tc.ref}, tc.found, noon)
		valid := tc.reason == tokensv1alpha1.ReasonLicenseValid
		if !valid {
			tc.message += " Until then tokens of this site are refused with 403."
		}
		if l.reason != tc.reason || l.message != tc.message || l.ends.IsZero() == valid {
			t.Errorf("%s: %s %q until %s, want %s %q", name, l.reason, l.message, l.ends, tc.reason, tc.message)
		}
	}
}

func ref(name, key string) tokensv1alpha1.LicenseSecretReference {
	return tokensv1alpha1.LicenseSecretReference{Name: name, Key: key}
}

// The next pass comes after a minute, or at the end of the licence.
func TestNext(t *testing.T) {
	for name, tc := range map[string]struct {
		l    *licensing
		want time.Duration
	}{
		"no licences":  {nil, time.Minute},
		"no valid one": {&licensing{}, time.Minute},
		"ends later":   {&licensing{ends: noon.Add(time.Hour)}, time.Minute},
		"ends soon":    {&licensing{ends: noon.Add(time.Millisecond)}, time.Millisecond},
		"has ended":    {&licensing{ends: noon}, time.Minute},
	} {
		if got := nextPass(tc.l, noon); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}
