package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// AtlassianSite is one Jira or Confluence behind an ingress. Its `upstreamURL` receives personal access tokens:
// writing an AtlassianSite is an administrator's right.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=asite,categories=atlassian
// +kubebuilder:printcolumn:name="Product",type=string,JSONPath=`.spec.product`,description="The product behind the ingress"
// +kubebuilder:printcolumn:name="Base URL",type=string,JSONPath=`.spec.baseURL`,description="What users type"
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,description="Whether tokens of the site authenticate"
// +kubebuilder:printcolumn:name="Reachable",type=string,JSONPath=`.status.conditions[?(@.type=="UpstreamReachable")].status`,description="Whether the product answers"
// +kubebuilder:printcolumn:name="Credentials",type=string,JSONPath=`.status.conditions[?(@.type=="UpstreamCredentialsReady")].status`,description="Whether all personal access tokens are in use"
// +kubebuilder:printcolumn:name="Reason",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,description="Why they do or do not"
// +kubebuilder:printcolumn:name="Licensed",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Licensed")].status`,description="Whether the licence is valid, where one is needed"
// +kubebuilder:printcolumn:name="Auth URLs",type=string,priority=1,JSONPath=`.status.authURLSecretName`,description="The Secret with the URLs for the ingress"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",message="`metadata.name` of an AtlassianSite must have at most 63 characters"
type AtlassianSite struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`
	// spec is what the site is.
	// +required
	Spec AtlassianSiteSpec `json:"spec,omitzero"`
	// status is what was last observed of it.
	// +optional
	Status AtlassianSiteStatus `json:"status,omitzero"`
}

// AtlassianSiteList is a list of AtlassianSites.
//
// +kubebuilder:object:root=true
type AtlassianSiteList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []AtlassianSite `json:"items"`
}

// AtlassianSiteSpec is what a site is.
//
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.issuedAfter) || has(self.issuedAfter) && self.issuedAfter >= oldSelf.issuedAfter",message="`issuedAfter` must not go back, or away: what was revoked stays revoked"
// +kubebuilder:validation:XValidation:rule="!has(self.upstreamCARef) || self.upstreamURL.startsWith('https://')",message="`upstreamCARef` must be left out unless `upstreamURL` begins with 'https://'"
type AtlassianSiteSpec struct {
	// product is the product behind the ingress. It may not change.
	// +required
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="`product` must not change: delete this AtlassianSite and create another"
	Product Product `json:"product,omitempty"`

	// baseURL is what users type, with the context path and without a slash at the end: `https://example.com/jira`.
	// No two sites may have the same.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule=`self.matches('^https?://([A-Za-z0-9.-]+|\\[[0-9A-Fa-f:]+\\])(:[1-9][0-9]{0,4})?(/[A-Za-z0-9_~.-]+)*$')`,message="`baseURL` must be a URL such as 'https://example.com/jira': no user, query, fragment or slash at the end"
	// +kubebuilder:validation:XValidation:rule=`!self.matches('/[.]{1,2}(/|$)')`,message="`baseURL` must not contain '.' or '..' as a part of its path"
	BaseURL string `json:"baseURL,omitempty"`

	// upstreamURL is the product's Service, with the product's context path: `http://jira.atlassian.svc:8080/jira`.
	// It must be a Service in the namespace of the site unless the operator was started to allow others.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule=`self.matches('^https?://([A-Za-z0-9.-]+|\\[[0-9A-Fa-f:]+\\])(:[1-9][0-9]{0,4})?(/[A-Za-z0-9_~.-]+)*$')`,message="`upstreamURL` must be a URL such as 'http://jira.atlassian.svc:8080/jira': no user, query, fragment or slash at the end"
	// +kubebuilder:validation:XValidation:rule=`!self.matches('/[.]{1,2}(/|$)')`,message="`upstreamURL` must not contain '.' or '..' as a part of its path"
	UpstreamURL string `json:"upstreamURL,omitempty"`

	// upstreamCARef is where the certificates of the authorities are that the certificate of an https `upstreamURL` must
	// be signed by. No other authority counts then. Absent means those that the operator's image trusts.
	// +optional
	UpstreamCARef UpstreamCAReference `json:"upstreamCARef,omitzero"`

	// tokenPaths are the path prefixes below the context path where tokens count. Absent means `["/rest/"]`.
	// +optional
	// +listType=set
	// +kubebuilder:default={"/rest/"}
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	// +kubebuilder:validation:items:XValidation:rule=`self.matches('^/([A-Za-z0-9_~.-]+/)*$')`,message="each of `tokenPaths` must begin and end with '/', such as '/rest/'"
	// +kubebuilder:validation:items:XValidation:rule=`!self.matches('/[.]{1,2}/')`,message="`tokenPaths` must not contain '.' or '..' as a part of a path"
	TokenPaths []string `json:"tokenPaths,omitempty"`

	// handoff says how the identity reaches the product. Absent means `PersonalAccessToken`.
	// +optional
	// +kubebuilder:default={type: PersonalAccessToken}
	Handoff Handoff `json:"handoff,omitzero"`

	// upstreamCredentials are the personal access tokens that token owners act with at the product.
	// The owner of a token who has none, neither here nor by the portal, is refused with 403.
	// +optional
	// +listType=map
	// +listMapKey=user
	// +kubebuilder:validation:MaxItems=256
	UpstreamCredentials []UpstreamCredential `json:"upstreamCredentials,omitempty"`

	// callerVerification says how the operator knows that the site's own ingress is asking.
	// Absent means `SharedKey`. There is no way to switch it off.
	// +optional
	// +kubebuilder:default={type: SharedKey}
	CallerVerification CallerVerification `json:"callerVerification,omitzero"`

	// allowedNamespaces says which namespaces' APITokens may refer to this site. Absent means its own alone.
	// What is withdrawn here stops authenticating at once.
	// +optional
	// +kubebuilder:default={from: Same}
	AllowedNamespaces AllowedNamespaces `json:"allowedNamespaces,omitzero"`

	// tokenPolicy is what every token of this site has to keep to.
	// +optional
	TokenPolicy TokenPolicy `json:"tokenPolicy,omitzero"`

	// allowedSources are the only networks, as CIDRs, from which tokens of this site may be used. Absent means everywhere.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self) && cidr(self).masked() == cidr(self)",message="each of `allowedSources` must be a network such as '10.0.0.0/8' or '2001:db8::1/128', without bits behind its prefix"
	AllowedSources []string `json:"allowedSources,omitempty"`

	// trustedHops is how many proxies in front of the ingress are trusted to have written the client's address into
	// X-Forwarded-For. Absent means none: the client is who connects to the ingress.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=16
	TrustedHops int32 `json:"trustedHops,omitempty"`

	// issuedAfter is the revocation epoch: every secret that was issued before it is dead, everywhere and at once.
	// Generated tokens are delivered anew by themselves. It may not go back.
	// +optional
	IssuedAfter metav1.Time `json:"issuedAfter,omitzero"`

	// administrators are the product users who may list and revoke everybody's tokens over REST.
	// They are written in lower case (ASCII).
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=255
	// +kubebuilder:validation:items:XValidation:rule=`self.matches('^[^\\p{Lu}\\p{Lt}\\p{C}\\p{Zl}\\p{Zp}:]+$')`,message="each of `administrators` must not contain upper-case letters, ':' or control characters"
	// +kubebuilder:validation:items:XValidation:rule="self.trim() == self",message="each of `administrators` must not begin or end with white space"
	Administrators []string `json:"administrators,omitempty"`

	// licenseSecretRef is where the licence of the site is. It matters only to an operator that was started with keys to
	// verify licences with: there, tokens of a site without a valid licence are managed as usual, and refused with 403.
	// +optional
	LicenseSecretRef LicenseSecretReference `json:"licenseSecretRef,omitzero"`
}

