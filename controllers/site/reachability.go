package site

import (
	"context"
	"errors"
	"fmt"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/atlassian"
)

// probe asks the product whether it answers, and returns it if it does. It does not ask if the authorities cannot be read.
func (r *Reconciler) probe(ctx context.Context, s *tokensv1alpha1.AtlassianSite, cas authorities, o *outcome) *atlassian.Upstream {
	u := atlassian.Upstream{Product: atlassian.Product(s.Spec.Product), URL: s.Spec.UpstreamURL, CAs: cas.pool}
	if o.probe, o.probed = cas.problem, true; o.probe == nil {
		o.probe = r.Product.Probe(ctx, u)
	}
	if o.probe != nil {
		return nil
	}
	return &u
}

// reachability returns the reason and message for the result of a probe. The message leaves out the text of the error, which
// differs each time: a condition must not.
func reachability(site tokensv1alpha1.AtlassianSiteSpec, err error) (reason, message string) {
	var (
		ca    *caError
		other *atlassian.OtherProductError
	)
	switch {
	case err == nil:
		return tokensv1alpha1.ReasonAnswered, fmt.Sprintf("%s answers at %s.", site.Product, site.UpstreamURL)
	case errors.As(err, &ca):
		return tokensv1alpha1.ReasonCAUnusable, ca.message
	case errors.As(err, &other):
		return tokensv1alpha1.ReasonWrongProduct, fmt.Sprintf("The server at %s is %s, not %s. Correct `upstreamURL`, or delete this AtlassianSite "+
			"and create another with the `product` that it is.", site.UpstreamURL, other.Product, site.Product)
	case errors.Is(err, atlassian.ErrUnexpected):
		return tokensv1alpha1.ReasonNoAnswer,
			fmt.Sprintf("The server at %s is not %s. Correct `upstreamURL`: it may lack the context path.", site.UpstreamURL, site.Product)
	case errors.Is(err, atlassian.ErrNoTLS):
		return tokensv1alpha1.ReasonNoAnswer, fmt.Sprintf("The server at %s does not speak TLS. Use the port that does, or http.", site.UpstreamURL)
	}
	if why := refusedCertificate(site, err); why != "" {
		return tokensv1alpha1.ReasonCertificateRefused, fmt.Sprintf("The certificate at %s %s Until then the product is not asked.", site.UpstreamURL, why)
	}
	return tokensv1alpha1.ReasonNoAnswer, noAnswer(site, err)
}

// noAnswer tells apart the ways in which nothing answers.
func noAnswer(site tokensv1alpha1.AtlassianSiteSpec, err error) string {
	switch {
	case errors.Is(err, atlassian.ErrNoSuchHost):
		return fmt.Sprintf("The host in %s does not exist. Create the Service, or correct `upstreamURL`.", site.UpstreamURL)
	case errors.Is(err, atlassian.ErrConnectionRefused):
		return fmt.Sprintf("Nothing listens at %s: the connection was refused. See that %s runs there, or correct the port in `upstreamURL`.",
			site.UpstreamURL, site.Product)
	case errors.Is(err, atlassian.ErrTimeout):
		return fmt.Sprintf("Nothing answered at %s within 10 seconds. See that %s is not overloaded, and that no network policy keeps the operator from it.",
			site.UpstreamURL, site.Product)
	default:
		return fmt.Sprintf("Nothing answers at %s. See that the Service is there, that %s runs, and that the operator may reach it.",
			site.UpstreamURL, site.Product)
	}
}

func refusedCertificate(site tokensv1alpha1.AtlassianSiteSpec, err error) string {
	ref := site.UpstreamCARef
	switch {
	case errors.Is(err, atlassian.ErrUnknownAuthority) && ref.Name != "":
		return fmt.Sprintf("is not signed by an authority with a valid certificate in the key '%s' of Secret '%s'. "+
			"Put the certificate of the authority that signed it there.",
			caKey(ref), ref.Name)
	case errors.Is(err, atlassian.ErrUnknownAuthority):
		return "is not signed by an authority that the operator's image trusts. Name a Secret with that authority's certificate in `upstreamCARef`."
	case errors.Is(err, atlassian.ErrCertificateHost):
		return "is for another host. Use a host in `upstreamURL` that it is for, or have one issued for the host that is there."
	case errors.Is(err, atlassian.ErrCertificateExpired):
		return "has expired, or is not valid yet. Replace it, or correct the clocks."
	case errors.Is(err, atlassian.ErrCertificate):
		return "cannot be verified. Look at it with `openssl s_client`, and replace it."
	default:
		return ""
	}
}
