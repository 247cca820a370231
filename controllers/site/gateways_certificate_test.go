package site_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/gatewaytest"
)

var envoyBackends = schema.GroupVersionKind{Group: "gateway.envoyproxy.io", Version: "v1alpha1", Kind: "Backend"}

// presenting returns an entry with the Secret "gateway-tls".
func presenting(entry tokensv1alpha1.Gateway) tokensv1alpha1.Gateway {
	const name = "gateway-tls"
	switch entry.Type {
	case tokensv1alpha1.GatewayTraefik:
		entry.Traefik.ClientCertificateSecretName = name
	case tokensv1alpha1.GatewayEnvoyGateway:
		entry.EnvoyGateway.ClientCertificateSecretName = name
	case tokensv1alpha1.GatewayIngressNginx:
		entry.IngressNginx.ClientCertificateSecretName = name
	case tokensv1alpha1.GatewayHAProxyIngress:
		entry.HAProxyIngress.ClientCertificateSecretName = name
	}
	return entry
}

// Gateways present the certificate that their entry names, once the site wants certificates and before. An entry without one, and
// one whose Secret is missing, are conditions; the gateway's objects are there all the same.
func TestGatewaysWithClientCertificates(t *testing.T) {
	for name, test := range map[string]struct {
		entry   tokensv1alpha1.Gateway
		object  objectName
		path    []string
		want    any
		prepare func(w *world)
		without string // what the condition says of an entry without a certificate, if that is no problem
	}{
		"Traefik": {middlewareEntry("tokens"), objectName{middlewares, "tokens"}, []string{"spec", "forwardAuth", "tls", "certSecret"}, "gateway-tls", nil, ""},
		"EnvoyGateway": {routeEntry("jira"), objectName{envoyBackends, "jira-apitokens"}, []string{"spec", "tls", "clientCertificateRef", "name"}, "gateway-tls",
			func(w *world) { w.route("jira") }, "Envoy presents the certificate that its EnvoyProxy has"},
		"IngressNginx": {nginxEntry(), objectName{ingresses, "jira-rest"}, []string{"metadata", "annotations", "nginx.ingress.kubernetes.io/proxy-ssl-secret"},
			"NAMESPACE/gateway-tls", func(w *world) { w.ingress(nil) }, ""},
		"HAProxyIngress": {haproxyEntry(), objectName{services, "jira-rest-apitokens"},
			[]string{"metadata", "annotations", "haproxy-ingress.github.io/secure-crt-secret"}, "gateway-tls", func(w *world) { w.ingress(nil) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := gatewayWorld(t, gatewaytest.RightsFiles()...)
			w.reconciler.WebhookURL, w.reconciler.PortalURL = strings.Replace(webhookURL, "http:", "https:", 1), strings.Replace(portalURL, "http:", "https:", 1)
			if test.prepare != nil {
				test.prepare(w)
			}
			want := test.want
			if text, ok := want.(string); ok {
				want = strings.Replace(text, "NAMESPACE", w.ns, 1)
			}
			presents := func() {
				t.Helper()
				if got := valueAt(t, w.object(test.object.kind, w.ns, test.object.name), test.path); !cmp.Equal(got, want) {
					t.Errorf("the gateway presents %v, want %v", got, want)
				}
			}
			w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "gateway-ca"}, Data: map[string][]byte{"ca.crt": w.authority("gateways").PEM}})
			s := w.site("main", gateways(presenting(test.entry)))
			w.reconcile(s)
			w.expectGateways(s, tokensv1alpha1.ReasonGatewayRouteMissing, "there is no Secret 'gateway-tls' in this namespace. Create it, or correct `clientCertificateSecretName`.")
			presents()
			w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "gateway-tls"}})
			w.reconcile(s)
			w.expectGateways(s, tokensv1alpha1.ReasonConfigured)

			w.change(s, func(s *tokensv1alpha1.AtlassianSite) {
				s.Spec.CallerVerification = tokensv1alpha1.CallerVerification{
					Type: tokensv1alpha1.CallerVerificationClientCertificate,
					ClientCertificate: tokensv1alpha1.ClientCertificateVerification{
						AuthoritiesRef: tokensv1alpha1.CallerAuthoritiesReference{Name: "gateway-ca"}, Names: []string{"gateway.ingress.svc"},
					},
				}
			})
			w.reconcile(s)
			w.expectGateways(s, tokensv1alpha1.ReasonConfigured)
			presents()
			w.expectIdle(s)

			w.change(s, gateways(test.entry))
			w.reconcile(s)
			if test.without != "" {
				w.expectGateways(s, tokensv1alpha1.ReasonConfigured, test.without)
			} else {
				w.expectGateways(s, tokensv1alpha1.ReasonGatewayUnsupported, "Set `clientCertificateSecretName` to a Secret of this namespace")
				presents() // what was written before stays
			}
			w.remove(s.DeepCopy())
			if _, err := w.pass(w.reconciler, s); err != nil {
				t.Fatal(err)
			}
			if o := w.object(test.object.kind, w.ns, test.object.name); o != nil && test.object.kind != ingresses {
				t.Errorf("%s %s is left", test.object.kind.Kind, test.object.name)
			}
		})
	}
}
