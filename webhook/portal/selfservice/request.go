package selfservice

import (
	"net/netip"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

// CreateRequest asks for a new token.
type CreateRequest struct {
	Label string
	// At most one of Expires and LifetimeDays is set. Neither means the default of the site.
	Expires      time.Time
	LifetimeDays *int32
	Access       tokensv1alpha1.Access
	// AllowedSources and AllowedPaths limit the token. Nil means no limit. A single address stands for a network.
	AllowedSources, AllowedPaths []string
	// Nonce makes the request idempotent: of two with the same nonce only one succeeds. It may be empty.
	Nonce string
}

// Network returns a network in CIDR form for a network or a single address. Other texts stay as they are, for the check.
func Network(text string) string {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen()).String()
	}
	return text
}

// networks applies Network to each entry. It keeps an empty list, which the check refuses.
func networks(list []string) []string {
	if list == nil {
		return nil
	}
	all := make([]string, len(list))
	for i, text := range list {
		all[i] = Network(text)
	}
	return all
}

// apiToken returns the APIToken that a request asks for. Nothing of it is checked.
func (c *Caller) apiToken(r CreateRequest) *tokensv1alpha1.APIToken {
	t := newAPIToken(c.Site, c.User, r.Label)
	t.Spec.LifetimeDays, t.Spec.Access, t.Spec.AllowedSources, t.Spec.AllowedPaths = r.LifetimeDays, r.Access, networks(r.AllowedSources), r.AllowedPaths
	if !r.Expires.IsZero() {
		t.Spec.ExpirationTime = metav1.NewTime(r.Expires.Truncate(time.Second)) // the API server stores seconds, so they are what is checked
	}
	return t
}

// newAPIToken returns an APIToken of the portal, without a name.
func newAPIToken(s *Site, user, label string) *tokensv1alpha1.APIToken {
	return &tokensv1alpha1.APIToken{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.Namespace, Labels: map[string]string{managedByLabel: managedBy},
		},
		Spec: tokensv1alpha1.APITokenSpec{
			SiteRef: tokensv1alpha1.SiteReference{Name: s.Name}, User: user, Label: label,
			Credential: tokensv1alpha1.Credential{Type: tokensv1alpha1.CredentialPortal},
		},
	}
}
