package v1alpha1

import (
	"cmp"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// APIToken is a named token of one product user. It is the password in HTTP Basic authentication at one AtlassianSite.
// The token authenticates only while this object exists and is not being deleted.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=apitok,categories=atlassian
// +kubebuilder:metadata:annotations="apitokens.dev/revision=1"
// +kubebuilder:printcolumn:name="User",type=string,JSONPath=`.spec.user`,description="The product user that the token acts as"
// +kubebuilder:printcolumn:name="Label",type=string,JSONPath=`.spec.label`,description="The name of the token, for people"
// +kubebuilder:printcolumn:name="Token ID",type=string,JSONPath=`.status.tokenID`,description="The public id of the token, as logged"
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,description="Whether the token authenticates"
// +kubebuilder:printcolumn:name="Last Accessed",type=date,JSONPath=`.status.lastAccessedTime`,description="When the token was last used, to the minute"
// +kubebuilder:printcolumn:name="Expires",type=string,JSONPath=`.status.expirationTime`,description="When the token expires; empty means never"
// +kubebuilder:printcolumn:name="Reason",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,description="Why the token is ready or not"
// +kubebuilder:printcolumn:name="Site",type=string,priority=1,JSONPath=`.spec.siteRef.name`,description="The AtlassianSite that the token is for"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:selectablefield:JSONPath=`.spec.user`
// +kubebuilder:selectablefield:JSONPath=`.spec.siteRef.name`
// +kubebuilder:selectablefield:JSONPath=`.status.tokenID`
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.status) || !has(oldSelf.status.lastAccessedTime) || (has(self.status) && has(self.status.lastAccessedTime) && self.status.lastAccessedTime >= oldSelf.status.lastAccessedTime)",message="`status.lastAccessedTime` must not be decreased or removed"
type APIToken struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`
	// spec is the desired state of the token.
	// +required
	Spec APITokenSpec `json:"spec,omitzero"`
	// status is the observed state of the token. It is for information only: no decision depends on it.
	// +optional
	// +kubebuilder:default={"observedGeneration":-1}
	Status APITokenStatus `json:"status,omitzero"`

	// Malformed says why the spec could not be decoded. It is empty unless an object got past the schema, and is no part
	// of the API. A malformed APIToken does not authenticate.
	Malformed string `json:"-"`
}

// SiteNamespace returns the namespace of the AtlassianSite that the token is for.
func (t *APIToken) SiteNamespace() string { return cmp.Or(t.Spec.SiteRef.Namespace, t.Namespace) }

// APITokenList is a list of APITokens.
//
// +kubebuilder:object:root=true
type APITokenList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []APIToken `json:"items"`
}

// APITokenSpec is the desired state of a token.
//
// +kubebuilder:validation:XValidation:rule="self.credential.type == oldSelf.credential.type",message="`credential.type` must not change: delete this APIToken and create another"
// +kubebuilder:validation:XValidation:rule="(self.credential.type == 'Generated') == has(self.delivery)",message="`delivery` must be set if `credential.type` is `Generated`, and must not be set otherwise"
// +kubebuilder:validation:XValidation:rule="self.credential.type == 'Generated' || !has(self.rotation)",message="`rotation` must not be set unless `credential.type` is `Generated`: rotate an imported secret at its source, and a token of the portal in the portal"
// +kubebuilder:validation:XValidation:rule="!has(self.lifetimeDays) || !has(self.expirationTime)",message="only one of `lifetimeDays` and `expirationTime` may be given"
// +kubebuilder:validation:XValidation:rule="has(self.createdBy) == has(oldSelf.createdBy)",message="`createdBy` must not be added or removed"
// +kubebuilder:validation:XValidation:rule="self.credential.type == 'Portal' || !has(self.createdBy)",message="`createdBy` must not be set unless `credential.type` is `Portal`"
type APITokenSpec struct {
	// siteRef names the AtlassianSite that the token is for. It is immutable.
	// +required
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="`siteRef` must not change: delete this APIToken and create another"
	SiteRef SiteReference `json:"siteRef,omitzero"`

	// user is the username in the product that the token acts as. The letters A to Z are read as a to z.
	// Other upper-case letters, control characters and `:` are refused. `@` and `\` have no special meaning.
	// It is immutable.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="`user` must not change: delete this APIToken and create another"
	// +kubebuilder:validation:XValidation:rule=`self.matches('^([A-Z]|[^\\p{Lu}\\p{Lt}\\p{C}\\p{Zl}\\p{Zp}:])+$')`,message="`user` must not contain ':', control characters, or upper-case letters other than A to Z"
	// +kubebuilder:validation:XValidation:rule="self.trim() == self",message="`user` must not begin or end with white space"
	// +kubebuilder:validation:XValidation:rule="!self.lowerAscii().startsWith('asp_')",message="`user` must not begin with 'asp_', the prefix of every token"
	User string `json:"user,omitempty"`

	// label is the name of the token for people, such as the name of the script that uses it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule=`!self.matches('[\\p{Cc}\\p{Zl}\\p{Zp}\\x{202A}-\\x{202E}\\x{2066}-\\x{2069}]')`,message="`label` must not contain control characters, line breaks or characters that change the direction of text"
	// +kubebuilder:validation:XValidation:rule="self.trim() != ''",message="`label` must not be blank"
	Label string `json:"label,omitempty"`

	// credential selects the source of the secret. Absent means that the operator generates the secret.
	// +optional
	// +kubebuilder:default={type: Generated}
	Credential Credential `json:"credential,omitzero"`

	// delivery says where the operator writes a generated token. It is required if `credential.type` is `Generated`, and
	// not allowed otherwise. It is immutable.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="`delivery` must not change: delete this APIToken and create another"
	Delivery Delivery `json:"delivery,omitzero"`

	// lifetimeDays is the lifetime of each secret of the token, in days of 24 hours from its issue. A rotation starts a
	// new lifetime. It cannot be combined with `expirationTime`. If both are absent, the default of the site applies.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3650
	LifetimeDays *int32 `json:"lifetimeDays,omitempty"`

	// expirationTime is when the token expires. A rotation does not extend it. It cannot be combined with `lifetimeDays`.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self >= timestamp('1000-01-01T00:00:00Z') && self <= timestamp('9999-12-31T23:59:59Z')",message="`expirationTime` must be a time such as '2026-01-31T12:00:00Z'"
	ExpirationTime metav1.Time `json:"expirationTime,omitzero"`

	// rotation says when the operator replaces the secret with a new one. The token id stays the same.
	// +optional
	Rotation Rotation `json:"rotation,omitzero"`

	// access limits the HTTP methods. `ReadWrite` allows everything that the owner may do. `ReadOnly` allows only GET, HEAD
	// and OPTIONS; other methods are refused with 403.
	// +optional
	// +kubebuilder:default=ReadWrite
	Access Access `json:"access,omitempty"`

	// allowedSources lists the networks, as CIDRs, from which the token may be used. Absent means every network that the
	// site allows.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self) && cidr(self).masked() == cidr(self)",message="each of `allowedSources` must be a network such as '10.0.0.0/8' or '2001:db8::1/128', with no bit set after its prefix"
	AllowedSources []string `json:"allowedSources,omitempty"`

	// allowedPaths lists the paths, relative to the context path of the site, at which the token may be used. Each path
	// includes the paths below it. Absent means every path in `tokenPaths` of the site.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	// +kubebuilder:validation:items:XValidation:rule=`self.matches('^(/[A-Za-z0-9_~.-]+)+/?$')`,message="each of `allowedPaths` must be a path such as '/rest/api/2/search'"
	// +kubebuilder:validation:items:XValidation:rule=`!self.matches('/[.]{1,2}(/|$)')`,message="`allowedPaths` must not contain '.' or '..' as a path segment"
	AllowedPaths []string `json:"allowedPaths,omitempty"`

	// createdBy names the token with which this token was created over REST. Only the portal sets it. It is immutable.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="`createdBy` must not change"
	CreatedBy CreatedBy `json:"createdBy,omitzero"`

	// state is `Active` or `Suspended`. A suspended token does not authenticate until its state is `Active` again.
	// Suspending a token needs only the right to update it. Activating it again needs the right to issue it.
	// +optional
	// +kubebuilder:default=Active
	State State `json:"state,omitempty"`
}

// CreatedBy names the token that created another one.
type CreatedBy struct {
	// uid is the `metadata.uid` of the APIToken.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	UID string `json:"uid,omitempty"`

	// tokenID is the public id of the token.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	TokenID string `json:"tokenID,omitempty"`

	// namespace is the namespace of the APIToken. If that was created with a token itself, namespace is the one in its own
	// `createdBy`. If the site no longer allows this namespace, the created token does not authenticate.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Label().validate(self).hasValue()",message="`createdBy.namespace` must be the name of a namespace"
	Namespace string `json:"namespace,omitempty"`
}

// Rotation says when a secret is replaced with a new one.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="!has(self.intervalDays) || !has(self.overlapHours) || self.overlapHours < self.intervalDays * 24",message="`rotation.overlapHours` must be less than `rotation.intervalDays`"
type Rotation struct {
	// intervalDays is the age, in days of 24 hours, at which the delivered secret is replaced.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3650
	IntervalDays *int32 `json:"intervalDays,omitempty"`

	// overlapHours is how many hours a replaced secret stays valid after its replacement. Absent means 24.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=8760
	OverlapHours *int32 `json:"overlapHours,omitempty"`

	// requestedTime requests one rotation: a secret that was issued before this time is replaced. A time in the future
	// requests the rotation at that time.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self >= timestamp('1000-01-01T00:00:00Z') && self <= timestamp('9999-12-31T23:59:59Z')",message="`requestedTime` must be a time such as '2026-01-31T12:00:00Z'"
	RequestedTime metav1.Time `json:"requestedTime,omitzero"`
}

// DefaultOverlapHours is the overlap of a rotation without `overlapHours`.
const DefaultOverlapHours = 24

// Access says which HTTP methods a token allows.
//
// +kubebuilder:validation:Enum=ReadWrite;ReadOnly
type Access string

const (
	// AccessReadWrite allows everything that the owner may do.
	AccessReadWrite Access = "ReadWrite"
	// AccessReadOnly allows only GET, HEAD and OPTIONS.
	AccessReadOnly Access = "ReadOnly"
)

// State says whether a token is active.
//
// +kubebuilder:validation:Enum=Active;Suspended
type State string

const (
	// StateActive means that the token authenticates.
	StateActive State = "Active"
	// StateSuspended means that the token does not authenticate until its state is Active again.
	StateSuspended State = "Suspended"
)

// SiteReference names an AtlassianSite.
type SiteReference struct {
	// name is the name of the AtlassianSite.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name,omitempty"`

	// namespace is the namespace of the AtlassianSite. Absent means the namespace of the APIToken. The site must allow
	// the namespace of the APIToken in `allowedNamespaces`.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Label().validate(self).hasValue()",message="`siteRef.namespace` must be the name of a namespace"
	Namespace string `json:"namespace,omitempty"`
}

