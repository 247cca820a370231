package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// AtlassianSite is one Jira or Confluence behind an ingress. Personal access tokens are sent to its `upstreamURL`, so
// only administrators should have the right to write AtlassianSites.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=asite,categories=atlassian
// +kubebuilder:metadata:annotations="apitokens.dev/revision=1"
// +kubebuilder:printcolumn:name="Product",type=string,JSONPath=`.spec.product`,description="The product behind the ingress"
// +kubebuilder:printcolumn:name="Base URL",type=string,JSONPath=`.spec.baseURL`,description="The URL that users open"
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,description="Whether tokens of the site authenticate"
// +kubebuilder:printcolumn:name="Reachable",type=string,JSONPath=`.status.conditions[?(@.type=="UpstreamReachable")].status`,description="Whether the product answers"
// +kubebuilder:printcolumn:name="Credentials",type=string,JSONPath=`.status.conditions[?(@.type=="UpstreamCredentialsReady")].status`,description="Whether all personal access tokens can be used"
// +kubebuilder:printcolumn:name="Reason",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,description="Why the site is ready or not"
// +kubebuilder:printcolumn:name="Licensed",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Licensed")].status`,description="Whether the licence is valid, if one is required"
// +kubebuilder:printcolumn:name="Auth URLs",type=string,priority=1,JSONPath=`.status.authURLSecretName`,description="The Secret with the auth URLs for the ingress"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",message="`metadata.name` of an AtlassianSite must have at most 63 characters"
type AtlassianSite struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`
	// spec is the desired state of the site.
	// +required
	Spec AtlassianSiteSpec `json:"spec,omitzero"`
	// status is the observed state of the site.
	// +optional
	// +kubebuilder:default={"observedGeneration":-1}
	Status AtlassianSiteStatus `json:"status,omitzero"`

	// Malformed says why the spec could not be decoded. It is empty unless an object got past the schema, and is no part
	// of the API. The tokens of a malformed AtlassianSite do not authenticate.
	Malformed string `json:"-"`
}

// AtlassianSiteList is a list of AtlassianSites.
//
// +kubebuilder:object:root=true
type AtlassianSiteList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []AtlassianSite `json:"items"`
}

// AtlassianSiteSpec is the desired state of a site.
//
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.issuedAfter) || has(self.issuedAfter) && self.issuedAfter >= oldSelf.issuedAfter",message="`issuedAfter` must not be decreased or removed: revoked tokens stay revoked"
// +kubebuilder:validation:XValidation:rule="!has(self.upstreamCARef) || self.upstreamURL.startsWith('https://')",message="`upstreamCARef` must not be set unless `upstreamURL` begins with 'https://'"
type AtlassianSiteSpec struct {
	// product is the product behind the ingress: `Jira` or `Confluence`. It is immutable.
	// +required
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="`product` must not change: delete this AtlassianSite and create another"
	Product Product `json:"product,omitempty"`

	// baseURL is the URL that users open, with the context path and without a trailing slash, such as
	// `https://example.com/jira`. If two sites have the same baseURL, only the older one is ready.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule=`self.matches('^https?://([A-Za-z0-9.-]+|\\[[0-9A-Fa-f:]+\\])(:[1-9][0-9]{0,4})?(/[A-Za-z0-9_~.-]+)*$')`,message="`baseURL` must be a URL such as 'https://example.com/jira': no user, query, fragment or trailing slash"
	// +kubebuilder:validation:XValidation:rule=`!self.matches('/[.]{1,2}(/|$)')`,message="`baseURL` must not contain '.' or '..' as a path segment"
	BaseURL string `json:"baseURL,omitempty"`

	// upstreamURL is the URL of the product's Service, with the context path, such as `http://jira.atlassian.svc:8080/jira`.
	// The Service must be in the namespace of the site, unless a flag of the operator allows other hosts.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule=`self.matches('^https?://([A-Za-z0-9.-]+|\\[[0-9A-Fa-f:]+\\])(:[1-9][0-9]{0,4})?(/[A-Za-z0-9_~.-]+)*$')`,message="`upstreamURL` must be a URL such as 'http://jira.atlassian.svc:8080/jira': no user, query, fragment or trailing slash"
	// +kubebuilder:validation:XValidation:rule=`!self.matches('/[.]{1,2}(/|$)')`,message="`upstreamURL` must not contain '.' or '..' as a path segment"
	UpstreamURL string `json:"upstreamURL,omitempty"`

	// upstreamCARef names the Secret with the certificates of the authorities that are trusted for an https `upstreamURL`.
	// Other authorities are then not trusted. Absent means the authorities of the operator's image.
	// +optional
	UpstreamCARef UpstreamCAReference `json:"upstreamCARef,omitzero"`

	// tokenPaths lists the path prefixes, relative to the context path, at which tokens are accepted.
	// Absent means `["/rest/"]`.
	// +optional
	// +listType=set
	// +kubebuilder:default={"/rest/"}
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	// +kubebuilder:validation:items:XValidation:rule=`self.matches('^/([A-Za-z0-9_~.-]+/)*$')`,message="each of `tokenPaths` must begin and end with '/', such as '/rest/'"
	// +kubebuilder:validation:items:XValidation:rule=`!self.matches('/[.]{1,2}/')`,message="`tokenPaths` must not contain '.' or '..' as a path segment"
	TokenPaths []string `json:"tokenPaths,omitempty"`

	// schemes lists how clients may send a token in `Authorization`: `Basic` (user and token, always in the list) and `Bearer`
	// (the token alone, which names its user). Imported tokens need `Basic`. Absent means `["Basic"]`.
	// +optional
	// +listType=set
	// +kubebuilder:default={"Basic"}
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=2
	// +kubebuilder:validation:XValidation:rule="'Basic' in self",message="`schemes` must contain 'Basic'"
	Schemes []Scheme `json:"schemes,omitempty"`

	// otherCredentials says what happens to requests without an API token: passwords, other credentials of the product,
	// sessions, and anonymous requests. Absent means that they are all left to the product.
	// +optional
	OtherCredentials OtherCredentials `json:"otherCredentials,omitzero"`

	// handoff says how the user's identity is passed to the product. Absent means `PersonalAccessToken`.
	// +optional
	// +kubebuilder:default={type: PersonalAccessToken}
	Handoff Handoff `json:"handoff,omitzero"`

	// upstreamCredentials lists personal access tokens by user. A request of a token owner is sent to the product with
	// their personal access token. An owner who has none, here or through the portal, is refused with 403.
	// +optional
	// +listType=map
	// +listMapKey=user
	// +kubebuilder:validation:MaxItems=256
	UpstreamCredentials []UpstreamCredential `json:"upstreamCredentials,omitempty"`

	// callerVerification says how the operator verifies that a question comes from the site's own ingress.
	// Absent means `SharedKey`. It cannot be switched off.
	// +optional
	// +kubebuilder:default={type: SharedKey}
	CallerVerification CallerVerification `json:"callerVerification,omitzero"`

	// allowedNamespaces selects the namespaces whose APITokens may refer to this site. Absent means the namespace of the
	// site only. Tokens in a namespace that is no longer selected stop authenticating at once.
	// +optional
	// +kubebuilder:default={from: Same}
	AllowedNamespaces AllowedNamespaces `json:"allowedNamespaces,omitzero"`

	// tokenPolicy limits every token of this site.
	// +optional
	TokenPolicy TokenPolicy `json:"tokenPolicy,omitzero"`

	// allowedSources lists the networks, as CIDRs, from which tokens of this site may be used. Absent means every network.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self) && cidr(self).masked() == cidr(self)",message="each of `allowedSources` must be a network such as '10.0.0.0/8' or '2001:db8::1/128', with no bit set after its prefix"
	AllowedSources []string `json:"allowedSources,omitempty"`

	// trustedHops is the number of proxies in front of the ingress that are trusted to add the client's address to
	// `X-Forwarded-For`. Absent means none: the client's address is the address that connects to the ingress.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=16
	TrustedHops int32 `json:"trustedHops,omitempty"`

	// issuedAfter revokes every secret that was issued before this time, at once. The operator delivers new secrets for
	// generated tokens. It must not be decreased or removed.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self >= timestamp('1000-01-01T00:00:00Z') && self <= timestamp('9999-12-31T23:59:59Z')",message="`issuedAfter` must be a time such as '2026-01-31T12:00:00Z'"
	IssuedAfter metav1.Time `json:"issuedAfter,omitzero"`

	// blockedUsers lists product users whose tokens are refused at once, with 401. No token is made, rotated or enrolled for
	// them, and their personal access tokens are withdrawn.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	BlockedUsers []BlockedUser `json:"blockedUsers,omitempty"`

	// administrators lists the product users who may list and revoke the tokens of all users over REST.
	// Names are in lower case.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=255
	// +kubebuilder:validation:items:XValidation:rule=`self.matches('^[^\\p{Lu}\\p{Lt}\\p{C}\\p{Zl}\\p{Zp}:]+$')`,message="each of `administrators` must not contain upper-case letters, ':' or control characters"
	// +kubebuilder:validation:items:XValidation:rule="self.trim() == self",message="each of `administrators` must not begin or end with white space"
	Administrators []string `json:"administrators,omitempty"`

	// gateways lists the gateways in front of the product for which the operator writes what they need to ask the webhook:
	// objects in the namespace of the site, and for some gateways a ReferenceGrant and BackendTLSPolicies in that of the operator.
	// They are removed with their entry, and with the site. Each kind of gateway needs rights that an administrator adds. Absent
	// means none: the auth URLs are in the Secret `status.authURLSecretName`.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:XValidation:rule="self.all(a, self.exists_one(b, b == a))",message="`gateways` must not have two equal entries"
	// +kubebuilder:validation:XValidation:rule="self.filter(g, g.type == 'Istio').size() <= 1",message="`gateways` must not have two entries of type `Istio`"
	Gateways []Gateway `json:"gateways,omitempty"`

	// licenseSecretRef names the Secret with the licence of the site. It is used only if the operator was started with
	// keys to verify licences. Then tokens of a site without a valid licence can be managed, but are refused with 403.
	// +optional
	LicenseSecretRef LicenseSecretReference `json:"licenseSecretRef,omitzero"`
}

