package feed

import (
	"errors"
	"fmt"
	"net/netip"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/license"
	"apitokens.dev/operator/internal/siteurl"
	"apitokens.dev/operator/internal/terms"
)

// readToken takes from an APIToken what decides. What it does not understand it does not let authenticate.
func readToken(t *tokensv1alpha1.APIToken) (authn.Token, error) {
	limits, err := readLimits(t.Spec.Access, t.Spec.AllowedSources)
	if err != nil {
		return authn.Token{}, err
	}
	limits.Paths = t.Spec.AllowedPaths
	return authn.Token{
		UID: string(t.UID), Namespace: t.Namespace, Name: t.Name, User: t.Spec.User,
		Site:      authn.SiteName{Namespace: t.SiteNamespace(), Name: t.Spec.SiteRef.Name},
		Lifetime:  terms.Requested(t),
		Imported:  t.Spec.Credential.Type == tokensv1alpha1.CredentialImported,
		Portal:    t.Spec.Credential.Type == tokensv1alpha1.CredentialPortal,
		Suspended: t.Spec.State != "" && t.Spec.State != tokensv1alpha1.StateActive,
		Limits:    limits,
	}, nil
}

// readSite takes from an AtlassianSite what decides.
func readSite(s *tokensv1alpha1.AtlassianSite) (authn.Site, error) {
	base, err := siteurl.Parse(s.Spec.BaseURL)
	if err != nil {
		return authn.Site{}, err
	}
	upstream, err := siteurl.Parse(s.Spec.UpstreamURL)
	if err != nil {
		return authn.Site{}, err
	}
	limits, err := readLimits(s.Spec.TokenPolicy.Access, s.Spec.AllowedSources)
	if err != nil {
		return authn.Site{}, err
	}
	// A selector that cannot be read selects nothing, and the condition of whoever is shut out by that says so.
	others, _ := terms.OtherNamespaces(s)
	return authn.Site{
		Name: authn.SiteName{Namespace: s.Namespace, Name: s.Name}, Product: string(s.Spec.Product),
		ContextPath: base.Path, TokenPaths: s.Spec.TokenPaths, Origin: upstream.Origin,
		Lifetime: terms.Policy(s), Limits: limits, AllowsNamespace: others, TrustedHops: int(s.Spec.TrustedHops),
	}, nil
}

// readLicense verifies a licence. What is wrong with it is no damage, but what its holder is told.
func readLicense(v *license.Verifier, text string) authn.License {
	l, err := v.Verify(text)
	switch {
	case err == nil:
		return authn.License{Products: l.Products, Expires: l.Expires}
	case errors.Is(err, license.ErrMissing):
		return authn.License{Invalid: authn.ReasonInvalidLicenseMissing}
	case errors.Is(err, license.ErrSignature):
		return authn.License{Invalid: authn.ReasonInvalidLicenseSignature}
	default:
		return authn.License{Invalid: authn.ReasonInvalidLicenseMalformed}
	}
}

// readLimits takes what it does not know for read-only.
func readLimits(access tokensv1alpha1.Access, networks []string) (authn.Limits, error) {
	l := authn.Limits{ReadOnly: access != "" && access != tokensv1alpha1.AccessReadWrite}
	for _, text := range networks {
		network, err := netip.ParsePrefix(text)
		if err != nil {
			return authn.Limits{}, fmt.Errorf("reading `allowedSources`: %w", err)
		}
		l.Sources = append(l.Sources, network)
	}
	return l, nil
}
