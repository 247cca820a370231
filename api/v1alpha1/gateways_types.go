package v1alpha1

// GatewayType says which kind of gateway asks about the requests to a site.
//
// +kubebuilder:validation:Enum=IngressNginx;HAProxyIngress;Traefik;EnvoyGateway;Istio
type GatewayType string

const (
	// GatewayIngressNginx is ingress-nginx. The operator sets annotations of an Ingress, and makes one to the portal.
	GatewayIngressNginx GatewayType = "IngressNginx"
	// GatewayHAProxyIngress is haproxy-ingress. The operator sets annotations of an Ingress, and makes two to the portal.
	GatewayHAProxyIngress GatewayType = "HAProxyIngress"
	// GatewayTraefik is Traefik with its CRDs. The operator makes Middlewares, and an IngressRoute to the portal.
	GatewayTraefik GatewayType = "Traefik"
	// GatewayEnvoyGateway is Envoy Gateway. The operator makes a SecurityPolicy, an HTTPRoute to the portal and a ReferenceGrant.
	GatewayEnvoyGateway GatewayType = "EnvoyGateway"
	// GatewayIstio is Istio. The operator makes an AuthorizationPolicy, and with Gateway API an HTTPRoute to the portal.
	GatewayIstio GatewayType = "Istio"
)

// Gateway is one gateway in front of the product, for which the operator writes what it needs to ask the webhook.
//
// +kubebuilder:validation:XValidation:rule="(self.type == 'IngressNginx') == has(self.ingressNginx)",message="`gateways[].ingressNginx` must be set if `type` is `IngressNginx`, and must not be set otherwise"
// +kubebuilder:validation:XValidation:rule="(self.type == 'HAProxyIngress') == has(self.haproxyIngress)",message="`gateways[].haproxyIngress` must be set if `type` is `HAProxyIngress`, and must not be set otherwise"
// +kubebuilder:validation:XValidation:rule="(self.type == 'Traefik') == has(self.traefik)",message="`gateways[].traefik` must be set if `type` is `Traefik`, and must not be set otherwise"
// +kubebuilder:validation:XValidation:rule="(self.type == 'EnvoyGateway') == has(self.envoyGateway)",message="`gateways[].envoyGateway` must be set if `type` is `EnvoyGateway`, and must not be set otherwise"
// +kubebuilder:validation:XValidation:rule="(self.type == 'Istio') == has(self.istio)",message="`gateways[].istio` must be set if `type` is `Istio`, and must not be set otherwise"
type Gateway struct {
	// type is `IngressNginx`, `HAProxyIngress`, `Traefik`, `EnvoyGateway` or `Istio`. The field of the same name says the rest.
	// +required
	Type GatewayType `json:"type,omitempty"`

	// ingressNginx names the Ingress of ingress-nginx.
	// +optional
	IngressNginx IngressGateway `json:"ingressNginx,omitzero"`

	// haproxyIngress names the Ingress of haproxy-ingress.
	// +optional
	HAProxyIngress IngressGateway `json:"haproxyIngress,omitzero"`

	// traefik names the Middleware that the operator makes for Traefik.
	// +optional
	Traefik TraefikGateway `json:"traefik,omitzero"`

	// envoyGateway names the HTTPRoute of Envoy Gateway.
	// +optional
	EnvoyGateway EnvoyGateway `json:"envoyGateway,omitzero"`

	// istio names the provider and the workloads of Istio.
	// +optional
	Istio IstioGateway `json:"istio,omitzero"`
}

// IngressGateway names an Ingress.
type IngressGateway struct {
	// ingressName is the name of an Ingress in the namespace of the site, for the token paths. The operator sets annotations of
	// it, which contain the caller key. Anyone who can read the Ingress can read the key. For the first Ingress of each type, it
	// makes Ingresses to the portal of the same class, with names that begin with `<site>-apitokens`.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="`ingressName` must be the name of an Ingress: lower-case letters, digits, '-' and '.'"
	IngressName string `json:"ingressName,omitempty"`

	// clientCertificateSecretName is the name of a Secret in the namespace of the site, with the certificate that the gateway presents
	// to the webhook: `tls.crt` and `tls.key`. ingress-nginx also reads there, in `ca.crt`, the authorities of the webhook. It is
	// required if `callerVerification` is `ClientCertificate`. Absent means that the gateway presents none.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="`clientCertificateSecretName` must be the name of a Secret: lower-case letters, digits, '-' and '.'"
	ClientCertificateSecretName string `json:"clientCertificateSecretName,omitempty"`
}