// BlockedUser names one product user.
//
// +structType=atomic
// +kubebuilder:validation:ExactlyOneOf=name;key
type BlockedUser struct {
	// name is the username in the product. The letters A to Z are read as a to z. It blocks tokens whose `user` has this name.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule=`self.matches('^([A-Z]|[^\\p{Lu}\\p{Lt}\\p{C}\\p{Zl}\\p{Zp}:])+$')`,message="`blockedUsers[].name` must not contain ':', control characters, or upper-case letters other than A to Z"
	// +kubebuilder:validation:XValidation:rule="self.trim() == self",message="`blockedUsers[].name` must not begin or end with white space"
	Name string `json:"name,omitempty"`

	// key is the user key in the product, such as `JIRAUSER10100`. It stays when the user is renamed.
	// It blocks tokens that are known to belong to this key, and those whose user acts with it.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule=`self.matches('^[^\\p{C}\\p{Zl}\\p{Zp}]+$')`,message="`blockedUsers[].key` must not contain control characters"
	// +kubebuilder:validation:XValidation:rule="self.trim() == self",message="`blockedUsers[].key` must not begin or end with white space"
	Key string `json:"key,omitempty"`
}

// DefaultLicenseKey is the key of a licence in its Secret.
const DefaultLicenseKey = "license"

