package selfservice

import (
	"net/netip"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/lifetime"
	"apitokens.dev/operator/internal/pathprefix"
	"apitokens.dev/operator/internal/terms"
)

// narrow makes a new token no wider and no longer than the one that asks for it. What the wish leaves open is as there.
func (p *Service) narrow(t *tokensv1alpha1.APIToken, c *Caller) error {
	by := c.Token
	if c.Spec.TokenPolicy.CreationByTokens == tokensv1alpha1.CreationByTokensForbidden {
		return problem(Forbidden, "An API token of this site may not create others. Sign in to %s and open %s.", c.Spec.Product, c.PageURL())
	}
	if len(t.Spec.AllowedSources) == 0 {
		t.Spec.AllowedSources = slices.Clone(by.Spec.AllowedSources)
	}
	if len(t.Spec.AllowedPaths) == 0 {
		t.Spec.AllowedPaths = slices.Clone(by.Spec.AllowedPaths)
	}
	switch {
	case by.Spec.Access == tokensv1alpha1.AccessReadOnly: // it could not have come here: what creates is no reading
		return wider("access")
	case len(by.Spec.AllowedSources) > 0 && !allWithin(t.Spec.AllowedSources, by.Spec.AllowedSources, sourceWithin):
		return wider("allowedSources")
	case len(by.Spec.AllowedPaths) > 0 && !allWithin(t.Spec.AllowedPaths, by.Spec.AllowedPaths, pathWithin):
		return wider("allowedPaths")
	}
	return p.shorten(t, c)
}

// shorten sets a fixed end if the token that asks has one: a lifetime would begin anew with each rotation.
func (p *Service) shorten(t *tokensv1alpha1.APIToken, c *Caller) error {
	d, ok := p.Index.Describe(string(c.Token.UID))
	switch {
	case !ok:
		return problem(Unavailable, "This API token is just being revoked. Try again in a moment.")
	case d.Ends.IsZero():
		return nil
	}
	wish := terms.Requested(t)
	end := lifetime.End(wish, terms.Policy(c.AtlassianSite), p.Clock.Now())
	if end.IsZero() || end.After(d.Ends) && wish == (lifetime.Requested{}) {
		end = d.Ends
	}
	if end.After(d.Ends) {
		field := "expiresAt"
		if wish.Days != 0 {
			field = "lifetimeDays"
		}
		return &Problem{Kind: Forbidden, Field: field, Message: "An API token may not create one that lives longer than itself: it ends at " +
			d.Ends.UTC().Format(time.RFC3339) + "."}
	}
	t.Spec.LifetimeDays, t.Spec.ExpirationTime = nil, metav1.NewTime(end.Truncate(time.Second))
	return nil
}

func wider(field string) *Problem {
	return &Problem{Kind: Forbidden, Field: field, Message: "An API token may not create one that may more than itself: " + field + " must lie within its own."}
}

func allWithin(inner, outer []string, within func(inner, outer string) bool) bool {
	return !slices.ContainsFunc(inner, func(i string) bool {
		return !slices.ContainsFunc(outer, func(o string) bool { return within(i, o) })
	})
}

// sourceWithin compares networks. What is none is within nothing.
func sourceWithin(inner, outer string) bool {
	i, err := netip.ParsePrefix(inner)
	o, failed := netip.ParsePrefix(outer)
	return err == nil && failed == nil && i.Bits() >= o.Bits() && o.Contains(i.Addr())
}

// pathWithin reports whether everything at or below inner is at or below outer too.
func pathWithin(inner, outer string) bool { return pathprefix.Covers(outer, inner) }
