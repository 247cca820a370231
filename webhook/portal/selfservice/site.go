package selfservice

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/siteurl"
)

// PagePath is where the page is, and APIPath the REST API, below the context path of the product.
const (
	PagePath = siteurl.PortalPath
	APIPath  = "/rest/api-tokens"
)

// Site is a site that is served.
type Site struct {
	*tokensv1alpha1.AtlassianSite

	// Base is its base URL.
	Base siteurl.URL
	// Unlicensed is why the webhook refuses the site's tokens for want of a licence, or empty.
	Unlicensed authn.Reason
	upstream   atlassian.Upstream
	origin     string
}

// Ref is the name by which the index knows the site.
func (s *Site) Ref() authn.SiteName { return authn.SiteName{Namespace: s.Namespace, Name: s.Name} }

// PageURL is where people manage their tokens.
func (s *Site) PageURL() string { return siteurl.Portal(s.Spec.BaseURL) }

// defaultMaxTokens is how many a user may have where the site sets no limit. Whoever can sign in can also run a loop.
const defaultMaxTokens = 1000

// MaxTokens is how many tokens a user may have before no more are made here.
func (s *Site) MaxTokens() int {
	return int(ptr.Deref(s.Spec.TokenPolicy.MaxTokensPerUser, defaultMaxTokens))
}

// Site returns a site. It is the controller that says where its product is, and that anything may be sent there.
func (p *Service) Site(ctx context.Context, name types.NamespacedName) (*Site, error) {
	var object tokensv1alpha1.AtlassianSite
	err := p.Client.Get(ctx, name, &object)
	if apierrors.IsNotFound(err) || err == nil && !object.DeletionTimestamp.IsZero() {
		return nil, problem(NotFound, "There is no such site.")
	}
	if err != nil {
		return nil, fmt.Errorf("reading the AtlassianSite: %w", err)
	}
	base, err := siteurl.Parse(object.Spec.BaseURL)
	if err != nil {
		return nil, err
	}
	site := &Site{AtlassianSite: &object, Base: base}
	site.Unlicensed = p.Index.Unlicensed(site.Ref())
	return site, p.locate(ctx, site)
}
