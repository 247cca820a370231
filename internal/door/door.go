// Package door asks through the ingress of a site, as a client from outside, whether the webhook is asked, and says what it found.
package door

import (
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/probe"
	"apitokens.dev/operator/internal/siteurl"
	"apitokens.dev/operator/internal/terms"
)

// Site is a site as its ingress is asked about it.
type Site struct {
	// Generation is that of the AtlassianSite. Another one means that the site has changed.
	Generation int64
	Product    tokensv1alpha1.Product
	// BaseURL is the URL that users type, without a slash at the end. ContextPath is its path.
	BaseURL, ContextPath string
	// TokenPaths are the folders below it where tokens count, each with a slash at both ends.
	TokenPaths []string
	// IdentityHeaders name the user to the product. No client may send them.
	IdentityHeaders []string
	// Everything means that the ingress has to ask about every request, whatever its path and credential.
	Everything bool
	// Key makes the credentials of probes. Only the controller and the webhook know it: it is empty for everybody else.
	Key probe.Key
	// AuthURLSecret is the name of the Secret with the auth URLs, for messages.
	AuthURLSecret string
	// ProductAnswers says that the product answers the operator, at `upstreamURL`.
	ProductAnswers bool
}

// SiteOf returns a site as its ingress is asked about it, without a key. What is not in its spec is for the caller to add.
func SiteOf(s *tokensv1alpha1.AtlassianSite) (Site, error) {
	base, err := siteurl.Parse(s.Spec.BaseURL)
	return Site{
		Generation: s.Generation, Product: s.Spec.Product, BaseURL: base.Origin + base.Path, ContextPath: base.Path, TokenPaths: s.Spec.TokenPaths,
		IdentityHeaders: identityHeaders(s), Everything: refusesEverywhere(s.Spec),
	}, err
}

// refusesEverywhere reports whether a request that passes unasked, beside the token paths and without an Authorization, may do what
// the site forbids: name its user in a header, or use a session, nothing, or a password in its parameters.
func refusesEverywhere(site tokensv1alpha1.AtlassianSiteSpec) bool {
	other := site.OtherCredentials
	return site.Handoff.Type == tokensv1alpha1.HandoffIdentityHeader || slices.Contains([]tokensv1alpha1.CredentialAction{
		other.Password.Action, other.Session.Action, other.Anonymous.Action,
	}, tokensv1alpha1.CredentialRefuse)
}

// identityHeaders are the header that hands users over to the product of a site, and that which most products with one believe.
func identityHeaders(s *tokensv1alpha1.AtlassianSite) []string {
	name, err := terms.IdentityHeader(s)
	if err != nil || name == "" || strings.EqualFold(name, tokensv1alpha1.DefaultIdentityHeader) {
		return []string{tokensv1alpha1.DefaultIdentityHeader}
	}
	return []string{tokensv1alpha1.DefaultIdentityHeader, name}
}

// same reports whether the answers about one site say something about the other too.
func (s Site) same(other Site) bool {
	other.ProductAnswers = s.ProductAnswers
	return reflect.DeepEqual(s, other)
}

// Finding says what the ingress of a site does with requests that have no valid token.
type Finding struct{ Reason, Message string }

// Status returns the status of the condition IngressProtected.
func (f Finding) Status() metav1.ConditionStatus {
	switch f.Reason {
	case tokensv1alpha1.ReasonProtected:
		return metav1.ConditionTrue
	case tokensv1alpha1.ReasonBaseURLUnreachable, tokensv1alpha1.ReasonBaseURLRedirects, tokensv1alpha1.ReasonInconclusive:
		return metav1.ConditionUnknown
	default:
		return metav1.ConditionFalse
	}
}