// DefaultLicenseKey is the key of a licence in its Secret.
const DefaultLicenseKey = "license"

// LicenseSecretReference names a key of a Secret.
type LicenseSecretReference struct {
	// name names a Secret in the namespace of the site.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="`licenseSecretRef.name` must be the name of a Secret: lower-case letters, digits, '-' and '.'"
	Name string `json:"name,omitempty"`

	// key is the key of the Secret under which the licence is. Absent means `license`.
	// +optional
	// +kubebuilder:default="license"
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule=`self.matches('^[A-Za-z0-9._-]+$')`,message="`licenseSecretRef.key` must be a key of a Secret: letters, digits, '-', '_' and '.'"
	Key string `json:"key,omitempty"`
}

// AllowedNamespaces says which namespaces' APITokens may refer to a site.
//
// +kubebuilder:validation:XValidation:rule="(self.from == 'Selector') == has(self.selector)",message="`allowedNamespaces.selector` goes with `from: Selector`, and with nothing else"
type AllowedNamespaces struct {
	// from is `Same`: the namespace of the site alone; `All`; or `Selector`: it, and those that `selector` selects.
	// +required
	From NamespacesFrom `json:"from,omitempty"`

	// selector selects namespaces by their labels.
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
}

// NamespacesFrom says how namespaces are chosen.
//
// +kubebuilder:validation:Enum=Same;All;Selector
type NamespacesFrom string

