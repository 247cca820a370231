package selfservice_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/projection"
	"apitokens.dev/operator/webhook/portal/selfservice"
)

const upstreamURL = "https://jira.jira.svc"

func authority(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// projected returns the Secret that the controller writes for a site.
func projected(t *testing.T, version, authorities string) *corev1.Secret {
	t.Helper()
	p := projection.Projection{Namespace: "jira", Site: "main", UpstreamURL: upstreamURL, UpstreamCAs: authorities}
	encoded, err := p.Encode()
	must(t, err)
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "apitoken-system", Name: p.SecretName(), ResourceVersion: version}, Type: projection.SecretType,
		Data: map[string][]byte{projection.DataKey: encoded},
	}
}

// objects has one site and its projection.
type objects struct {
	selfservice.Objects

	site       *tokensv1alpha1.AtlassianSite
	projection *corev1.Secret
}

func (objects) Loaded() bool                                               { return true }
func (o *objects) Site(types.NamespacedName) *tokensv1alpha1.AtlassianSite { return o.site }
func (o *objects) Projection(string, types.NamespacedName) *corev1.Secret  { return o.projection }

// Anonymous requests do not parse certificate authorities. A change of them counts with the next request.
func TestAuthoritiesAreParsedOnce(t *testing.T) {
	site := &tokensv1alpha1.AtlassianSite{ObjectMeta: metav1.ObjectMeta{Namespace: "jira", Name: "main"}}
	site.Spec.BaseURL, site.Spec.UpstreamURL, site.Spec.UpstreamCARef.Name = "https://jira.example.com", upstreamURL, "authorities"
	seen := &objects{site: site, projection: projected(t, "1", strings.Repeat(authority(t), 140))}
	service := &selfservice.Service{Objects: seen, Index: authn.NewIndex(time.Now), Namespace: "apitoken-system"}
	ask := func() error {
		_, err := service.Site(types.NamespacedName{Namespace: "jira", Name: "main"})
		return err
	}
	must(t, ask())
	if n := testing.AllocsPerRun(10, func() { must(t, ask()) }); n > 2000 {
		t.Errorf("a request makes %.0f allocations", n)
	}
	seen.projection = projected(t, "2", "damaged")
	if err := ask(); err == nil || !strings.Contains(err.Error(), "not served") {
		t.Errorf("with damaged authorities: %v", err)
	}
	seen.projection = nil
	if err := ask(); err == nil || !strings.Contains(err.Error(), "not served") {
		t.Errorf("without a projection: %v", err)
	}
	seen.projection = projected(t, "3", authority(t))
	must(t, ask())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
