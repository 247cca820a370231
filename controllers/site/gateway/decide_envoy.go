package gateway

import (
	"net/url"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/authurl"
)

const (
	envoyGroup                        = "gateway.envoyproxy.io"
	envoyAPI, policyKind, backendKind = envoyGroup + "/v1alpha1", "SecurityPolicy", "Backend"
	secretKind                        = "Secret"
	gatewayGroup                      = "gateway.networking.k8s.io"
	gatewayAPI, routeKind, grantKind  = gatewayGroup + "/v1", "HTTPRoute", "ReferenceGrant"
	tlsPolicyKind                     = "BackendTLSPolicy"
	suffix                            = "-apitokens"
	timeout                           = "4s"
	addressHeader                     = "X-Real-IP" // in which the portal is told the client's address
)

// envoyGateway returns objects of Envoy Gateway 1.9 and Gateway API: a policy for the route that the entry names, a route to the
// portal beside it, grants that allow both to refer to the operator's Services, and policies to speak TLS with these.
func (s Site) envoyGateway(entry tokensv1alpha1.EnvoyGateway) plan {
	webhook, isService := serviceAt(s.WebhookURL)
	portal, portalIsService := serviceAt(s.PortalURL)
	webhook.port = s.GRPCPort
	name, presents := entry.HTTPRouteName+suffix, webhook.tls && entry.ClientCertificateSecretName != ""
	p := plan{
		gateway: "Envoy Gateway",
		role:    "apitoken-gateway-envoy-gateway",

		certificate: entry.ClientCertificateSecretName,
		field:       "httpRouteName",
		route:       Ref{APIVersion: gatewayAPI, Kind: routeKind, Namespace: s.Namespace, Name: entry.HTTPRouteName},
		objects: func(route *unstructured.Unstructured) []*unstructured.Unstructured {
			policies, asked := s.tlsPolicies(webhook, portal), webhook.ref()
			if presents {
				asked = map[string]any{"group": envoyGroup, "kind": backendKind, "name": name}
				policies = append(s.tlsPolicies(portal), s.object(envoyAPI, backendKind, name, s.backend(entry, webhook)))
			}
			return append(slices.Concat(s.grants(webhook, portal), policies),
				s.object(envoyAPI, policyKind, name, s.policy(entry.HTTPRouteName, asked)),
				s.object(gatewayAPI, routeKind, name, s.portalRoute(portal, route)))
		},
	}
	if p.certificate == "" {
		p.presents = "Envoy presents the certificate that its EnvoyProxy has in `backendTLS.clientCertificateRef`."
	}
	if s.GRPCPort == 0 {
		p.problem = &Problem{tokensv1alpha1.ReasonGatewayUnsupported, "Envoy Gateway asks over gRPC, and the operator runs with " +
			"`--webhook-grpc-port=0`. Set it to the port of the webhook's Service for gRPC, or remove the entry."}
	}
	if !isService || !portalIsService {
		p.problem = &Problem{tokensv1alpha1.ReasonGatewayUnsupported, "Envoy Gateway needs Services to refer to, and the operator runs with " +
			"`--webhook-url` or `--portal-url` that name none, as `http://name.namespace.svc:port` does. Paste the auth URLs instead."}
	}
	return p
}

// policy returns the spec of a SecurityPolicy. Site and caller key come from the Secret with the auth URLs, so that the key stands
// in no other object.
func (s Site) policy(route string, asked map[string]any) map[string]any {
	extension := func(name, key string) any {
		return map[string]any{"name": name, "type": "ValueRef", "valueRef": map[string]any{
			"group": "", "kind": secretKind, "name": s.AuthURLSecretName, "key": key}}
	}
	extensions := []any{extension(authurl.SiteExtension, authurl.GRPCSiteDataKey)}
	if !s.ClientCertificates { // the Secret has no key then
		extensions = append(extensions, extension(authurl.KeyExtension, authurl.GRPCCallerDataKey))
	}
	return map[string]any{
		"targetRefs": []any{map[string]any{"group": gatewayGroup, "kind": routeKind, "name": route}},
		"extAuth": map[string]any{
			// Never true: a configuration that is not valid would let everything pass.
			"failOpen":          false,
			"timeout":           timeout,
			"contextExtensions": extensions,
			"grpc":              map[string]any{"backendRefs": []any{asked}},
		},
	}
}

// backend returns the spec of a Backend, which asks the webhook with a client certificate. A Service has no place for one.
func (s Site) backend(entry tokensv1alpha1.EnvoyGateway, webhook service) map[string]any {
	tls := map[string]any{
		"sni":                  webhook.serverName(), // the name in the certificate, too
		"clientCertificateRef": map[string]any{"group": "", "kind": secretKind, "name": entry.ClientCertificateSecretName},
	}
	if s.Bundle {
		tls["caCertificateRefs"] = []any{map[string]any{"group": "", "kind": secretKind, "name": s.AuthURLSecretName}}
	} else {
		tls["wellKnownCACertificates"] = "System"
	}
	return map[string]any{
		"endpoints": []any{map[string]any{"fqdn": map[string]any{"hostname": webhook.serverName(), "port": webhook.port}}},
		"tls":       tls,
	}
}