const (
	// NamespacesFromSame means the namespace of the site.
	NamespacesFromSame NamespacesFrom = "Same"
	// NamespacesFromAll means all namespaces.
	NamespacesFromAll NamespacesFrom = "All"
	// NamespacesFromSelector means the namespace of the site, and those that a selector selects.
	NamespacesFromSelector NamespacesFrom = "Selector"
)

// TokenPolicy is what every token of a site has to keep to. Limits hold at once, also for tokens that were issued
// before; what asks for too much is not issued.
//
// +kubebuilder:validation:XValidation:rule="!has(self.defaultLifetimeDays) || !has(self.maxLifetimeDays) || self.defaultLifetimeDays <= self.maxLifetimeDays",message="`tokenPolicy.defaultLifetimeDays` must not be more than `tokenPolicy.maxLifetimeDays`"
type TokenPolicy struct {
	// defaultLifetimeDays is the `lifetimeDays` of tokens that name neither it nor an `expirationTime`.
	// Absent means `maxLifetimeDays`, and if that is absent too, that they do not expire.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3650
	DefaultLifetimeDays *int32 `json:"defaultLifetimeDays,omitempty"`

	// maxLifetimeDays is after how many days of 24 hours every secret ends, whatever its token says.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3650
	MaxLifetimeDays *int32 `json:"maxLifetimeDays,omitempty"`

	// neverExpiring is `Allowed`, or `Forbidden`: a token that would not expire is not issued.
	// +optional
	// +kubebuilder:default=Allowed
	NeverExpiring NeverExpiring `json:"neverExpiring,omitempty"`

	// maxTokensPerUser is how many APITokens one product user may have at this site. Later ones are not issued.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	MaxTokensPerUser *int32 `json:"maxTokensPerUser,omitempty"`

	// access is `ReadWrite`, or `ReadOnly`, which makes every token of the site `ReadOnly`.
	// +optional
	// +kubebuilder:default=ReadWrite
	Access Access `json:"access,omitempty"`

	// creationByTokens is `Allowed`: who brings a token may create another over REST, never wider or longer than it;
	// or `Forbidden`: that takes a session or another credential of the product.
	// +optional
	// +kubebuilder:default=Allowed
	CreationByTokens CreationByTokens `json:"creationByTokens,omitempty"`

	// expiredRetentionDays is after how many days an expired APIToken is removed. Absent means that it stays.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=3650
	ExpiredRetentionDays *int32 `json:"expiredRetentionDays,omitempty"`
}

// NeverExpiring says whether a token may have no end.
//
// +kubebuilder:validation:Enum=Allowed;Forbidden
type NeverExpiring string

const (
	// NeverExpiringAllowed means that a token may have no end.
	NeverExpiringAllowed NeverExpiring = "Allowed"
	// NeverExpiringForbidden means that it may not.
	NeverExpiringForbidden NeverExpiring = "Forbidden"
)

// CreationByTokens says whether a token may create another.
//
// +kubebuilder:validation:Enum=Allowed;Forbidden
type CreationByTokens string