// CredentialType is the source of the secret of a token.
//
// +kubebuilder:validation:Enum=Generated;Imported;Portal
type CredentialType string

const (
	// CredentialGenerated means that the operator generates the token and delivers it.
	CredentialGenerated CredentialType = "Generated"
	// CredentialImported means that the operator reads the secret from a Secret in the namespace of the APIToken.
	CredentialImported CredentialType = "Imported"
	// CredentialPortal means that the portal creates the token and shows it to its owner once. The plaintext is not stored.
	CredentialPortal CredentialType = "Portal"
)

// AnnotationPending marks an APIToken that the portal is still creating. If the creation is interrupted, the annotation
// stays and the operator removes the APIToken.
const AnnotationPending = "apitokens.dev/pending"

// Credential is the source of the secret of a token.
//
// +kubebuilder:validation:XValidation:rule="(self.type == 'Imported') == has(self.imported)",message="`credential.imported` must be set if `credential.type` is `Imported`, and must not be set otherwise"
type Credential struct {
	// type is one of:
	// `Generated`: the operator generates the token and delivers it to `delivery.secretName`;
	// `Imported`: the operator reads the secret from a Secret in the namespace of the APIToken;
	// `Portal`: the owner created the token on the page or over REST, where it was shown once.
	// It is immutable.
	// +required
	Type CredentialType `json:"type,omitempty"`

	// imported names the Secret of an imported token. It is required if `type` is `Imported`, and not allowed otherwise.
	// Anyone who can write this Secret can issue tokens for the user.
	// +optional
	Imported *ImportedCredential `json:"imported,omitempty"`
}

