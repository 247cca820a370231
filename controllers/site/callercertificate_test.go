package site_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/authurl"
)

// certified makes a site want client certificates of the authorities in the Secret "gateway-ca".
func certified(s *tokensv1alpha1.AtlassianSite) {
	s.Spec.CallerVerification = tokensv1alpha1.CallerVerification{
		Type: tokensv1alpha1.CallerVerificationClientCertificate,
		ClientCertificate: tokensv1alpha1.ClientCertificateVerification{
			AuthoritiesRef: tokensv1alpha1.CallerAuthoritiesReference{Name: "gateway-ca"}, Names: []string{"traefik.ingress.svc"},
		},
	}
}

func keyed(s *tokensv1alpha1.AtlassianSite) {
	s.Spec.CallerVerification = tokensv1alpha1.CallerVerification{Type: tokensv1alpha1.CallerVerificationSharedKey}
}

// gatewayCA puts the certificates of authorities into the Secret "gateway-ca".
func (w *world) gatewayCA(data map[string][]byte) {
	w.Helper()
	if s := w.secret(w.ns, "gateway-ca"); s != nil {
		w.setData(s, data)
		return
	}
	w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "gateway-ca"}, Data: data})
}

// The webhook learns the authorities of a site's gateways while the site is served, and a condition says why it does not.
func TestCallerAuthorities(t *testing.T) {
	w := newWorld(t)
	w.reconciler.WebhookURL = strings.Replace(webhookURL, "http://", "https://", 1)
	ours := string(w.authority("ours").PEM)
	s := w.site("main", certified)
	for _, step := range []struct {
		name         string
		change       func()
		reason, says string
		projected    string
	}{
		{"no Secret", func() {}, tokensv1alpha1.ReasonCallerAuthoritiesUnusable,
			"There is no Secret 'gateway-ca', which `authoritiesRef` names. Create it with the key 'ca.crt', and put", ""},
		{"no key", func() { w.gatewayCA(map[string][]byte{"tls.crt": []byte(ours)}) }, tokensv1alpha1.ReasonCallerAuthoritiesUnusable,
			"Secret 'gateway-ca' has no key 'ca.crt', which `authoritiesRef` names. Create the key, and put", ""},
		{"garbled", func() { w.gatewayCA(map[string][]byte{"ca.crt": []byte(canary)}) }, tokensv1alpha1.ReasonCallerAuthoritiesUnusable,
			"does not hold certificates in PEM: there is no certificate in it. Put those of the authorities there", ""},
		{"too many", func() { w.gatewayCA(map[string][]byte{"ca.crt": bytes.Repeat([]byte(ours), 64<<10/len(ours)+1)}) },
			tokensv1alpha1.ReasonCallerAuthoritiesUnusable, "there are more than 64 KiB of them. Put those", ""},
		{"right", func() { w.gatewayCA(map[string][]byte{"ca.crt": []byte(ours)}) }, tokensv1alpha1.ReasonServing,
			"The webhook answers for this site.", ours},
		{"the key of a certificate", func() {
			w.create(w.secretOf(corev1.SecretTypeTLS, "gateway-tls", "tls.key", canary, nil))
			w.change(s, func(s *tokensv1alpha1.AtlassianSite) {
				s.Spec.CallerVerification.ClientCertificate.AuthoritiesRef = tokensv1alpha1.CallerAuthoritiesReference{Name: "gateway-tls", Key: "tls.key"}
			})
		}, tokensv1alpha1.ReasonCallerAuthoritiesUnusable, "has a private key under 'tls.key', which is not read", ""},
		{"mended", func() { w.change(s, certified) }, tokensv1alpha1.ReasonServing, "The webhook answers for this site.", ours},
		{"keys", func() { w.change(s, keyed) }, tokensv1alpha1.ReasonServing, "The webhook answers for this site.", ""},
		{"certificates again", func() { w.change(s, certified) }, tokensv1alpha1.ReasonServing, "The webhook answers for this site.", ours},
		{"not served", func() { w.change(s, upstreamURL("http://jira.elsewhere.svc:8080/jira")) }, tokensv1alpha1.ReasonUpstreamNotAllowed, "This site is not served", ""},
	} {
		step.change()
		w.reconcile(s)
		t.Log(step.name)
		if c := w.expectReady(s, step.reason); !strings.Contains(c.Message, step.says) || strings.Contains(c.Message, canary) {
			t.Errorf("%s: the message is %q, want %q", step.name, c.Message, step.says)
		}
		if diff := cmp.Diff(step.projected, w.projected(s).CallerCAs); diff != "" {
			t.Errorf("%s: projected %s", step.name, diff)
		}
		w.expectIdle(s)
	}
}

// A webhook without TLS receives no certificate, and the site says so. A site with keys needs no TLS.
func TestCertificatesNeedTLS(t *testing.T) {
	w := newWorld(t)
	w.gatewayCA(map[string][]byte{"ca.crt": w.authority("ours").PEM})
	s := w.site("main", certified)
	w.reconcile(s)
	if c := w.expectReady(s, tokensv1alpha1.ReasonWebhookWithoutTLS); !strings.Contains(c.Message, "--tls-cert-file") || !strings.Contains(c.Message, "--webhook-url") {
		t.Errorf("the message is %q", c.Message)
	}
	w.change(s, keyed)
	w.reconcile(s)
	w.expectReady(s, tokensv1alpha1.ReasonServing)
}

// The auth URLs of a site with client certificates have no key, and no key is accepted. Its keys stay for later: an ingress may
// have them still.
func TestAuthURLsWithoutKeys(t *testing.T) {
	w := newWorld(t)
	w.gatewayCA(map[string][]byte{"ca.crt": w.authority("ours").PEM})
	s := w.site("main")
	w.reconcile(s)
	before := w.expectAuthURLs(s)
	w.change(s, certified)
	w.reconcile(s)
	name := s.Namespace + "/" + s.Name
	want := map[string][]byte{"portal": []byte(portalURL + "/portal/" + name), "grpc-site": []byte(name)}
	for _, c := range []authurl.Contract{authurl.Nginx, authurl.Forward, authurl.Envoy, authurl.Fabric} {
		want[string(c)] = []byte(webhookURL + "/" + string(c) + "/-/" + name)
	}
	if diff := cmp.Diff(want, w.authURLs(s).Data); diff != "" {
		t.Errorf("the auth URLs: %s", diff)
	}
	if keys, err := w.storedKeys(s); err != nil || keys.Served || keys.Keys[authurl.Nginx][0] != before {
		t.Errorf("the keys are served: %t, %v", keys.Served, err)
	}
	w.change(s, keyed)
	w.reconcile(s)
	if after := w.expectAuthURLs(s); after != before {
		t.Error("the keys were replaced, so that the ingress has to be given new ones")
	}
	fresh := w.site("fresh", certified)
	w.reconcile(fresh)
	if w.keysSecret(fresh) != nil {
		t.Error("keys were made for a site that accepts none")
	}
}