// LicenseSecretReference names a key of the Secret with the licence of a site.
type LicenseSecretReference struct {
	// name is the name of a Secret in the namespace of the site.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="`licenseSecretRef.name` must be the name of a Secret: lower-case letters, digits, '-' and '.'"
	Name string `json:"name,omitempty"`

	// key is the key in that Secret. Absent means `license`.
	// +optional
	// +kubebuilder:default="license"
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule=`self.matches('^[A-Za-z0-9._-]+$')`,message="`licenseSecretRef.key` must be a key of a Secret: letters, digits, '-', '_' and '.'"
	Key string `json:"key,omitempty"`
}

// AllowedNamespaces selects the namespaces whose APITokens may refer to a site.
//
// +kubebuilder:validation:XValidation:rule="(self.from == 'Selector') == has(self.selector)",message="`allowedNamespaces.selector` must be set if `from` is `Selector`, and must not be set otherwise"
type AllowedNamespaces struct {
	// from is `Same` (the namespace of the site), `All` (every namespace), or `Selector` (the namespace of the site and
	// those that match `selector`).
	// +required
	From NamespacesFrom `json:"from,omitempty"`

	// selector selects namespaces by their labels. It is required if `from` is `Selector`, and not allowed otherwise.
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
}

// NamespacesFrom says how namespaces are selected.
//
// +kubebuilder:validation:Enum=Same;All;Selector
type NamespacesFrom string

