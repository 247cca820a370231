package feed_test

import (
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"testing"
	"time"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/authority"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/projection"
)

// The index follows how a site verifies its callers, and the authorities that the controller projects.
func TestCallersAreFollowed(t *testing.T) {
	f := newFixture(t)
	ours, err := authority.New("ours")
	must(t, err)
	leaf, err := ours.Client(time.Now().Add(time.Hour), "traefik.ingress.svc")
	must(t, err)
	connection := authn.NewCallerCertificate([]*x509.Certificate{leaf.Leaf})
	f.start()
	site, projected := f.Site, f.Projection
	verify := func(v tokensv1alpha1.CallerVerification) func() {
		return func() {
			site.Spec.CallerVerification = v
			must(t, env.Admin.Update(t.Context(), site))
		}
	}
	project := func(pem string) func() {
		return func() {
			projected.Data = f.Project(t, projection.Projection{CallerCAs: pem}).Data
			must(t, f.Operator.Update(t.Context(), projected))
		}
	}
	certificates := func(name string) tokensv1alpha1.CallerVerification {
		return tokensv1alpha1.CallerVerification{
			Type: tokensv1alpha1.CallerVerificationClientCertificate,
			ClientCertificate: tokensv1alpha1.ClientCertificateVerification{
				AuthoritiesRef: tokensv1alpha1.CallerAuthoritiesReference{Name: "gateway-ca"}, Names: []string{name},
			},
		}
	}
	for _, step := range []struct {
		name            string
		change          func()
		withKey, withIt authn.Reason
	}{
		{"a key", func() {}, authn.ReasonAuthenticated, authn.ReasonCallerKeyMismatch},
		{"a certificate, nothing projected", verify(certificates("traefik.ingress.svc")), authn.ReasonCallerAuthoritiesMissing, authn.ReasonCallerAuthoritiesMissing},
		{"projected", project(string(ours.PEM)), authn.ReasonCallerCertificateMissing, authn.ReasonAuthenticated},
		{"garbled", project(string(ours.PEM[1:])), authn.ReasonCallerAuthoritiesMissing, authn.ReasonCallerAuthoritiesMissing},
		{"mended", project(string(ours.PEM)), authn.ReasonCallerCertificateMissing, authn.ReasonAuthenticated},
		{"another name", verify(certificates("caddy.ingress.svc")), authn.ReasonCallerCertificateMissing, authn.ReasonCallerCertificateName},
		{"the name again", verify(certificates("traefik.ingress.svc")), authn.ReasonCallerCertificateMissing, authn.ReasonAuthenticated},
		{"a key again", verify(tokensv1alpha1.CallerVerification{Type: tokensv1alpha1.CallerVerificationSharedKey}),
			authn.ReasonAuthenticated, authn.ReasonCallerKeyMismatch},
	} {
		step.change()
		kubetest.Eventually(t, func() error {
			withKey, withIt := f.asks(f.Keys.Keys[authurl.Nginx][0], nil), f.asks(authurl.NoKey, connection)
			if withKey != step.withKey || withIt != step.withIt {
				return fmt.Errorf("%s: with the key %s, want %s; with the certificate %s, want %s", step.name, withKey, step.withKey, withIt, step.withIt)
			}
			return nil
		})
	}
}

// asks returns the reason of the decision about a caller with a key and a certificate.
func (f *fixture) asks(key string, c *authn.CallerCertificate) authn.Reason {
	return f.index.Decide(&authn.Request{
		Contract: authurl.Nginx, CallerKey: key, Certificate: c, Site: authn.SiteName{Namespace: f.Site.Namespace, Name: "main"},
		Authorization: []string{"Basic " + base64.StdEncoding.EncodeToString([]byte("alice:"+f.token.Text))}, Target: "/jira/rest/api",
	}).Reason
}
