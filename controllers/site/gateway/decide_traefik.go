package gateway

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/authurl"
)

const traefikAPI, middlewareKind, ingressRouteKind, transportKind = "traefik.io/v1alpha1", "Middleware", "IngressRoute", "ServersTransport"

// portalPriority puts the routes to the portal before those of the product. The default is the length of a route's rule.
const portalPriority = int64(1000)

// targetHeader has the request target that a gateway may send to the product.
const targetHeader = "X-Api-Token-Target"

// traefik returns Middlewares of Traefik 3.7: one that asks, one that clears identity headers, and one for the routes to the
// portal. The product's routes refer to them. A route to the portal is made from the product's alone: a router with other TLS
// options beside it would change those of their host.
func (s Site) traefik(entry tokensv1alpha1.TraefikGateway) plan {
	toPortal := entry.MiddlewareName + "-portal"
	p := plan{
		gateway: "Traefik",
		role:    "apitoken-gateway-traefik",

		certificate: entry.ClientCertificateSecretName,
		objects: func(route *unstructured.Unstructured) []*unstructured.Unstructured {
			objects := []*unstructured.Unstructured{
				s.object(traefikAPI, middlewareKind, entry.MiddlewareName+"-clear", map[string]any{"headers": s.clearedHeaders()}),
				s.object(traefikAPI, middlewareKind, entry.MiddlewareName, map[string]any{"forwardAuth": s.forwardAuth(entry)}),
				s.object(traefikAPI, middlewareKind, toPortal, s.toPortal()),
			}
			if entry.IngressRouteName == "" {
				return objects
			}
			if portal, isService := serviceAt(s.PortalURL); isService && portal.tls {
				objects = append(objects, s.object(traefikAPI, transportKind, toPortal, s.portalTransport(portal)))
			}
			return append(objects, s.object(traefikAPI, ingressRouteKind, toPortal, s.portalIngressRoute(toPortal, route)))
		},
	}
	if entry.IngressRouteName == "" {
		return p
	}
	p.field, p.route = "ingressRouteName", Ref{APIVersion: traefikAPI, Kind: ingressRouteKind, Namespace: s.Namespace, Name: entry.IngressRouteName}
	if _, isService := serviceAt(s.PortalURL); !isService {
		p.problem = &Problem{tokensv1alpha1.ReasonGatewayUnsupported, "an IngressRoute needs a Service to refer to, and the operator runs with a " +
			"`--portal-url` that names none, as `http://name.namespace.svc:port` does. Remove `ingressRouteName`, and route to the portal by hand."}
	}
	return p
}

// portalIngressRoute returns the spec of an IngressRoute to the portal, at the entry points of the product's own. The webhook is
// not asked: the portal authenticates the caller.
func (s Site) portalIngressRoute(middleware string, route *unstructured.Unstructured) map[string]any {
	portal, _ := serviceAt(s.PortalURL)
	service := portal.ref()
	if portal.tls {
		service["scheme"], service["serversTransport"] = "https", traefikID(s.Namespace, middleware)
	}
	api, page := s.portalPaths()[0]+"/", s.portalPaths()[1]
	spec := map[string]any{"routes": []any{map[string]any{
		"match":       fmt.Sprintf("Host(`%s`) && (PathPrefix(`%s`) || PathPrefix(`%s`))", s.Base.Host, api, page),
		"kind":        "Rule",
		"priority":    portalPriority,
		"middlewares": []any{map[string]any{"name": middleware}},
		"services":    []any{service},
	}}}
	copySpec(spec, route, "entryPoints", "tls")
	return spec
}

// forwardAuth asks the webhook.
func (s Site) forwardAuth(entry tokensv1alpha1.TraefikGateway) map[string]any {
	ask := map[string]any{
		"address": s.authURL(authurl.Forward),
		// The client's own X-Forwarded-Uri and X-Forwarded-Method must not count.
		"trustForwardHeader": false,
		"authRequestHeaders": values("Authorization", "Cookie", "X-Request-Id"),
		// A header that is not listed passes from the client to the product unchanged.
		// No answer has an Upgrade: so no request that is asked about becomes a WebSocket.
		"authResponseHeaders": values(append(s.answerHeaders(), targetHeader, "Upgrade")...),
		"maxResponseBodySize": int64(4096),
	}
	tls := map[string]any{}
	if s.Bundle {
		// Traefik reads the authorities from the key ca.crt, and verifies with them alone.
		tls["caSecret"] = s.AuthURLSecretName
	}
	if entry.ClientCertificateSecretName != "" {
		tls["certSecret"] = entry.ClientCertificateSecretName
	}
	if s.webhookIsSecure() && len(tls) > 0 {
		ask["tls"] = tls
	}
	return ask
}

// traefikID names an object of Traefik's from every namespace. Without a namespace, Traefik looks in that of the Service
// (pkg/provider/kubernetes/crd, makeServersTransportKey).
func traefikID(namespace, name string) string {
	words := strings.FieldsFunc(namespace+"-"+name, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsNumber(r) })
	return strings.Join(words, "-") + "@kubernetescrd"
}

// portalTransport returns the spec of a ServersTransport with which Traefik verifies the portal.
func (s Site) portalTransport(portal service) map[string]any {
	spec := map[string]any{"serverName": portal.serverName()}
	if s.Bundle {
		spec["rootCAs"] = []any{map[string]any{"secret": s.AuthURLSecretName}}
	}
	return spec
}

// clearedHeaders removes identity headers from requests and answers: they are the webhook's alone, and not for clients. An empty
// value means removal.
func (s Site) clearedHeaders() map[string]any {
	request, response := map[string]any{targetHeader: ""}, map[string]any{"Authorization": ""}
	for _, name := range s.identityHeaders() {
		request[name], response[name] = "", ""
	}
	return map[string]any{"customRequestHeaders": request, "customResponseHeaders": response}
}

// toPortal puts the portal's mount in the place of the context path.
func (s Site) toPortal() map[string]any {
	mount := portalMount(s)
	if s.Base.Path == "" {
		return map[string]any{"addPrefix": map[string]any{"prefix": mount}}
	}
	return map[string]any{"replacePathRegex": map[string]any{"regex": "^" + regexp.QuoteMeta(s.Base.Path) + "(/.*)$", "replacement": mount + "$1"}}
}