const (
	// NamespacesFromSame selects the namespace of the site.
	NamespacesFromSame NamespacesFrom = "Same"
	// NamespacesFromAll selects every namespace.
	NamespacesFromAll NamespacesFrom = "All"
	// NamespacesFromSelector selects the namespace of the site and those that match a selector.
	NamespacesFromSelector NamespacesFrom = "Selector"
)

// TokenPolicy limits every token of a site. A new limit applies at once, also to tokens that are already issued.
// A token that asks for more than the policy allows is not issued.
//
// +kubebuilder:validation:XValidation:rule="!has(self.defaultLifetimeDays) || !has(self.maxLifetimeDays) || self.defaultLifetimeDays <= self.maxLifetimeDays",message="`tokenPolicy.defaultLifetimeDays` must not be more than `tokenPolicy.maxLifetimeDays`"
type TokenPolicy struct {
	// defaultLifetimeDays is the `lifetimeDays` of tokens that set neither `lifetimeDays` nor `expirationTime`.
	// Absent means `maxLifetimeDays`. If both are absent, such tokens do not expire.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3650
	DefaultLifetimeDays *int32 `json:"defaultLifetimeDays,omitempty"`

	// maxLifetimeDays is the maximum lifetime of every secret, in days of 24 hours. A longer lifetime in an APIToken does
	// not extend it. Absent means no maximum.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3650
	MaxLifetimeDays *int32 `json:"maxLifetimeDays,omitempty"`

	// neverExpiring is `Allowed` or `Forbidden`. If it is `Forbidden`, a token that would not expire is not issued.
	// +optional
	// +kubebuilder:default=Allowed
	NeverExpiring NeverExpiring `json:"neverExpiring,omitempty"`

	// maxTokensPerUser is the maximum number of APITokens of one product user at this site. Further ones are not issued.
	// Absent means no maximum.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	MaxTokensPerUser *int32 `json:"maxTokensPerUser,omitempty"`

	// access is `ReadWrite` or `ReadOnly`. `ReadOnly` makes every token of the site read-only.
	// +optional
	// +kubebuilder:default=ReadWrite
	Access Access `json:"access,omitempty"`

	// creationByTokens is `Allowed` or `Forbidden`. If it is `Allowed`, a client that authenticates with a token may create
	// other tokens over REST, never with more rights or a longer life than its own. If it is `Forbidden`, creating a token
	// needs a session or another credential of the product.
	// +optional
	// +kubebuilder:default=Allowed
	CreationByTokens CreationByTokens `json:"creationByTokens,omitempty"`

	// rotationByTokens is `Allowed` or `Forbidden`. If it is `Allowed`, a client that authenticates with a token may rotate
	// this token over REST, never past the end of the token's first secret. If it is `Forbidden`, rotating a token needs a
	// session or another credential of the product. Absent means the value of `creationByTokens`.
	// +optional
	RotationByTokens RotationByTokens `json:"rotationByTokens,omitempty"`

	// expiredRetentionDays is how many days an expired APIToken is kept before the operator deletes it. Absent means that
	// it is kept forever.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=3650
	ExpiredRetentionDays *int32 `json:"expiredRetentionDays,omitempty"`
}

// NeverExpiring says whether tokens that do not expire are allowed.
//
// +kubebuilder:validation:Enum=Allowed;Forbidden
type NeverExpiring string

const (
	// NeverExpiringAllowed allows tokens that do not expire.
	NeverExpiringAllowed NeverExpiring = "Allowed"
	// NeverExpiringForbidden forbids them.
	NeverExpiringForbidden NeverExpiring = "Forbidden"
)

