package v1alpha1

import (
	"cmp"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// APIToken is a named token of one product user, usable as the password of HTTP Basic at one AtlassianSite.
// It authenticates only while this object exists and is not being deleted.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=apitok,categories=atlassian
// +kubebuilder:printcolumn:name="User",type=string,JSONPath=`.spec.user`,description="The product user that the token acts as"
// +kubebuilder:printcolumn:name="Label",type=string,JSONPath=`.spec.label`,description="The meaningful name of the token"
// +kubebuilder:printcolumn:name="Token ID",type=string,JSONPath=`.status.tokenID`,description="The public id, as it stands in logs"
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,description="Whether the token authenticates"
// +kubebuilder:printcolumn:name="Last Accessed",type=date,JSONPath=`.status.lastAccessedTime`,description="How long ago the token was last used, to the minute"
// +kubebuilder:printcolumn:name="Expires",type=string,JSONPath=`.status.expirationTime`,description="When the token ends; empty means never"
// +kubebuilder:printcolumn:name="Reason",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,description="Why it does or does not"
// +kubebuilder:printcolumn:name="Site",type=string,priority=1,JSONPath=`.spec.siteRef.name`,description="The AtlassianSite the token is for"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:selectablefield:JSONPath=`.spec.user`
// +kubebuilder:selectablefield:JSONPath=`.spec.siteRef.name`
// +kubebuilder:selectablefield:JSONPath=`.status.tokenID`
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.status) || !has(oldSelf.status.lastAccessedTime) || (has(self.status) && has(self.status.lastAccessedTime) && self.status.lastAccessedTime >= oldSelf.status.lastAccessedTime)",message="`status.lastAccessedTime` must not go back or away"
type APIToken struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`
	// spec is what is wanted of the token.
	// +required
	Spec APITokenSpec `json:"spec,omitzero"`
	// status is what was last observed of it. It informs; nothing is decided by it.
	// +optional
	Status APITokenStatus `json:"status,omitzero"`
}

// SiteNamespace is the namespace of the AtlassianSite that the token is for.
func (t *APIToken) SiteNamespace() string { return cmp.Or(t.Spec.SiteRef.Namespace, t.Namespace) }

// APITokenList is a list of APITokens.
//
// +kubebuilder:object:root=true
type APITokenList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []APIToken `json:"items"`
}

// APITokenSpec is what is wanted of a token.
//
// +kubebuilder:validation:XValidation:rule="self.credential.type == oldSelf.credential.type",message="`credential.type` must not change: delete this APIToken and create another"
// +kubebuilder:validation:XValidation:rule="(self.credential.type == 'Generated') == has(self.delivery)",message="`delivery` goes with `credential.type: Generated`, which needs it, and with nothing else"
// +kubebuilder:validation:XValidation:rule="self.credential.type == 'Generated' || !has(self.rotation)",message="`rotation` goes with `credential.type: Generated`: rotate an imported secret where it comes from, and one of the portal there"
// +kubebuilder:validation:XValidation:rule="!has(self.lifetimeDays) || !has(self.expirationTime)",message="only one of `lifetimeDays` and `expirationTime` may be given"
type APITokenSpec struct {
	// siteRef names the AtlassianSite that the token is for. It may not change.
	// +required
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="`siteRef` must not change: delete this APIToken and create another"
	SiteRef SiteReference `json:"siteRef,omitzero"`

	// user is the product username that the token acts as, with ASCII upper case read as lower case.
	// Other upper-case letters, control characters and `:` are refused; `@` and `\` are literal. It may not change.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="`user` must not change: delete this APIToken and create another"
	// +kubebuilder:validation:XValidation:rule=`self.matches('^([A-Z]|[^\\p{Lu}\\p{Lt}\\p{C}\\p{Zl}\\p{Zp}:])+$')`,message="`user` must not contain ':', control characters, or upper-case letters other than A to Z"
	// +kubebuilder:validation:XValidation:rule="self.trim() == self",message="`user` must not begin or end with white space"
	// +kubebuilder:validation:XValidation:rule="!self.lowerAscii().startsWith('asp_')",message="`user` must not begin with 'asp_', the beginning of every token"
	User string `json:"user,omitempty"`

	// label is the meaningful name of the token, such as the script that uses it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule=`!self.matches('[\\p{Cc}\\p{Zl}\\p{Zp}\\x{202A}-\\x{202E}\\x{2066}-\\x{2069}]')`,message="`label` must not contain control characters, line breaks or characters that turn the direction of text"
	// +kubebuilder:validation:XValidation:rule="self.trim() != ''",message="`label` must not be blank"
	Label string `json:"label,omitempty"`

	// credential says where the secret of the token comes from. Absent means that the operator generates it.
	// +optional
	// +kubebuilder:default={type: Generated}
	Credential Credential `json:"credential,omitzero"`

	// delivery says where the generated token is delivered to. It may not change.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="`delivery` must not change: delete this APIToken and create another"
	Delivery Delivery `json:"delivery,omitzero"`

	// lifetimeDays is for how many days of 24 hours each secret of the token authenticates, from when it was issued:
	// a rotation begins anew. Absent, like `expirationTime`, means the default of the site.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3650
	LifetimeDays *int32 `json:"lifetimeDays,omitempty"`

	// expirationTime is when the token ends, whatever becomes of it until then.
	// +optional
	ExpirationTime metav1.Time `json:"expirationTime,omitzero"`

	// rotation says when the operator replaces the secret by a new one, under the same token id.
	// +optional
	Rotation Rotation `json:"rotation,omitzero"`

	// access is `ReadWrite`, or `ReadOnly`: GET, HEAD and OPTIONS only, all else is refused with 403.
	// +optional
	// +kubebuilder:default=ReadWrite
	Access Access `json:"access,omitempty"`

	// allowedSources are the only networks, as CIDRs, from which the token may be used. Absent means everywhere
	// where the site allows it.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self) && cidr(self).masked() == cidr(self)",message="each of `allowedSources` must be a network such as '10.0.0.0/8' or '2001:db8::1/128', without bits behind its prefix"
	AllowedSources []string `json:"allowedSources,omitempty"`

	// allowedPaths are the only paths, below the context path of the site, at which the token may be used: each with
	// all that is below it. Absent means all paths where tokens of the site count.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	// +kubebuilder:validation:items:XValidation:rule=`self.matches('^(/[A-Za-z0-9_~.-]+)+/?$')`,message="each of `allowedPaths` must be a path such as '/rest/api/2/search'"
	// +kubebuilder:validation:items:XValidation:rule=`!self.matches('/[.]{1,2}(/|$)')`,message="`allowedPaths` must not contain '.' or '..' as a part of a path"
	AllowedPaths []string `json:"allowedPaths,omitempty"`

	// state is `Active`, or `Suspended`: the token does not authenticate until it is active again. Who may update
	// APITokens may suspend one; to make it active again takes the right to issue it.
	// +optional
	// +kubebuilder:default=Active
	State State `json:"state,omitempty"`
}

// Rotation says when a secret is replaced by a new one.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="!has(self.intervalDays) || !has(self.overlapHours) || self.overlapHours < self.intervalDays * 24",message="`rotation.overlapHours` must be less than `rotation.intervalDays`"
type Rotation struct {
	// intervalDays is after how many days of 24 hours the delivered secret is replaced.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3650
	IntervalDays *int32 `json:"intervalDays,omitempty"`

	// overlapHours is for how many hours a replaced secret goes on authenticating beside the new one. Absent means 24.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=8760
	OverlapHours *int32 `json:"overlapHours,omitempty"`

	// requestedTime asks for a rotation now, or at that time: a secret that was issued before it is replaced.
	// +optional
	RequestedTime metav1.Time `json:"requestedTime,omitzero"`
}

// DefaultOverlapHours is the overlap of a rotation that names none.
const DefaultOverlapHours = 24

// Access says what a token may do.
//
// +kubebuilder:validation:Enum=ReadWrite;ReadOnly
type Access string

const (
	// AccessReadWrite means that a token may do what its owner may do.
	AccessReadWrite Access = "ReadWrite"
	// AccessReadOnly means that a token may do that of it which changes nothing: GET, HEAD and OPTIONS.
	AccessReadOnly Access = "ReadOnly"
)

// State says whether a token is to authenticate.
//
// +kubebuilder:validation:Enum=Active;Suspended
type State string

const (
	// StateActive means that the token authenticates.
	StateActive State = "Active"
	// StateSuspended means that it does not, for as long as this is said.
	StateSuspended State = "Suspended"
)

// SiteReference names an AtlassianSite.
type SiteReference struct {
	// name is the name of the AtlassianSite.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name,omitempty"`

	// namespace is the namespace of the AtlassianSite; absent means that of the APIToken. The site has to allow
	// other namespaces, in `allowedNamespaces`.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Label().validate(self).hasValue()",message="`siteRef.namespace` must be the name of a namespace"
	Namespace string `json:"namespace,omitempty"`
}

