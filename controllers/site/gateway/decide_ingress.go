package gateway

import (
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/siteurl"
)

const (
	ingressAPI, ingressKind, serviceKind = "networking.k8s.io/v1", "Ingress", "Service"
	nginxPrefix                          = "nginx.ingress.kubernetes.io/"
	haproxyPrefix                        = "haproxy-ingress.github.io/"
	classAnnotation                      = "kubernetes.io/ingress.class"
)

// ingressNginx returns annotations of ingress-nginx 1.15 (internal/ingress/annotations/authreq). Nothing but the question is set:
// limits of bodies and times are the route's own.
func (s Site) ingressNginx(entry tokensv1alpha1.IngressGateway) plan {
	tls := func(route *unstructured.Unstructured) map[string]string { return s.nginxTLS(entry, route) }
	p := s.annotate(entry, map[string]string{
		nginxPrefix + "auth-url": s.authURL(authurl.Nginx),
		// A header that is not listed passes from the client to the product unchanged. Cookie is empty for a token: a token of
		// Alice with a session of Bob would act as Bob.
		nginxPrefix + "auth-response-headers": strings.Join(s.answerHeaders(), ","),
		// The webhook echoes a client's own Authorization: a Kerberos ticket alone has more than the default 4 KiB.
		nginxPrefix + "proxy-buffer-size": "64k",
	}, tls)
	p.gateway = "ingress-nginx"
	p.note = func(route *unstructured.Unstructured) string { return s.nginxNote(entry, route) }
	p.mute = isSecure
	p.lead(s, func(route *unstructured.Unstructured) []*unstructured.Unstructured {
		// An expression for the path is ingress-nginx's only way to change the beginning of a path.
		path := fmt.Sprintf("%s/(%s/.*|%s.*)", regexp.QuoteMeta(s.Base.Path), siteurl.APIPath[1:], siteurl.PortalPath[1:])
		annotations := map[string]string{nginxPrefix + "use-regex": "true", nginxPrefix + "rewrite-target": portalMount(s) + "/$1"}
		if s.portalIsSecure() {
			annotations[nginxPrefix+"backend-protocol"] = "HTTPS"
			maps.Copy(annotations, s.nginxTLSToPortal(entry))
		}
		return []*unstructured.Unstructured{s.portalService(), s.portalIngress(route, "", path, "ImplementationSpecific", annotations)}
	})
	p.unsafe = []unsafe{
		{nginxPrefix + "auth-cache-key", "", "a deleted token would live on in its cache"},
		{nginxPrefix + "auth-keepalive", "", "it drops the challenge of a 401"},
		{nginxPrefix + "auth-signin", "", "it turns every 401 into a redirect"},
		{nginxPrefix + "auth-snippet", "", "it can change the question"},
		{nginxPrefix + "canary", "true", "ingress-nginx ignores the `auth-url` of a canary, so `ingressName` has to name the main Ingress"},
		{nginxPrefix + "satisfy", "any", "a request from an allowed address passes without the webhook"},
		{nginxPrefix + "rewrite-target", "", "the product would get another path than the webhook judges"},
	}
	return p
}

// haproxyIngress returns annotations of haproxy-ingress 0.14 to 0.17. It asks with the client's headers and its own, and sends
// no original URL and method by itself (rootfs/etc/lua/auth-request.lua), so `headers` sets those, in the backend and before the
// question (rootfs/etc/templates/haproxy/haproxy.tmpl). The client's address comes in its X-Real-IP.
func (s Site) haproxyIngress(entry tokensv1alpha1.IngressGateway) plan {
	service, url := s.haproxyTLS(entry)
	p := s.annotate(entry, map[string]string{
		haproxyPrefix + "auth-url":                url,
		haproxyPrefix + "auth-method":             "GET",
		haproxyPrefix + "auth-external-placement": "backend",
		// The script takes these lists for patterns of Lua, in which `-` is no hyphen. The webhook's answers have no headers but
		// those that the product may see.
		haproxyPrefix + "auth-headers-request": "*",
		haproxyPrefix + "auth-headers-succeed": "*",
		haproxyPrefix + "auth-headers-fail":    "*",
		haproxyPrefix + "headers":              "X-Original-URL: " + s.Base.Origin + "%[pathq]\nX-Original-Method: %[method]\n",
	}, nil)
	p.gateway = "haproxy-ingress"
	p.note = func(*unstructured.Unstructured) string { return s.haproxyNote() }
	p.mute = func(*unstructured.Unstructured) bool { return service == nil }
	if service != nil {
		annotated := p.objects
		p.objects = func(route *unstructured.Unstructured) []*unstructured.Unstructured {
			return append([]*unstructured.Unstructured{service}, annotated(route)...)
		}
	}
	p.lead(s, func(route *unstructured.Unstructured) []*unstructured.Unstructured {
		// It replaces the path of an Ingress, so that each path needs its own (rootfs/etc/templates/haproxy/haproxy.tmpl).
		to := func(suffix, below string) *unstructured.Unstructured {
			annotations := map[string]string{haproxyPrefix + "rewrite-target": portalMount(s) + below}
			if s.portalIsSecure() {
				host, _ := hostOf(s.PortalURL)
				maps.Copy(annotations, s.haproxyVerifies(host))
			}
			return s.portalIngress(route, suffix, s.Base.Path+below, "Prefix", annotations)
		}
		return []*unstructured.Unstructured{s.portalService(), to("-rest", siteurl.APIPath), to("-page", siteurl.PortalPath)}
	})
	p.unsafe = []unsafe{
		{haproxyPrefix + "auth-signin", "", "it turns every 401 into a redirect"},
		{haproxyPrefix + "request-set-headers", "", "`headers`, which describes the request to the webhook, is then ignored"},
		{haproxyPrefix + "rewrite-target", "", "the product would get another path than the webhook judges"},
	}
	return p
}