// CreationByTokens says whether a client that authenticates with a token may create other tokens.
//
// +kubebuilder:validation:Enum=Allowed;Forbidden
type CreationByTokens string

const (
	// CreationByTokensAllowed allows it.
	CreationByTokensAllowed CreationByTokens = "Allowed"
	// CreationByTokensForbidden forbids it.
	CreationByTokensForbidden CreationByTokens = "Forbidden"
)

// RotationByTokens says whether a client that authenticates with a token may rotate this token.
//
// +kubebuilder:validation:Enum=Allowed;Forbidden
type RotationByTokens string

const (
	// RotationByTokensAllowed allows it.
	RotationByTokensAllowed RotationByTokens = "Allowed"
	// RotationByTokensForbidden forbids it.
	RotationByTokensForbidden RotationByTokens = "Forbidden"
)

// Product is one of the products that the operator supports.
//
// +kubebuilder:validation:Enum=Jira;Confluence
type Product string

const (
	// ProductJira is Jira Software or Jira Service Management Data Center, 8.14 or newer.
	ProductJira Product = "Jira"
	// ProductConfluence is Confluence Data Center, 7.9 or newer.
	ProductConfluence Product = "Confluence"
)

// DefaultUpstreamCAKey is the key under which cert-manager and Kubernetes store the certificates of an authority.
const DefaultUpstreamCAKey = "ca.crt"

// UpstreamCAReference names a key of the Secret with the certificates of authorities.
type UpstreamCAReference struct {
	// name is the name of a Secret in the namespace of the site.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="`upstreamCARef.name` must be the name of a Secret: lower-case letters, digits, '-' and '.'"
	Name string `json:"name,omitempty"`

	// key is the key in that Secret. Its value is one or more certificates in PEM. Absent means `ca.crt`.
	// +optional
	// +kubebuilder:default="ca.crt"
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule=`self.matches('^[A-Za-z0-9._-]+$')`,message="`upstreamCARef.key` must be a key of a Secret: letters, digits, '-', '_' and '.'"
	Key string `json:"key,omitempty"`
}

// UpstreamCredential is the personal access token of one product user.
type UpstreamCredential struct {
	// user is the product username that owns the personal access token, in lower case.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule=`self.matches('^[^\\p{Lu}\\p{Lt}\\p{C}\\p{Zl}\\p{Zp}:]+$')`,message="`upstreamCredentials[].user` must not contain upper-case letters, ':' or control characters"
	// +kubebuilder:validation:XValidation:rule="self.trim() == self",message="`upstreamCredentials[].user` must not begin or end with white space"
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('asp_')",message="`upstreamCredentials[].user` must not begin with 'asp_', the prefix of every token"
	User string `json:"user,omitempty"`

	// secretName is the name of a Secret in the namespace of the site. Its key `token` holds the personal access token.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="`upstreamCredentials[].secretName` must be the name of a Secret: lower-case letters, digits, '-' and '.'"
	SecretName string `json:"secretName,omitempty"`
}

// UpstreamCredentialKey is the key, in the Secret of an UpstreamCredential, of the personal access token.
const UpstreamCredentialKey = "token"

// AtlassianSiteStatus is the observed state of a site.
//
// +kubebuilder:validation:MinProperties=1
type AtlassianSiteStatus struct {
	// conditions say whether tokens of the site authenticate. If not, they say why, and what to do.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:XValidation:rule="self.lastTransitionTime >= timestamp('1000-01-01T00:00:00Z') && self.lastTransitionTime <= timestamp('9999-12-31T23:59:59Z')",message="`lastTransitionTime` must be a time such as '2026-01-31T12:00:00Z'"
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the `metadata.generation` that the status is about. It is -1 until the first pass.
	// +optional
	// +kubebuilder:validation:Minimum=-1
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// authURLSecretName is the name of the Secret, in the namespace of the site, with the auth URL for each kind of gateway.
	// With `SharedKey`, the URLs contain the caller keys. Anyone who can read them can present a token and receive its user's
	// personal access token.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	AuthURLSecretName string `json:"authURLSecretName,omitempty"`
}