// CredentialType says where the secret of a token comes from.
//
// +kubebuilder:validation:Enum=Generated;Imported;Portal
type CredentialType string

const (
	// CredentialGenerated means that the operator makes the token and delivers it.
	CredentialGenerated CredentialType = "Generated"
	// CredentialImported means that the secret lies in a Secret beside the APIToken.
	CredentialImported CredentialType = "Imported"
	// CredentialPortal means that the portal makes the token, and shows it once to its owner: nothing keeps its plaintext.
	CredentialPortal CredentialType = "Portal"
)

// AnnotationPending is on an APIToken that the portal is still making. One that keeps it was cut off, and is removed.
const AnnotationPending = "apitokens.dev/pending"

// Credential says where the secret of a token comes from.
//
// +kubebuilder:validation:XValidation:rule="(self.type == 'Imported') == has(self.imported)",message="`credential.imported` goes with `credential.type: Imported`, which needs it, and with nothing else"
type Credential struct {
	// type is `Generated`: the operator makes the token and delivers it to `delivery.secretName`;
	// `Imported`: the secret is read from a Secret beside the APIToken;
	// or `Portal`: the owner made the token on the page or over REST, where it was shown once.
	// +required
	Type CredentialType `json:"type,omitempty"`

	// imported says where an imported secret is. Whoever writes there issues.
	// +optional
	Imported *ImportedCredential `json:"imported,omitempty"`
}

