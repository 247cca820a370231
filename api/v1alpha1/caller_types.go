package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// CallerVerificationType says how a caller of the authentication webhook proves that it is the site's ingress.
//
// +kubebuilder:validation:Enum=SharedKey;ClientCertificate
type CallerVerificationType string

const (
	// CallerVerificationSharedKey means a key in the path of the auth URL. The operator generates it.
	CallerVerificationSharedKey CallerVerificationType = "SharedKey"
	// CallerVerificationClientCertificate means a client certificate of the ingress.
	CallerVerificationClientCertificate CallerVerificationType = "ClientCertificate"
)

// CallerVerification says how a caller proves that it is the site's ingress.
//
// +kubebuilder:validation:XValidation:rule="(self.type == 'ClientCertificate') == has(self.clientCertificate)",message="`callerVerification.clientCertificate` must be set if `type` is `ClientCertificate`, and must not be set otherwise"
// +kubebuilder:validation:XValidation:rule="!has(self.rotationRequestedTime) || self.type == 'SharedKey'",message="`callerVerification.rotationRequestedTime` must not be set unless `type` is `SharedKey`: a client certificate has no key of the operator to replace"
type CallerVerification struct {
	// type is `SharedKey` or `ClientCertificate`. With `SharedKey`, the operator generates one key for each kind of gateway. It
	// writes the auth URLs, which contain the keys, to the Secret `status.authURLSecretName`. With `ClientCertificate`, the
	// ingress connects with a client certificate as in `clientCertificate`. No key is accepted then, and the auth URLs have none.
	// +required
	Type CallerVerificationType `json:"type,omitempty"`

	// clientCertificate says which client certificates are accepted. It is required if `type` is `ClientCertificate`, and not
	// allowed otherwise.
	// +optional
	ClientCertificate ClientCertificateVerification `json:"clientCertificate,omitzero"`

	// rotationRequestedTime requests new caller keys: a key that was made before this time is replaced. The key before it
	// works for 24 more hours. A time in the future requests the rotation at that time.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self >= timestamp('1000-01-01T00:00:00Z') && self <= timestamp('9999-12-31T23:59:59Z')",message="`rotationRequestedTime` must be a time such as '2026-01-31T12:00:00Z'"
	RotationRequestedTime metav1.Time `json:"rotationRequestedTime,omitzero"`
}

// ClientCertificateVerification says which client certificates of an ingress are accepted. They must be for client
// authentication, valid now, signed by one of the authorities, and have one of the names.
type ClientCertificateVerification struct {
	// authoritiesRef names the Secret with the certificates of the authorities that sign client certificates of the ingress.
	// +required
	AuthoritiesRef CallerAuthoritiesReference `json:"authoritiesRef,omitzero"`

	// names lists the DNS names of which a certificate must have one as a subject alternative name, such as
	// `traefik.ingress.svc`. A wildcard in a certificate matches none of them.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:items:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="each of `callerVerification.clientCertificate.names` must be a DNS name in lower case, such as 'traefik.ingress.svc'"
	Names []string `json:"names,omitempty"`
}

// DefaultCallerAuthoritiesKey is the key under which cert-manager and Kubernetes store the certificates of an authority.
const DefaultCallerAuthoritiesKey = "ca.crt"

// CallerAuthoritiesReference names a key of the Secret with the certificates of authorities.
type CallerAuthoritiesReference struct {
	// name is the name of a Secret in the namespace of the site.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="`authoritiesRef.name` must be the name of a Secret: lower-case letters, digits, '-' and '.'"
	Name string `json:"name,omitempty"`

	// key is the key in that Secret. Its value is one or more certificates in PEM, at most 64 KiB. Absent means `ca.crt`.
	// +optional
	// +kubebuilder:default="ca.crt"
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule=`self.matches('^[A-Za-z0-9._-]+$')`,message="`authoritiesRef.key` must be a key of a Secret: letters, digits, '-', '_' and '.'"
	Key string `json:"key,omitempty"`
}
