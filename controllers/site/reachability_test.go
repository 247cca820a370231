package site

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/atlassian"
)

// refTo is the reference to the authorities of a site's product.
func refTo(site tokensv1alpha1.AtlassianSiteSpec) authoritiesRef {
	return upstreamCARef(&tokensv1alpha1.AtlassianSite{Spec: site})
}

func TestReachability(t *testing.T) {
	const network = "10.0.0.1:4711" // what differs each time
	plain := tokensv1alpha1.AtlassianSiteSpec{Product: tokensv1alpha1.ProductConfluence, UpstreamURL: "https://wiki.dev.svc"}
	withCA := plain
	withCA.UpstreamCARef = tokensv1alpha1.UpstreamCAReference{Name: "wiki-ca"}
	withKey := plain
	withKey.UpstreamCARef = tokensv1alpha1.UpstreamCAReference{Name: "wiki-ca", Key: "root.pem"}
	for name, tc := range map[string]struct {
		site         tokensv1alpha1.AtlassianSiteSpec
		err          error
		reason, says string
	}{
		"answers":                     {plain, nil, tokensv1alpha1.ReasonAnswered, "Confluence answers at https://wiki.dev.svc."},
		"nobody":                      {plain, errors.New("broken off"), tokensv1alpha1.ReasonNoAnswer, "Nothing answers at https://wiki.dev.svc."},
		"connection refused":          {plain, atlassian.ErrConnectionRefused, tokensv1alpha1.ReasonNoAnswer, "Nothing listens at https://wiki.dev.svc: the connection was refused."},
		"no such host":                {plain, atlassian.ErrNoSuchHost, tokensv1alpha1.ReasonNoAnswer, "The host in https://wiki.dev.svc does not exist."},
		"no answer in time":           {plain, atlassian.ErrTimeout, tokensv1alpha1.ReasonNoAnswer, "Nothing answered at https://wiki.dev.svc within 10 seconds."},
		"something else":              {plain, atlassian.ErrUnexpected, tokensv1alpha1.ReasonNoAnswer, "is not Confluence. Correct `upstreamURL`: it may lack the context path."},
		"another product":             {plain, &atlassian.OtherProductError{Product: atlassian.Jira}, tokensv1alpha1.ReasonWrongProduct, "is Jira, not Confluence. Correct `upstreamURL`"},
		"no TLS":                      {plain, atlassian.ErrNoTLS, tokensv1alpha1.ReasonNoAnswer, "does not speak TLS"},
		"unknown authority":           {plain, atlassian.ErrUnknownAuthority, tokensv1alpha1.ReasonCertificateRefused, "Name a Secret with that authority's certificate in `upstreamCARef`"},
		"unknown authority, with one": {withCA, atlassian.ErrUnknownAuthority, tokensv1alpha1.ReasonCertificateRefused, "in the key 'ca.crt' of Secret 'wiki-ca'. Put the certificate of the authority that signed it there."},
		"unknown authority, with key": {withKey, atlassian.ErrUnknownAuthority, tokensv1alpha1.ReasonCertificateRefused, "in the key 'root.pem' of Secret 'wiki-ca'"},
		"another host":                {withCA, atlassian.ErrCertificateHost, tokensv1alpha1.ReasonCertificateRefused, "is for another host"},
		"expired":                     {withCA, atlassian.ErrCertificateExpired, tokensv1alpha1.ReasonCertificateRefused, "has expired"},
		"of another defect":           {withCA, atlassian.ErrCertificate, tokensv1alpha1.ReasonCertificateRefused, "cannot be verified"},
		"no Secret":                   {withCA, refTo(withCA).missing(entry{}), tokensv1alpha1.ReasonCAUnusable, "There is no Secret 'wiki-ca'"},
		"no key":                      {withKey, refTo(withKey).missing(entry{secret: true}), tokensv1alpha1.ReasonCAUnusable, "Secret 'wiki-ca' has no key 'root.pem'"},
		"another type":                {withCA, refTo(withCA).missing(entry{secret: true, refused: errors.New("has the type 'x'")}), tokensv1alpha1.ReasonCAUnusable, "Secret 'wiki-ca', which `upstreamCARef` names, has the type 'x'. Until then"},
		"garbled":                     {withCA, refTo(withCA).garbled(errors.New("why")), tokensv1alpha1.ReasonCAUnusable, "does not hold certificates in PEM: why."},
	} {
		err := tc.err
		if err != nil {
			err = fmt.Errorf("probing: %w (%s)", tc.err, network)
		}
		reason, message := reachability(tc.site, err)
		if reason != tc.reason || !strings.Contains(message, tc.says) || strings.Contains(message, network) {
			t.Errorf("%s: %s, %q; want %s, with %q", name, reason, message, tc.reason, tc.says)
		}
	}
	if err := refTo(withCA).missing(entry{secret: true, key: true}); err != nil {
		t.Errorf("nothing is missing: %v", err)
	}
}
