package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/authn"
)

// facts says with what a reason was decided. It has no secret of the request: of the path, tokens are hidden, and of the query nothing
// is shown.
func facts(o objects, a asked, d authn.Decision, now time.Time) []string {
	path, _, _ := strings.Cut(a.target, "?")
	site, t := o.site.Spec, o.token
	if t == nil {
		t = &tokensv1alpha1.APIToken{}
	}
	switch d.Reason {
	case authn.ReasonWrongUser:
		return []string{fmt.Sprintf("The request has the user %q, and the token belongs to %q.", hide(d.Claimed), t.Spec.User)}
	case authn.ReasonSuspended:
		return []string{"state: " + string(t.Spec.State)}
	case authn.ReasonExpired:
		return ends(t, site, now)
	case authn.ReasonRevokedByEpoch:
		return []string{"issuedAfter of the site: " + site.IssuedAfter.UTC().Format(time.RFC3339), "issued: " + t.Status.IssuedTime.UTC().Format(time.RFC3339)}
	case authn.ReasonUserBlocked:
		return []string{"blockedUsers of the site: " + blocked(site.BlockedUsers)}
	case authn.ReasonNamespaceNotAllowed:
		return []string{"namespace: " + cmp.Or(t.Spec.CreatedBy.Namespace, t.Namespace), "allowedNamespaces of the site: " + string(site.AllowedNamespaces.From)}
	case authn.ReasonPathNotAccepted, authn.ReasonAmbiguousPath, authn.ReasonCredentialPath, authn.ReasonPathCharacterNotAllowed:
		return []string{"path: " + hide(path), "baseURL of the site: " + site.BaseURL, "tokenPaths of the site: " + strings.Join(site.TokenPaths, ", ")}
	case authn.ReasonPathNotAllowed:
		return []string{"path: " + hide(path), "allowedPaths of the token: " + strings.Join(t.Spec.AllowedPaths, ", ")}
	case authn.ReasonReadOnly:
		return []string{
			"method: " + hide(a.method), "access of the token: " + string(t.Spec.Access),
			"access in tokenPolicy of the site: " + string(site.TokenPolicy.Access),
		}
	case authn.ReasonSourceNotAllowed:
		return []string{
			"client: " + cmp.Or(hide(a.client), "not known"), "allowedSources of the token: " + networks(t.Spec.AllowedSources),
			"allowedSources of the site: " + networks(site.AllowedSources),
		}
	case authn.ReasonSchemeNotAccepted:
		return []string{"schemes of the site: " + schemes(site.Schemes)}
	}
	return condition(t, d)
}

// ends says when a token ended, and by what.
func ends(t *tokensv1alpha1.APIToken, site tokensv1alpha1.AtlassianSiteSpec, now time.Time) []string {
	lines := []string{"now: " + now.UTC().Format(time.RFC3339)}
	if !t.Status.ExpirationTime.IsZero() {
		lines = append(lines, "expired: "+t.Status.ExpirationTime.UTC().Format(time.RFC3339))
	}
	for of, days := range map[string]*int32{
		"lifetimeDays of the token": t.Spec.LifetimeDays, "maxLifetimeDays of the site": site.TokenPolicy.MaxLifetimeDays,
		"defaultLifetimeDays of the site": site.TokenPolicy.DefaultLifetimeDays,
	} {
		if days != nil {
			lines = append(lines, fmt.Sprintf("%s: %d", of, *days))
		}
	}
	slices.Sort(lines[1:])
	return lines
}

func blocked(users []tokensv1alpha1.BlockedUser) string {
	names := make([]string, len(users))
	for i, u := range users {
		names[i] = cmp.Or(u.Name, "key "+u.Key)
	}
	return strings.Join(names, ", ")
}

func networks(all []string) string { return cmp.Or(strings.Join(all, ", "), "every network") }

func schemes(all []tokensv1alpha1.Scheme) string {
	names := make([]string, len(all))
	for i, s := range all {
		names[i] = string(s)
	}
	return cmp.Or(strings.Join(names, ", "), "Basic")
}

// condition quotes the condition of the token, if that is about the same. It has the operator's words.
func condition(t *tokensv1alpha1.APIToken, d authn.Decision) []string {
	if d.Verdict == authn.Allow {
		return nil
	}
	for _, c := range t.Status.Conditions {
		if c.Type == tokensv1alpha1.ConditionReady && c.Status != "True" {
			return []string{"condition Ready of the token: " + c.Reason + ": " + c.Message}
		}
	}
	return nil
}
