package feed

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/license"
	"apitokens.dev/operator/internal/siteurl"
	"apitokens.dev/operator/internal/terms"
	"apitokens.dev/operator/internal/username"
)

// ReadToken reads an APIToken for the index. One that it does not understand does not authenticate.
func ReadToken(t *tokensv1alpha1.APIToken) (authn.Token, error) {
	if t.Malformed != "" {
		return authn.Token{}, errors.New(t.Malformed)
	}
	limits, err := readLimits(t.Spec.Access, t.Spec.AllowedSources)
	if err != nil {
		return authn.Token{}, err
	}
	limits.Paths = t.Spec.AllowedPaths
	return authn.Token{
		UID: string(t.UID), Namespace: t.Namespace, Name: t.Name, User: t.Spec.User,
		Site:            authn.SiteName{Namespace: t.SiteNamespace(), Name: t.Spec.SiteRef.Name},
		Lifetime:        terms.Requested(t),
		Imported:        t.Spec.Credential.Type == tokensv1alpha1.CredentialImported,
		Portal:          t.Spec.Credential.Type == tokensv1alpha1.CredentialPortal,
		ParentNamespace: t.Spec.CreatedBy.Namespace,
		Suspended:       t.Spec.State != "" && t.Spec.State != tokensv1alpha1.StateActive,
		Limits:          limits,
	}, nil
}

// ReadSite reads an AtlassianSite for the index.
func ReadSite(s *tokensv1alpha1.AtlassianSite) (authn.Site, error) {
	if s.Malformed != "" {
		return authn.Site{}, errors.New(s.Malformed)
	}
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
	header, err := terms.IdentityHeader(s)
	if err != nil {
		return authn.Site{}, err
	}
	// A selector that cannot be read selects nothing. The conditions of the affected APITokens say so.
	others, _ := terms.OtherNamespaces(s)
	names, keys := terms.BlockedUsers(s)
	callers, err := readCallers(s.Spec.CallerVerification)
	if err != nil {
		return authn.Site{}, err
	}
	return authn.Site{
		Name: authn.SiteName{Namespace: s.Namespace, Name: s.Name}, UID: string(s.UID), Product: string(s.Spec.Product),
		ContextPath: base.Path, TokenPaths: s.Spec.TokenPaths, Origin: upstream.Origin,
		BlockedNames: names, BlockedKeys: keys,
		Lifetime: terms.Policy(s), Limits: limits, AllowsNamespace: others, TrustedHops: int(s.Spec.TrustedHops),
		Bearer: slices.Contains(s.Spec.Schemes, tokensv1alpha1.SchemeBearer), Others: readOthers(s.Spec.OtherCredentials), IdentityHeader: header,
		CallerNames: callers,
	}, nil
}

func readOthers(o tokensv1alpha1.OtherCredentials) authn.OtherCredentials {
	of := authn.OtherCredentials{
		Password: readAction(o.Password.Action), Bearer: readAction(o.Bearer.Action),
		Session: readAction(o.Session.Action), Anonymous: readAction(o.Anonymous.Action),
		ExemptPaths: o.Password.ExemptPaths, ChallengePaths: o.Anonymous.ChallengePaths,
	}
	for _, user := range o.Password.ExemptUsers {
		of.ExemptUsers = append(of.ExemptUsers, username.Fold(user))
	}
	return of
}

// readAction treats an unknown action as a refusal.
func readAction(a tokensv1alpha1.CredentialAction) authn.Action {
	switch a {
	case "", tokensv1alpha1.CredentialForward:
		return authn.ActionForward
	case tokensv1alpha1.CredentialObserve:
		return authn.ActionObserve
	default:
		return authn.ActionRefuse
	}
}

// readCallers returns the names of a site's callers, or none if they send keys. It does not read a verification that it does not
// know as the weaker one.
func readCallers(v tokensv1alpha1.CallerVerification) ([]string, error) {
	switch {
	case v.Type == "" || v.Type == tokensv1alpha1.CallerVerificationSharedKey:
		return nil, nil
	case v.Type == tokensv1alpha1.CallerVerificationClientCertificate && len(v.ClientCertificate.Names) > 0:
		return v.ClientCertificate.Names, nil
	}
	return nil, fmt.Errorf("the `callerVerification` of type %q is not known, or lacks names", v.Type)
}

// readLicense verifies a licence. An invalid one is no damaged object: clients get its reason.
func readLicense(v *license.Verifier, text string) authn.License {
	l, err := v.Verify(text)
	if err != nil {
		return authn.License{Invalid: authn.Reason("Invalid" + license.Reason(err))}
	}
	return authn.License{Products: l.Products, Expires: l.Expires}
}

// readLimits treats an unknown access as read-only.
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
