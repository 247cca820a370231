package selfservice

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/lifetime"
	"apitokens.dev/operator/internal/pathprefix"
	"apitokens.dev/operator/internal/terms"
)

// parent names the token that the caller sent, as the one with which another one is created. Its namespace is that of the first
// one in the line: if the site closes it, all of them end.
func (c *Caller) parent() tokensv1alpha1.CreatedBy {
	return tokensv1alpha1.CreatedBy{
		UID: string(c.Token.UID), TokenID: c.tokenID, Namespace: cmp.Or(c.Token.Spec.CreatedBy.Namespace, c.Token.Namespace),
	}
}

// maxLine is how many ancestors a token may have.
const maxLine = 32

// narrow limits a new token to the rights and the lifetime of the caller's own token. Limits that the request omits are
// copied from it.
func (s *Service) narrow(t *tokensv1alpha1.APIToken, c *Caller) error {
	if err := c.mustBeCurrent(); err != nil {
		return err
	}
	if len(c.line) > maxLine {
		return problem(Conflict, "This API token is the last one in a line of %d that were created with one another. Sign in to %s and open %s.",
			len(c.line), c.Spec.Product, c.PageURL())
	}
	own := c.Token.Spec
	if c.Spec.TokenPolicy.CreationByTokens == tokensv1alpha1.CreationByTokensForbidden {
		return problem(Forbidden, "An API token of this site may not create others. Sign in to %s and open %s.", c.Spec.Product, c.PageURL())
	}
	if len(t.Spec.AllowedSources) == 0 {
		t.Spec.AllowedSources = slices.Clone(own.AllowedSources)
	}
	if len(t.Spec.AllowedPaths) == 0 {
		t.Spec.AllowedPaths = slices.Clone(own.AllowedPaths)
	}
	switch {
	case own.Access == tokensv1alpha1.AccessReadOnly: // the index refuses its POST already
		return wider("access")
	case len(own.AllowedSources) > 0 && !allWithin(t.Spec.AllowedSources, own.AllowedSources, sourceWithin):
		return wider("allowedSources")
	case len(own.AllowedPaths) > 0 && !allWithin(t.Spec.AllowedPaths, own.AllowedPaths, pathWithin):
		return wider("allowedPaths")
	}
	return s.shorten(t, c)
}

// shorten gives the new token a fixed end if the caller's own token ends: a lifetime in days starts again with each rotation.
func (s *Service) shorten(t *tokensv1alpha1.APIToken, c *Caller) error {
	d, ok := s.Index.Describe(string(c.Token.UID))
	switch {
	case !ok:
		return problem(Unavailable, "This API token is being revoked right now. Try again in a moment.")
	case d.Ends.IsZero():
		return nil
	}
	requested := terms.Requested(t)
	end := lifetime.End(requested, terms.Policy(c.AtlassianSite), s.Clock.Now())
	if end.IsZero() || end.After(d.Ends) && requested == (lifetime.Requested{}) {
		end = d.Ends
	}
	if end.After(d.Ends) {
		field := "expiresAt"
		if requested.Days != 0 {
			field = "lifetimeDays"
		}
		return &Problem{Kind: Forbidden, Field: field, Message: "An API token may not create one that expires later than itself, which is at " +
			d.Ends.UTC().Format(time.RFC3339) + "."}
	}
	t.Spec.LifetimeDays, t.Spec.ExpirationTime = nil, metav1.NewTime(end.Truncate(time.Second))
	return nil
}

func wider(field string) *Problem {
	return &Problem{Kind: Forbidden, Field: field, Message: "An API token may not create one with more rights than itself: " + field + " must lie within its own."}
}

func allWithin(inner, outer []string, within func(inner, outer string) bool) bool {
	return !slices.ContainsFunc(inner, func(i string) bool {
		return !slices.ContainsFunc(outer, func(o string) bool { return within(i, o) })
	})
}

// sourceWithin compares two networks in CIDR form. Malformed ones lie within nothing.
func sourceWithin(inner, outer string) bool {
	i, err := netip.ParsePrefix(inner)
	o, failed := netip.ParsePrefix(outer)
	return err == nil && failed == nil && i.Bits() >= o.Bits() && o.Contains(i.Addr())
}

// pathWithin reports whether everything at or below inner is at or below outer too.
func pathWithin(inner, outer string) bool { return pathprefix.Covers(outer, inner) }
