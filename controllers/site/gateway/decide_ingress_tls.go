package gateway

import (
	"fmt"
	"maps"
	"net"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/authurl"
)

// nginxSecret is the annotation with the Secret for TLS, as ingress-nginx names one.
const nginxSecret, nginxProtocol = nginxPrefix + "proxy-ssl-secret", nginxPrefix + "backend-protocol"

// nginxTLS has ingress-nginx verify the webhook, and present a certificate. It renders the settings of an Ingress for the whole
// server of the host too (rootfs/etc/nginx/template/nginx.tmpl, lines 950 to 966), and the location of the question inherits
// them. The name is that of the URL. The default protocol is TLS 1.2, which the webhook does not speak. A product with TLS would
// be verified in the same way, and would see the certificate.
func (s Site) nginxTLS(entry tokensv1alpha1.IngressGateway, route *unstructured.Unstructured) map[string]string {
	if isSecure(route) || !s.webhookIsSecure() {
		return nil
	}
	return s.nginxVerifies(entry)
}

func (s Site) nginxVerifies(entry tokensv1alpha1.IngressGateway) map[string]string {
	secret := s.nginxAuthorities(entry)
	if secret == "" {
		return nil
	}
	return map[string]string{nginxSecret: secret, nginxPrefix + "proxy-ssl-verify": "on", nginxPrefix + "proxy-ssl-protocols": "TLSv1.3"}
}

// nginxTLSToPortal has ingress-nginx verify the portal. In its configuration the portal has another name. The Secret is the same:
// of several for one host, the server has the first.
func (s Site) nginxTLSToPortal(entry tokensv1alpha1.IngressGateway) map[string]string {
	annotations := s.nginxVerifies(entry)
	if annotations != nil {
		host, _ := hostOf(s.PortalURL)
		maps.Copy(annotations, map[string]string{nginxPrefix + "proxy-ssl-name": host, nginxPrefix + "proxy-ssl-server-name": "on"})
	}
	return annotations
}

// nginxAuthorities returns the Secret in which ingress-nginx finds the authorities of the webhook, empty if there is none.
func (s Site) nginxAuthorities(entry tokensv1alpha1.IngressGateway) string {
	switch {
	case entry.ClientCertificateSecretName != "":
		return s.Namespace + "/" + entry.ClientCertificateSecretName
	case s.Bundle:
		return s.Namespace + "/" + s.AuthURLSecretName
	}
	return ""
}

// nginxNote says why ingress-nginx does not verify the webhook, empty if it does, or if there is no TLS.
func (s Site) nginxNote(entry tokensv1alpha1.IngressGateway, route *unstructured.Unstructured) string {
	secret := s.nginxAuthorities(entry)
	theirs, found := route.GetAnnotations()[nginxSecret]
	var why string
	switch {
	case !s.webhookIsSecure():
		return ""
	case isSecure(route) && found && theirs != secret:
		return fmt.Sprintf("ingress-nginx asks the webhook with the settings for TLS of Ingress '%s'.", route.GetName())
	case isSecure(route):
		why = fmt.Sprintf("Ingress '%s' leads to a product with TLS, and would verify both with the same authorities. To verify both, "+
			"set `%s` to a Secret with the authorities of both in `ca.crt`, `proxy-ssl-verify` to `on` and `proxy-ssl-protocols` to `TLSv1.3`.",
			route.GetName(), nginxSecret)
	case secret == "":
		why = "the operator has no authorities for it."
	default:
		return ""
	}
	return "ingress-nginx asks the webhook over TLS and does not verify it: " + why + unverified
}

// unverified ends a note about a gateway that does not verify the webhook.
const unverified = " Until then only NetworkPolicies keep others from taking the place of the webhook."

// isSecure reports whether an Ingress leads to a product with TLS.
func isSecure(route *unstructured.Unstructured) bool {
	protocol := strings.ToUpper(route.GetAnnotations()[nginxProtocol])
	return protocol == "HTTPS" || protocol == "GRPCS"
}

// haproxyTLS returns a Service to the webhook and the URL at which haproxy-ingress asks through it. An https URL is asked without
// verification, and has no place for a certificate (pkg/converters/ingress/annotations/backend.go, setAuthExternal): annotations
// of a Service have. There is no Service if there is no TLS, or no name to verify.
func (s Site) haproxyTLS(entry tokensv1alpha1.IngressGateway) (*unstructured.Unstructured, string) {
	auth := s.authURL(authurl.Nginx)
	host, port := hostOf(s.WebhookURL)
	if !s.webhookIsSecure() || isAddress(host) {
		return nil, auth
	}
	service := s.serviceTo(s.WebhookURL, "webhook", entry.IngressName+suffix)
	annotations := s.haproxyVerifies(host)
	if entry.ClientCertificateSecretName != "" {
		annotations[haproxyPrefix+"secure-crt-secret"] = entry.ClientCertificateSecretName
	}
	service.SetAnnotations(annotations)
	return service, fmt.Sprintf("svc://%s:%d%s", service.GetName(), port, strings.TrimPrefix(auth, s.WebhookURL))
}

// haproxyVerifies has haproxy-ingress speak TLS with a backend, and verify it if there are authorities.
func (s Site) haproxyVerifies(host string) map[string]string {
	annotations := map[string]string{haproxyPrefix + "secure-backends": "true", haproxyPrefix + "secure-sni": host}
	if s.Bundle {
		annotations[haproxyPrefix+"secure-verify-ca-secret"] = s.AuthURLSecretName
	}
	return annotations
}

// haproxyNote says why haproxy-ingress does not verify the webhook, empty if it does, or if there is no TLS.
func (s Site) haproxyNote() string {
	host, _ := hostOf(s.WebhookURL)
	var why string
	switch {
	case !s.webhookIsSecure():
		return ""
	case isAddress(host):
		why = "the operator runs with a `--webhook-url` that names no host. Name the webhook's Service there."
	case !s.Bundle:
		why = "the operator has no authorities for it."
	default:
		return ""
	}
	return "haproxy-ingress asks the webhook over TLS and does not verify it: " + why + unverified
}

// isAddress reports whether a host has no name to which a Service can lead.
func isAddress(host string) bool { return host == "" || net.ParseIP(host) != nil }