// ImportedCredential says where an imported secret is.
type ImportedCredential struct {
	// secretName names a Secret beside the APIToken.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="`credential.imported.secretName` must be the name of a Secret: lower-case letters, digits, '-' and '.'"
	SecretName string `json:"secretName,omitempty"`

	// key is the key of the secret in it: 20 to 256 bytes, without white space around them.
	// +optional
	// +kubebuilder:default=password
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[-._a-zA-Z0-9]+$')",message="`credential.imported.key` must be a key of a Secret: letters, digits, '-', '_' and '.'"
	Key string `json:"key,omitempty"`

	// mode is `Once`: what is there when the APIToken is first seen; or `Follow`: a secret that is replaced there replaces
	// this one within a minute.
	// +optional
	// +kubebuilder:default=Once
	Mode ImportMode `json:"mode,omitempty"`
}

// ImportMode says how often a secret is imported.
//
// +kubebuilder:validation:Enum=Once;Follow
type ImportMode string

const (
	// ImportOnce means the secret that is there first.
	ImportOnce ImportMode = "Once"
	// ImportFollow means the secret that is there now.
	ImportFollow ImportMode = "Follow"
)

// Delivery says where a generated token goes.
type Delivery struct {
	// secretName names the Secret that the operator creates beside the APIToken. It is of type
	// `kubernetes.io/basic-auth` and has the keys `username`, `password` (the token) and `url` (the site's base URL).
	// A Secret of that name that the operator did not deliver is never overwritten or deleted.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="`delivery.secretName` must be the name of a Secret: lower-case letters, digits, '-' and '.'"
	SecretName string `json:"secretName,omitempty"`
}

// APITokenStatus is what was last observed of a token.
//
// +kubebuilder:validation:MinProperties=1
type APITokenStatus struct {
	// conditions say whether the token authenticates, and if not, why and what to do.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// tokenID is the public id of the token, as it stands in logs.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	TokenID string `json:"tokenID,omitempty"`

	// issuedTime is when the delivered secret was made.
	// +optional
	IssuedTime metav1.Time `json:"issuedTime,omitzero"`

	// expirationTime is when the delivered secret ends, by what APIToken and site say now. Absent means never.
	// +optional
	ExpirationTime metav1.Time `json:"expirationTime,omitzero"`

	// nextRotationTime is when the delivered secret will be replaced.
	// +optional
	NextRotationTime metav1.Time `json:"nextRotationTime,omitzero"`

	// lastAccessedTime is when the token last authenticated a request. The webhook writes it, at most once a minute for
	// each of its replicas, and it never goes back. Absent means that the token has not been used.
	// +optional
	LastAccessedTime metav1.Time `json:"lastAccessedTime,omitzero"`

	// lastAccessedFrom is the address of the client that made this request, as the gateway told it.
	// Absent means that it told none.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=39
	// +kubebuilder:validation:XValidation:rule="isIP(self)",message="`status.lastAccessedFrom` must be an IP address"
	LastAccessedFrom string `json:"lastAccessedFrom,omitempty"`
}