// annotate returns the plan to set annotations of an Ingress, and others that depend on it. Its labels say for which site.
func (s Site) annotate(entry tokensv1alpha1.IngressGateway, annotations map[string]string,
	more func(route *unstructured.Unstructured) map[string]string,
) plan {
	return plan{
		role:  "apitoken-gateway-ingress",
		field: "ingressName",
		route: Ref{APIVersion: ingressAPI, Kind: ingressKind, Namespace: s.Namespace, Name: entry.IngressName},

		certificate: entry.ClientCertificateSecretName,
		objects: func(route *unstructured.Unstructured) []*unstructured.Unstructured {
			o := &unstructured.Unstructured{Object: map[string]any{}}
			o.SetAPIVersion(ingressAPI)
			o.SetKind(ingressKind)
			o.SetNamespace(s.Namespace)
			o.SetName(entry.IngressName)
			o.SetLabels(s.labels())
			all := maps.Clone(annotations)
			if more != nil && route != nil {
				maps.Copy(all, more(route))
			}
			o.SetAnnotations(all)
			return []*unstructured.Unstructured{o}
		},
	}
}

// lead adds the Ingresses to the portal, unless the portal has no name to which a Service can lead.
func (p *plan) lead(s Site, to func(route *unstructured.Unstructured) []*unstructured.Unstructured) {
	if host, _ := hostOf(s.PortalURL); isAddress(host) {
		p.lacking = &Problem{tokensv1alpha1.ReasonGatewayUnsupported, "the question to the webhook is configured, and no Ingress leads to the portal: " +
			"the operator runs with a `--portal-url` that names no host. Name the portal's Service there."}
		return
	}
	p.portal = to
}

func (s Site) portalIsSecure() bool { return strings.HasPrefix(s.PortalURL, "https://") }

// portalService returns a Service that leads to the portal: an Ingress names Services of its own namespace alone.
func (s Site) portalService() *unstructured.Unstructured {
	return s.serviceTo(s.PortalURL, "portal", "apitokens-"+s.Name)
}

// serviceTo returns a Service that leads to the host of a URL.
func (s Site) serviceTo(raw, portName, name string) *unstructured.Unstructured {
	host, port := hostOf(raw)
	// A name of a Service has no dots and at most 63 characters.
	name = strings.ReplaceAll(name, ".", "-")
	return s.object("v1", serviceKind, strings.TrimRight(name[:min(len(name), 63)], "-"), map[string]any{
		"type": "ExternalName", "externalName": host,
		"ports": []any{map[string]any{"name": portName, "port": port, "protocol": "TCP"}},
	})
}

// hostOf returns the host and the port of a URL.
func hostOf(raw string) (string, int64) {
	u, err := url.Parse(raw)
	if err != nil {
		return "", 0
	}
	port := map[string]int64{"http": 80, "https": 443}[u.Scheme]
	if given, err := strconv.ParseInt(u.Port(), 10, 32); err == nil {
		port = given
	}
	return u.Hostname(), port
}

// portalIngress returns an Ingress from a path to the portal, of the same class and with the same certificates as a person's.
// The webhook is not asked: the portal authenticates the caller.
func (s Site) portalIngress(route *unstructured.Unstructured, nameSuffix, path, pathType string, annotations map[string]string) *unstructured.Unstructured {
	service := s.portalService()
	_, port := hostOf(s.PortalURL)
	spec := map[string]any{"rules": []any{map[string]any{
		"host": s.Base.Host,
		"http": map[string]any{"paths": []any{map[string]any{"path": path, "pathType": pathType, "backend": map[string]any{
			"service": map[string]any{"name": service.GetName(), "port": map[string]any{"number": port}}}}}},
	}}}
	copySpec(spec, route, "ingressClassName", "tls")
	o := s.object(ingressAPI, ingressKind, s.Name+suffix+nameSuffix, spec)
	if route != nil {
		if class, found := route.GetAnnotations()[classAnnotation]; found {
			annotations[classAnnotation] = class
		}
	}
	o.SetAnnotations(annotations)
	return o
}
