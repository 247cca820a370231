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
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

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
func projected(t *testing.T, authorities string) *corev1.Secret {
	t.Helper()
	p := projection.Projection{Namespace: "jira", Site: "main", UpstreamURL: upstreamURL, UpstreamCAs: authorities}
	encoded, err := p.Encode()
	must(t, err)
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "apitoken-system", Name: p.SecretName()}, Type: projection.SecretType,
		Data: map[string][]byte{projection.DataKey: encoded},
	}
}

// Requests of strangers do not parse certificate authorities. A change of them counts with the next request.
func TestAuthoritiesAreParsedOnce(t *testing.T) {
	scheme := runtime.NewScheme()
	must(t, tokensv1alpha1.AddToScheme(scheme))
	must(t, corev1.AddToScheme(scheme))
	site := &tokensv1alpha1.AtlassianSite{ObjectMeta: metav1.ObjectMeta{Namespace: "jira", Name: "main"}}
	site.Spec.BaseURL, site.Spec.UpstreamURL, site.Spec.UpstreamCARef.Name = "https://jira.example.com", upstreamURL, "authorities"
	api := fake.NewClientBuilder().WithScheme(scheme).WithObjects(site, projected(t, strings.Repeat(authority(t), 140))).Build()
	service := &selfservice.Service{Client: api, Index: authn.NewIndex(time.Now), Namespace: "apitoken-system"}
	ask := func() error {
		_, err := service.Site(t.Context(), client.ObjectKeyFromObject(site))
		return err
	}
	must(t, ask())
	if n := testing.AllocsPerRun(10, func() { must(t, ask()) }); n > 2000 {
		t.Errorf("a request makes %.0f allocations", n)
	}
	var stored corev1.Secret
	must(t, api.Get(t.Context(), client.ObjectKeyFromObject(projected(t, "")), &stored))
	stored.Data = projected(t, "damaged").Data
	must(t, api.Update(t.Context(), &stored))
	if err := ask(); err == nil || !strings.Contains(err.Error(), "not served") {
		t.Errorf("with damaged authorities: %v", err)
	}
	must(t, api.Delete(t.Context(), &stored))
	if err := ask(); err == nil || !strings.Contains(err.Error(), "not served") {
		t.Errorf("without a projection: %v", err)
	}
	must(t, api.Create(t.Context(), projected(t, authority(t))))
	must(t, ask())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
