package gateway

import (
	"maps"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/authurl"
)

const (
	ingressAPI, ingressKind = "networking.k8s.io/v1", "Ingress"
	nginxPrefix             = "nginx.ingress.kubernetes.io/"
	haproxyPrefix           = "haproxy-ingress.github.io/"
)

// ingressNginx returns annotations of ingress-nginx 1.15 (internal/ingress/annotations/authreq). Nothing but the question is set:
// limits of bodies and times are the route's own.
func (s Site) ingressNginx(entry tokensv1alpha1.IngressGateway) plan {
	p := s.annotate(entry.IngressName, map[string]string{
		nginxPrefix + "auth-url": s.authURL(authurl.Nginx),
		// A header that is not listed passes from the client to the product unchanged. Cookie is empty for a token: a token of
		// Alice with a session of Bob would act as Bob.
		nginxPrefix + "auth-response-headers": strings.Join(s.answerHeaders(), ","),
		// The webhook echoes a client's own Authorization: a Kerberos ticket alone has more than the default 4 KiB.
		nginxPrefix + "proxy-buffer-size": "64k",
	})
	p.gateway = "ingress-nginx"
	p.unsafe = []unsafe{
		{nginxPrefix + "auth-cache-key", "", "a deleted token would live on in its cache"},
		{nginxPrefix + "auth-keepalive", "", "it drops the challenge of a 401"},
		{nginxPrefix + "auth-signin", "", "it turns every 401 into a redirect"},
		{nginxPrefix + "auth-snippet", "", "it can change the question"},
		{nginxPrefix + "satisfy", "any", "a request from an allowed address passes without the webhook"},
		{nginxPrefix + "rewrite-target", "", "the product would get another path than the webhook judges"},
	}
	return p
}

// haproxyIngress returns annotations of haproxy-ingress 0.14 to 0.17. It asks with the client's headers and its own, and sends
// no original URL and method by itself (rootfs/etc/lua/auth-request.lua), so `headers` sets those, in the backend and before the
// question (rootfs/etc/templates/haproxy/haproxy.tmpl). The client's address comes in its X-Real-IP.
func (s Site) haproxyIngress(entry tokensv1alpha1.IngressGateway) plan {
	p := s.annotate(entry.IngressName, map[string]string{
		haproxyPrefix + "auth-url":                s.authURL(authurl.Nginx),
		haproxyPrefix + "auth-method":             "GET",
		haproxyPrefix + "auth-external-placement": "backend",
		// The script takes these lists for patterns of Lua, in which `-` is no hyphen. The webhook's answers have no headers but
		// those that the product may see.
		haproxyPrefix + "auth-headers-request": "*",
		haproxyPrefix + "auth-headers-succeed": "*",
		haproxyPrefix + "auth-headers-fail":    "*",
		haproxyPrefix + "headers":              "X-Original-URL: " + s.Base.Origin + "%[pathq]\nX-Original-Method: %[method]\n",
	})
	p.gateway = "haproxy-ingress"
	p.unsafe = []unsafe{
		{haproxyPrefix + "auth-signin", "", "it turns every 401 into a redirect"},
		{haproxyPrefix + "request-set-headers", "", "`headers`, which describes the request to the webhook, is then ignored"},
		{haproxyPrefix + "rewrite-target", "", "the product would get another path than the webhook judges"},
	}
	return p
}

// annotate returns the plan to set annotations of an Ingress. Its labels say for which site.
func (s Site) annotate(name string, annotations map[string]string) plan {
	return plan{
		role:  "apitoken-gateway-ingress",
		field: "ingressName",
		route: Ref{ingressAPI, ingressKind, s.Namespace, name},
		objects: func(*unstructured.Unstructured) []*unstructured.Unstructured {
			o := &unstructured.Unstructured{Object: map[string]any{}}
			o.SetAPIVersion(ingressAPI)
			o.SetKind(ingressKind)
			o.SetNamespace(s.Namespace)
			o.SetName(name)
			o.SetLabels(s.labels())
			o.SetAnnotations(maps.Clone(annotations))
			return []*unstructured.Unstructured{o}
		},
	}
}
