package selfservice

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/siteurl"
)

// PagePath and APIPath are the paths of the page and the REST API, below the context path of the product.
const (
	PagePath = siteurl.PortalPath
	APIPath  = siteurl.APIPath
)

// Site is a site that the portal serves.
type Site struct {
	*tokensv1alpha1.AtlassianSite

	// Base is the base URL.
	Base siteurl.URL
	// Unlicensed is the reason why the gateway refuses all tokens of the site for lack of a licence. It is empty if the
	// licence is valid or none is needed.
	Unlicensed authn.Reason
	upstream   atlassian.Upstream
	origin     string
}

// Ref is the name of the site in the index.
func (s *Site) Ref() authn.SiteName { return authn.SiteName{Namespace: s.Namespace, Name: s.Name} }

// PageURL is the URL of the page.
func (s *Site) PageURL() string { return siteurl.Portal(s.Spec.BaseURL) }

// defaultMaxTokens is the quota of a user where the site sets none. Everybody who can sign in can run a loop.
const defaultMaxTokens = 1000

// MaxTokens is how many tokens a user may have.
func (s *Site) MaxTokens() int {
	return int(ptr.Deref(s.Spec.TokenPolicy.MaxTokensPerUser, defaultMaxTokens))
}

// as returns the site with another version of its AtlassianSite. The revocation epoch never goes back.
func (s *Site) as(object *tokensv1alpha1.AtlassianSite) *Site {
	now := *s
	now.AtlassianSite = object
	now.raiseEpoch(s.Spec.IssuedAfter.Time)
	return &now
}

// raiseEpoch makes the revocation epoch not earlier than a time.
func (s *Site) raiseEpoch(epoch time.Time) {
	if s.Spec.IssuedAfter.Time.Before(epoch) {
		changed := *s.AtlassianSite
		changed.Spec.IssuedAfter = metav1.NewTime(epoch)
		s.AtlassianSite = &changed
	}
}

// Site returns a site and where its product is. The controller decides that credentials may be sent there.
func (s *Service) Site(name types.NamespacedName) (*Site, error) {
	object := s.Objects.Site(name)
	switch {
	case !s.Objects.Loaded():
		return nil, problem(Unavailable, "Sites cannot be looked up yet, because their data is still loading. Try again in a moment.")
	case object == nil:
		return nil, problem(NotFound, "There is no such site.")
	case object.Malformed != "":
		return nil, notServed(name)
	}
	base, err := siteurl.Parse(object.Spec.BaseURL)
	if err != nil {
		return nil, err
	}
	site := &Site{AtlassianSite: object, Base: base}
	site.Unlicensed = s.Index.Unlicensed(site.Ref())
	return site, s.locate(site)
}