// portalRoute returns the spec of an HTTPRoute to the portal, at the gateways of the product's own route. The webhook is not
// asked: the portal authenticates the caller. It takes X-Real-IP for the client's address, which Envoy would pass on as the client
// sent it, and for which Gateway API has no value.
func (s Site) portalRoute(portal service, route *unstructured.Unstructured) map[string]any {
	var rules []any
	for _, path := range s.portalPaths() {
		rules = append(rules, map[string]any{
			"matches": []any{map[string]any{"path": map[string]any{"type": "PathPrefix", "value": path}}},
			"filters": []any{
				map[string]any{"type": "URLRewrite", "urlRewrite": map[string]any{"path": map[string]any{
					"type": "ReplacePrefixMatch", "replacePrefixMatch": portalMount(s) + strings.TrimPrefix(path, s.Base.Path)}}},
				map[string]any{"type": "RequestHeaderModifier", "requestHeaderModifier": map[string]any{"remove": values(addressHeader)}},
			},
			"backendRefs": []any{portal.ref()},
		})
	}
	spec := map[string]any{"hostnames": values(s.Base.Host), "rules": rules}
	copySpec(spec, route, "parentRefs")
	return spec
}

// grants returns the ReferenceGrants, in the namespaces of Services, for the routes and policies of the site's namespace. All
// entries of a site share them.
func (s Site) grants(services ...service) (grants []*unstructured.Unstructured) {
	to := map[string][]any{}
	var namespaces []string
	for _, target := range services {
		if target.namespace == s.Namespace || target.namespace == "" {
			continue
		}
		if to[target.namespace] == nil {
			namespaces = append(namespaces, target.namespace)
		}
		to[target.namespace] = append(to[target.namespace], map[string]any{"group": "", "kind": "Service", "name": target.name})
	}
	for _, namespace := range namespaces {
		grant := s.object(gatewayAPI, grantKind, "apitokens."+s.Namespace+"."+s.Name, map[string]any{
			"from": []any{
				map[string]any{"group": envoyGroup, "kind": policyKind, "namespace": s.Namespace},
				map[string]any{"group": gatewayGroup, "kind": routeKind, "namespace": s.Namespace},
			},
			"to": to[namespace],
		})
		grant.SetNamespace(namespace)
		grants = append(grants, grant)
	}
	return grants
}

// tlsPolicies returns BackendTLSPolicies for Services with https URLs. All sites share the one of a Service: of several for one
// Service the oldest alone is accepted.
func (s Site) tlsPolicies(services ...service) (policies []*unstructured.Unstructured) {
	for _, target := range services {
		if !target.tls {
			continue
		}
		validation := map[string]any{"hostname": target.serverName()}
		if s.Bundle {
			validation["caCertificateRefs"] = []any{map[string]any{"group": "", "kind": secretKind, "name": s.TLSSecretName}}
		} else {
			validation["wellKnownCACertificates"] = "System"
		}
		p := s.sharedObject(gatewayAPI, tlsPolicyKind, "apitokens."+target.name, map[string]any{
			"targetRefs": []any{map[string]any{"group": "", "kind": "Service", "name": target.name}},
			"validation": validation,
		})
		p.SetNamespace(target.namespace)
		policies = append(policies, p)
	}
	return policies
}

// service is a port of a Service.
type service struct {
	name, namespace string
	port            int64
	tls             bool
}

// serverName is the name in its certificate.
func (s service) serverName() string { return s.name + "." + s.namespace + ".svc" }

func (s service) ref() map[string]any {
	return map[string]any{"name": s.name, "namespace": s.namespace, "port": s.port}
}

// serviceAt returns the Service that a URL names as http(s)://name.namespace.svc:port, with or without cluster.local.
func serviceAt(raw string) (service, bool) {
	u, err := url.Parse(raw)
	if err != nil {
		return service{}, false
	}
	parts := strings.Split(strings.TrimSuffix(u.Hostname(), ".cluster.local"), ".")
	if len(parts) != 3 || parts[2] != "svc" {
		return service{}, false
	}
	port := map[string]int64{"http": 80, "https": 443}[u.Scheme]
	if given, err := strconv.ParseInt(u.Port(), 10, 32); err == nil {
		port = given
	}
	return service{parts[0], parts[1], port, u.Scheme == "https"}, port != 0
}

// portalMount is the path, at the portal, of the site.
func portalMount(s Site) string { return "/portal/" + s.Namespace + "/" + s.Name }
