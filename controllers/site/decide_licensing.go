package site

import (
	"errors"
	"fmt"
	"strings"
	"time"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/license"
)

// licensing is the judgement of a site's licence, as a condition.
type licensing struct {
	reason, message string
	// ends is the end of a valid licence.
	ends time.Time
}

// untilThen ends every message about a licence that is not valid.
const untilThen = " Until then tokens of this site are refused with 403."

// judgeLicense verifies the licence in the Secret that `licenseSecretRef` names.
func judgeLicense(v *license.Verifier, site tokensv1alpha1.AtlassianSiteSpec, found entry, now time.Time) *licensing {
	l, err := v.Verify(string(found.data))
	if err == nil {
		err = l.Check(string(site.Product), now)
	}
	ref := site.LicenseSecretRef
	where := fmt.Sprintf("the key '%s' of Secret '%s', which `licenseSecretRef` names", licenseKey(ref), ref.Name)
	switch {
	case err == nil:
		return &licensing{license.Reason(nil), fmt.Sprintf("Licensed to '%s' for %s until %s.",
			l.Licensee, list(l.Products), l.Expires.Format(time.RFC3339)), l.Expires}
	case errors.Is(err, license.ErrMissing):
		return unlicensed(err, "%s", missingLicense(ref, found))
	case errors.Is(err, license.ErrSignature):
		return unlicensed(err, "No key that this operator was started with (--license-public-keys) verifies "+
			"the licence under %s. Put one there that was issued for it, or start it with the key.", where)
	case errors.Is(err, license.ErrProduct):
		return unlicensed(err, "The licence of '%s' is for %s, and this site is %s. Put one for %s under %s.",
			l.Licensee, list(l.Products), site.Product, site.Product, where)
	case errors.Is(err, license.ErrExpired):
		return unlicensed(err, "The licence of '%s' ended at %s. Put a new one under %s.",
			l.Licensee, l.Expires.Format(time.RFC3339), where)
	default:
		return unlicensed(err, "The content of %s, is not a licence. Put one there exactly as it was issued.", where)
	}
}

func unlicensed(err error, format string, args ...any) *licensing {
	return &licensing{reason: license.Reason(err), message: fmt.Sprintf(format, args...) + untilThen}
}

func missingLicense(ref tokensv1alpha1.LicenseSecretReference, found entry) string {
	switch {
	case ref.Name == "":
		return "This operator wants a licence for each site, and `licenseSecretRef` names none. Put the licence into a Secret beside the site, and name that."
	case found.refused != nil:
		return fmt.Sprintf("Secret '%s', which `licenseSecretRef` names, %v.", ref.Name, found.refused)
	case !found.secret:
		return fmt.Sprintf("There is no Secret '%s', which `licenseSecretRef` names. Create it with the key '%s', and put the licence there.",
			ref.Name, licenseKey(ref))
	case !found.key:
		return fmt.Sprintf("Secret '%s' has no key '%s', which `licenseSecretRef` names. Create the key, and put the licence there.", ref.Name, licenseKey(ref))
	default:
		return fmt.Sprintf("There is nothing under the key '%s' of Secret '%s', which `licenseSecretRef` names. Put the licence there.", licenseKey(ref), ref.Name)
	}
}

func licenseKey(ref tokensv1alpha1.LicenseSecretReference) string {
	if ref.Key == "" {
		return tokensv1alpha1.DefaultLicenseKey
	}
	return ref.Key
}

// list joins names as in a sentence.
func list(names []string) string {
	last := len(names) - 1
	if last == 0 {
		return names[0]
	}
	return strings.Join(names[:last], ", ") + " and " + names[last]
}

// nextPass returns the time until the next pass over a site: at the end of its licence, or after recheckPeriod.
func nextPass(l *licensing, now time.Time) time.Duration {
	if l != nil && l.ends.After(now) {
		return min(recheckPeriod, l.ends.Sub(now))
	}
	return recheckPeriod
}