// TraefikGateway names a Middleware.
type TraefikGateway struct {
	// middlewareName is the name of the Middleware that asks the webhook. The operator makes it in the namespace of the site,
	// and beside it two with the suffixes `-clear` (removes identity headers of the client, to be put first in every route of
	// the product) and `-portal` (for the routes to the portal). Anyone who can read the Middleware can read the caller key.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=246
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="`middlewareName` must be a name for a Middleware: lower-case letters, digits, '-' and '.'"
	MiddlewareName string `json:"middlewareName,omitempty"`

	// ingressRouteName is the name of the product's IngressRoute in the namespace of the site. If it is set, the operator makes an
	// IngressRoute to the portal, named as the Middleware for it, with the entry points and TLS options of the product's.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="`ingressRouteName` must be the name of an IngressRoute: lower-case letters, digits, '-' and '.'"
	IngressRouteName string `json:"ingressRouteName,omitempty"`

	// clientCertificateSecretName is the name of a Secret in the namespace of the site, with the certificate that Traefik presents to
	// the webhook: `tls.crt` and `tls.key`. It is required if `callerVerification` is `ClientCertificate`. Absent means that Traefik
	// presents none.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="`clientCertificateSecretName` must be the name of a Secret: lower-case letters, digits, '-' and '.'"
	ClientCertificateSecretName string `json:"clientCertificateSecretName,omitempty"`
}

// EnvoyGateway names an HTTPRoute.
type EnvoyGateway struct {
	// httpRouteName is the name of an HTTPRoute in the namespace of the site, for the token paths. The operator makes a
	// SecurityPolicy for it and an HTTPRoute to the portal beside it, both with the suffix `-apitokens`.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=243
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="`httpRouteName` must be the name of an HTTPRoute: lower-case letters, digits, '-' and '.'"
	HTTPRouteName string `json:"httpRouteName,omitempty"`

	// clientCertificateSecretName is the name of a Secret in the namespace of the site, with the certificate that Envoy presents to the
	// webhook: `tls.crt` and `tls.key`. The operator then makes a Backend, for which Envoy Gateway needs `extensionApis.enableBackend`.
	// Absent means that Envoy presents the certificate of its EnvoyProxy, if that has one.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="`clientCertificateSecretName` must be the name of a Secret: lower-case letters, digits, '-' and '.'"
	ClientCertificateSecretName string `json:"clientCertificateSecretName,omitempty"`
}

// IstioGateway names a provider of the mesh configuration, and the workloads that ask it.
type IstioGateway struct {
	// providerName is the name of the extension provider, in the mesh configuration, that leads to the webhook.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Label().validate(self).hasValue()",message="`providerName` must be the name of an extension provider: lower-case letters, digits and '-'"
	ProviderName string `json:"providerName,omitempty"`

	// selector has the labels of the pods that ask, in the namespace of the site: those of the gateway, or of the product itself.
	// The operator makes the AuthorizationPolicy `<site>-apitokens` for them.
	// +required
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=8
	// +kubebuilder:validation:XValidation:rule="self.all(k, !format.qualifiedName().validate(k).hasValue() && !format.labelValue().validate(self[k]).hasValue())",message="`selector` must have labels of pods"
	Selector map[string]LabelValue `json:"selector,omitempty"`

	// httpRouteName is the name of the product's HTTPRoute in the namespace of the site. If it is set, the operator makes an
	// HTTPRoute to the portal beside it, with the suffix `-apitokens`. Leave it out for a VirtualService.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=243
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="`httpRouteName` must be the name of an HTTPRoute: lower-case letters, digits, '-' and '.'"
	HTTPRouteName string `json:"httpRouteName,omitempty"`
}

// LabelValue is the value of a label.
//
// +kubebuilder:validation:MaxLength=63
type LabelValue string
