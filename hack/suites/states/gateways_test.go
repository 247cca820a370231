package states_test

import (
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/gatewaytest"
)

func gateways(entries ...tokensv1alpha1.Gateway) siteMod {
	return func(s *tokensv1alpha1.AtlassianSite) { s.Spec.Gateways = entries }
}

func nginxAt(ingress string) tokensv1alpha1.Gateway {
	return tokensv1alpha1.Gateway{Type: tokensv1alpha1.GatewayIngressNginx, IngressNginx: tokensv1alpha1.IngressGateway{IngressName: ingress}}
}

func envoyAt(route string) tokensv1alpha1.Gateway {
	return tokensv1alpha1.Gateway{Type: tokensv1alpha1.GatewayEnvoyGateway, EnvoyGateway: tokensv1alpha1.EnvoyGateway{HTTPRouteName: route}}
}

var (
	traefik = tokensv1alpha1.Gateway{Type: tokensv1alpha1.GatewayTraefik, Traefik: tokensv1alpha1.TraefikGateway{MiddlewareName: "tokens"}}
	istio   = tokensv1alpha1.Gateway{Type: tokensv1alpha1.GatewayIstio, Istio: tokensv1alpha1.IstioGateway{
		ProviderName: "apitokens", Selector: map[string]tokensv1alpha1.LabelValue{"app": "gateway"}}}
)

// ingress creates an Ingress with annotations that an administrator set with kubectl.
func (w *world) ingress(name string, annotations map[string]string) {
	w.Helper()
	backend := networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "jira", Port: networkingv1.ServiceBackendPort{Number: 8080}}}
	w.must(env.Admin.Create(w.Context(), &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.jira, Name: name, Annotations: annotations}, Spec: networkingv1.IngressSpec{DefaultBackend: &backend},
	}, client.FieldOwner("kubectl")))
}

// installed are the kinds of Envoy Gateway and the rights for it and for Ingresses. Traefik and Istio are not there.
func (w *world) installed() {
	w.Helper()
	gatewaytest.Install(w.T, env.Admin, gatewaytest.GatewayAPI, gatewaytest.EnvoyGateway)
	gatewaytest.Allow(w.T, env.Admin, w.api, slices.DeleteFunc(gatewaytest.RightsFiles(), func(file string) bool { return file == "traefik" || file == "istio" })...)
}

func (w *world) route(name string) {
	w.Helper()
	route := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{}}}
	route.SetAPIVersion("gateway.networking.k8s.io/v1")
	route.SetKind("HTTPRoute")
	route.SetNamespace(w.jira)
	route.SetName(name)
	w.must(env.Admin.Create(w.Context(), route))
}

var gatewayExamples = []example{
	{"gateway-rights", 0, func(w *world, name string) { w.site(name, gateways(nginxAt("jira-rest"))) }},
	{"gateways", 0, func(w *world, name string) {
		w.installed()
		w.ingress("jira-rest", nil)
		w.route("jira")
		w.site(name, gateways(nginxAt("jira-rest"), envoyAt("jira")))
	}},
	{"gateways-missing", 0, func(w *world, name string) { w.site(name, gateways(traefik, istio)) }},
	{"gateway-route-missing", 0, func(w *world, name string) { w.site(name, gateways(nginxAt("jira-api"), envoyAt("api"))) }},
	{"gateway-conflict", 0, func(w *world, name string) {
		w.ingress("jira-taken", map[string]string{"nginx.ingress.kubernetes.io/auth-url": "http://oauth2-proxy.example/oauth2/auth"})
		w.site(name, gateways(nginxAt("jira-taken"), nginxAt("jira-rest")))
	}},
	{"gateway-unsafe", 0, func(w *world, name string) {
		w.ingress("jira-cached", map[string]string{"nginx.ingress.kubernetes.io/auth-cache-key": "$http_authorization"})
		w.site(name, gateways(nginxAt("jira-cached")))
	}},
	{"gateway-not-accepted", 0, func(w *world, name string) {
		w.route("jira-guarded")
		s := w.site(name, gateways(envoyAt("jira-guarded")))
		policy := &unstructured.Unstructured{}
		policy.SetAPIVersion("gateway.envoyproxy.io/v1alpha1")
		policy.SetKind("SecurityPolicy")
		w.must(env.Admin.Get(w.Context(), client.ObjectKey{Namespace: w.jira, Name: "jira-guarded-apitokens"}, policy))
		policy.Object["status"] = map[string]any{"ancestors": []any{map[string]any{
			"ancestorRef": map[string]any{"name": "eg"}, "controllerName": "gateway.envoyproxy.io/gatewayclass-controller",
			"conditions": []any{map[string]any{"type": "Accepted", "status": "False", "reason": "Conflicted", "observedGeneration": policy.GetGeneration(),
				"message":            "Unable to target HTTPRoute jira-guarded, another SecurityPolicy has already attached to it.",
				"lastTransitionTime": "2026-11-23T12:00:00Z"}},
		}}}
		w.must(env.Admin.Status().Update(w.Context(), policy))
		w.lookAtSite(s)
	}},
	{"gateway-unsupported", 0, func(w *world, name string) {
		before := w.webhook
		w.webhook = "https://tokens.example.com"
		w.site(name, gateways(envoyAt("jira")))
		w.webhook = before
	}},
}
