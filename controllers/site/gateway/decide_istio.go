package gateway

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

const istioAPI, authorizationKind = "security.istio.io/v1", "AuthorizationPolicy"

// istio returns an AuthorizationPolicy of Istio 1.31 with the action CUSTOM. The provider, with the caller key, stands in the mesh
// configuration. Beside an HTTPRoute of the product there is one to the portal. Routes of a VirtualService stand in the one of the
// host: Istio merges no two in a known order.
func (s Site) istio(entry tokensv1alpha1.IstioGateway) plan {
	selector := map[string]any{}
	for key, value := range entry.Selector {
		selector[key] = string(value)
	}
	policy := s.object(istioAPI, authorizationKind, s.Name+suffix, map[string]any{
		"selector": map[string]any{"matchLabels": selector},
		"action":   "CUSTOM",
		"provider": map[string]any{"name": entry.ProviderName},
		"rules":    s.asked(),
	})
	p := plan{
		gateway: "Istio", role: "apitoken-gateway-istio",
		presents: "Istio presents the certificate that a DestinationRule for the webhook names.",
		objects: func(*unstructured.Unstructured) []*unstructured.Unstructured {
			return []*unstructured.Unstructured{policy}
		},
	}
	if entry.HTTPRouteName == "" {
		return p
	}
	p.field, p.route = "httpRouteName", Ref{APIVersion: gatewayAPI, Kind: routeKind, Namespace: s.Namespace, Name: entry.HTTPRouteName}
	webhook, _ := serviceAt(s.WebhookURL)
	portal, isService := serviceAt(s.PortalURL)
	if !isService {
		p.problem = &Problem{tokensv1alpha1.ReasonGatewayUnsupported, "an HTTPRoute needs a Service to refer to, and the operator runs with a " +
			"`--portal-url` that names none, as `http://name.namespace.svc:port` does. Remove `httpRouteName`, and route to the portal by hand."}
	}
	p.objects = func(route *unstructured.Unstructured) []*unstructured.Unstructured {
		objects := append([]*unstructured.Unstructured{policy}, s.grants(webhook, portal)...)
		return append(objects, s.object(gatewayAPI, routeKind, entry.HTTPRouteName+suffix, s.portalRoute(portal, route)))
	}
	return p
}

// asked returns the rules that say which requests are asked about.
func (s Site) asked() []any {
	// Istio compares the host with the port that the client sends.
	hosts := values(s.Base.Host, s.Base.Host+":*")
	// Each of them leads to the portal: a route's prefix ends with a segment, too.
	api, page := s.portalPaths()[0]+"/*", s.portalPaths()[1]
	var paths []string
	for _, prefix := range s.TokenPaths {
		paths = append(paths, s.Base.Path+prefix+"*")
	}
	operation := func(fields map[string]any) []any {
		fields["hosts"], fields["notPaths"] = hosts, values(api, page, page+"/*")
		return []any{map[string]any{"operation": fields}}
	}
	if s.Everything {
		return []any{map[string]any{"to": operation(map[string]any{})}}
	}
	// Every token path is asked about, and elsewhere every request with a credential. A path that no rule names is not asked about.
	return []any{
		map[string]any{"to": operation(map[string]any{"paths": values(paths...)})},
		map[string]any{
			"to":   operation(map[string]any{}),
			"when": []any{map[string]any{"key": "request.headers[authorization]", "values": values("*")}},
		},
	}
}