// ImportedCredential names the Secret of an imported token.
type ImportedCredential struct {
	// secretName is the name of a Secret in the namespace of the APIToken.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="`credential.imported.secretName` must be the name of a Secret: lower-case letters, digits, '-' and '.'"
	SecretName string `json:"secretName,omitempty"`

	// key is the key in that Secret. Its value must have 20 to 256 bytes, without leading or trailing white space.
	// Absent means `password`.
	// +optional
	// +kubebuilder:default=password
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[-._a-zA-Z0-9]+$')",message="`credential.imported.key` must be a key of a Secret: letters, digits, '-', '_' and '.'"
	Key string `json:"key,omitempty"`

	// mode is `Once` or `Follow`. `Once` imports the value that the Secret has when the APIToken is first seen. `Follow`
	// also imports later values in place of the one before: each within a minute, or with more than 1,200 APITokens in the
	// cluster within one second for every 20 of them; within two seconds if the operator may watch Secrets. A change of the
	// APIToken has the Secret read at once.
	// +optional
	// +kubebuilder:default=Once
	Mode ImportMode `json:"mode,omitempty"`
}

// ImportMode says whether later values of a Secret are imported.
//
// +kubebuilder:validation:Enum=Once;Follow
type ImportMode string

const (
	// ImportOnce imports the first value only.
	ImportOnce ImportMode = "Once"
	// ImportFollow imports each new value.
	ImportFollow ImportMode = "Follow"
)

