package portal

import (
	"context"

	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/siteurl"
)

func (p *Portal) locate(_ context.Context, s *Site) error {
	url, err := siteurl.Parse(s.Spec.UpstreamURL)
	if err != nil {
		return err
	}
	s.origin, s.upstream = url.Origin, atlassian.Upstream{Product: atlassian.Product(s.Spec.Product), URL: s.Spec.UpstreamURL}
	return nil
}