const (
	// CreationByTokensAllowed means that it may.
	CreationByTokensAllowed CreationByTokens = "Allowed"
	// CreationByTokensForbidden means that it may not.
	CreationByTokensForbidden CreationByTokens = "Forbidden"
)

// Product is a product whose users have tokens.
//
// +kubebuilder:validation:Enum=Jira;Confluence
type Product string

const (
	// ProductJira is Jira Software or Jira Service Management Data Center, 8.14 or newer.
	ProductJira Product = "Jira"
	// ProductConfluence is Confluence Data Center, 7.9 or newer.
	ProductConfluence Product = "Confluence"
)

// DefaultUpstreamCAKey is the key that cert-manager and Kubernetes write the certificates of an authority to.
const DefaultUpstreamCAKey = "ca.crt"

// UpstreamCAReference names a key of a Secret.
type UpstreamCAReference struct {
	// name names a Secret in the namespace of the site.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="`upstreamCARef.name` must be the name of a Secret: lower-case letters, digits, '-' and '.'"
	Name string `json:"name,omitempty"`

	// key is the key of the Secret under which the certificates are, in PEM. Absent means `ca.crt`.
	// +optional
	// +kubebuilder:default="ca.crt"
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule=`self.matches('^[A-Za-z0-9._-]+$')`,message="`upstreamCARef.key` must be a key of a Secret: letters, digits, '-', '_' and '.'"
	Key string `json:"key,omitempty"`
}

// HandoffType says how an identity reaches the product.
//
// +kubebuilder:validation:Enum=PersonalAccessToken
type HandoffType string

// HandoffPersonalAccessToken replaces the client's Authorization by the user's personal access token.
const HandoffPersonalAccessToken HandoffType = "PersonalAccessToken"

// Handoff says how the identity reaches the product.
type Handoff struct {
	// type is `PersonalAccessToken`: the client's `Authorization: Basic user:token` becomes
	// `Authorization: Bearer` with the user's personal access token.
	// +required
	Type HandoffType `json:"type,omitempty"`
}

// UpstreamCredential is the personal access token of one product user.
type UpstreamCredential struct {
	// user is the product username whom the personal access token must belong to, in lower case (ASCII).
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule=`self.matches('^[^\\p{Lu}\\p{Lt}\\p{C}\\p{Zl}\\p{Zp}:]+$')`,message="`upstreamCredentials[].user` must not contain upper-case letters, ':' or control characters"
	// +kubebuilder:validation:XValidation:rule="self.trim() == self",message="`upstreamCredentials[].user` must not begin or end with white space"
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('asp_')",message="`upstreamCredentials[].user` must not begin with 'asp_', the beginning of every token"
	User string `json:"user,omitempty"`

	// secretName names a Secret in the namespace of the site whose key `token` is the personal access token.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="`upstreamCredentials[].secretName` must be the name of a Secret: lower-case letters, digits, '-' and '.'"
	SecretName string `json:"secretName,omitempty"`
}

// UpstreamCredentialKey is the key of the personal access token in the Secret of an UpstreamCredential.
const UpstreamCredentialKey = "token"

// CallerVerificationType says how the caller of the authentication webhook proves that it is the site's ingress.
//
// +kubebuilder:validation:Enum=SharedKey
type CallerVerificationType string

// CallerVerificationSharedKey means a key in the path of the auth URL, made by the operator.
const CallerVerificationSharedKey CallerVerificationType = "SharedKey"

// CallerVerification says how the caller proves that it is the site's ingress.
type CallerVerification struct {
	// type is `SharedKey`: the operator makes one key for each kind of gateway and writes the auth URLs that
	// contain them into the Secret `status.authURLSecretName`.
	// +required
	Type CallerVerificationType `json:"type,omitempty"`
}

// AtlassianSiteStatus is what was last observed of a site.
//
// +kubebuilder:validation:MinProperties=1
type AtlassianSiteStatus struct {
	// conditions say whether tokens of the site authenticate, and if not, why and what to do.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// authURLSecretName names the Secret, beside the site, with the exact auth URL for each kind of gateway.
	// The URLs contain the caller keys: whoever reads them can ask for the identity behind a token.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	AuthURLSecretName string `json:"authURLSecretName,omitempty"`
}