// Delivery says where the operator writes a generated token.
type Delivery struct {
	// secretName is the name of the Secret that the operator creates in the namespace of the APIToken. The Secret is of
	// type `kubernetes.io/basic-auth` and has the keys `username`, `password` (the token) and `url` (the site's base URL).
	// The operator never overwrites or deletes a Secret that it did not create. It reads the Secret, and mends it, once a
	// minute, or with more than 1,200 APITokens in the cluster once in one second for every 20 of them, and at once when the
	// APIToken changes.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="`delivery.secretName` must be the name of a Secret: lower-case letters, digits, '-' and '.'"
	SecretName string `json:"secretName,omitempty"`
}

// APITokenStatus is the observed state of a token.
//
// +kubebuilder:validation:MinProperties=1
type APITokenStatus struct {
	// conditions say whether the token authenticates. If not, they say why, and what to do.
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

	// tokenID is the public id of the token. Logs contain this id.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	TokenID string `json:"tokenID,omitempty"`

	// issuedTime is when the delivered secret was issued.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self >= timestamp('1000-01-01T00:00:00Z') && self <= timestamp('9999-12-31T23:59:59Z')",message="`issuedTime` must be a time such as '2026-01-31T12:00:00Z'"
	IssuedTime metav1.Time `json:"issuedTime,omitzero"`

	// expirationTime is when the delivered secret expires, according to the current APIToken and site. Absent means never.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self >= timestamp('1000-01-01T00:00:00Z') && self <= timestamp('9999-12-31T23:59:59Z')",message="`expirationTime` must be a time such as '2026-01-31T12:00:00Z'"
	ExpirationTime metav1.Time `json:"expirationTime,omitzero"`

	// nextRotationTime is when the delivered secret will be replaced.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self >= timestamp('1000-01-01T00:00:00Z') && self <= timestamp('9999-12-31T23:59:59Z')",message="`nextRotationTime` must be a time such as '2026-01-31T12:00:00Z'"
	NextRotationTime metav1.Time `json:"nextRotationTime,omitzero"`

	// lastAccessedTime is when the token last authenticated a request. Each replica of the webhook writes it at most once
	// a minute. It never decreases. Absent means that the token has not been used.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self >= timestamp('1000-01-01T00:00:00Z') && self <= timestamp('9999-12-31T23:59:59Z')",message="`lastAccessedTime` must be a time such as '2026-01-31T12:00:00Z'"
	LastAccessedTime metav1.Time `json:"lastAccessedTime,omitzero"`

	// lastAccessedFrom is the address of the client that sent this request, as reported by the gateway.
	// Absent means that the gateway reported none.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=39
	// +kubebuilder:validation:XValidation:rule="isIP(self)",message="`status.lastAccessedFrom` must be an IP address"
	LastAccessedFrom string `json:"lastAccessedFrom,omitempty"`
}
