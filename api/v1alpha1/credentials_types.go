package v1alpha1

// Scheme is how a client sends a token in `Authorization`.
//
// +kubebuilder:validation:Enum=Basic;Bearer
type Scheme string

const (
	// SchemeBasic is Basic with the user and the token as password.
	SchemeBasic Scheme = "Basic"
	// SchemeBearer is Bearer with the token alone.
	SchemeBearer Scheme = "Bearer"
)

// OtherCredentials says what happens to requests without an API token, by what they present.
//
// +kubebuilder:validation:MinProperties=1
type OtherCredentials struct {
	// password is about passwords: Basic without an API token, and the parameters `os_username` and `os_password` in the query.
	// Absent means `Forward`.
	// +optional
	Password PasswordRule `json:"password,omitzero"`

	// bearer is about every other `Authorization`: personal access tokens, OAuth and Kerberos. Absent means `Forward`.
	// +optional
	Bearer CredentialRule `json:"bearer,omitzero"`

	// session is about requests with a cookie. Absent means `Forward`.
	// +optional
	Session CredentialRule `json:"session,omitzero"`

	// anonymous is about requests with none of these. Absent means `Forward`.
	// +optional
	Anonymous AnonymousRule `json:"anonymous,omitzero"`
}

// CredentialAction says what happens to a request without an API token.
//
// +kubebuilder:validation:Enum=Forward;Observe;Refuse
type CredentialAction string

const (
	// CredentialForward leaves the request to the product.
	CredentialForward CredentialAction = "Forward"
	// CredentialObserve leaves the request to the product, counts it and logs it.
	CredentialObserve CredentialAction = "Observe"
	// CredentialRefuse refuses the request.
	CredentialRefuse CredentialAction = "Refuse"
)

// CredentialRule says what happens to requests that present one kind of credential.
type CredentialRule struct {
	// action is `Forward` (leave the request to the product), `Observe` (the same, and count and log it) or `Refuse` (answer 403).
	// +required
	Action CredentialAction `json:"action,omitempty"`
}

// PasswordRule says what happens to requests with a password.
//
// +kubebuilder:validation:XValidation:rule="self.action == 'Refuse' || !has(self.exemptUsers) && !has(self.exemptPaths)",message="`otherCredentials.password.exemptUsers` and `exemptPaths` must not be set unless `action` is `Refuse`"
type PasswordRule struct {
	// action is `Forward` (leave the request to the product), `Observe` (the same, and count and log it) or `Refuse` (answer 403).
	// +required
	Action CredentialAction `json:"action,omitempty"`

	// exemptUsers lists product users, in lower case, with passwords that are not refused but observed.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=255
	// +kubebuilder:validation:items:XValidation:rule=`self.matches('^[^\\p{Lu}\\p{Lt}\\p{C}\\p{Zl}\\p{Zp}:]+$')`,message="each of `exemptUsers` must not contain upper-case letters, ':' or control characters"
	// +kubebuilder:validation:items:XValidation:rule="self.trim() == self",message="each of `exemptUsers` must not begin or end with white space"
	ExemptUsers []string `json:"exemptUsers,omitempty"`

	// exemptPaths lists paths, relative to the context path, at which passwords are not refused but observed. Each path
	// includes the paths below it.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	// +kubebuilder:validation:items:XValidation:rule=`self.matches('^(/[A-Za-z0-9_~.-]+)+/?$')`,message="each of `exemptPaths` must be a path such as '/rest/legacy/'"
	// +kubebuilder:validation:items:XValidation:rule=`!self.matches('/[.]{1,2}(/|$)')`,message="`exemptPaths` must not contain '.' or '..' as a path segment"
	ExemptPaths []string `json:"exemptPaths,omitempty"`
}

// AnonymousRule says what happens to requests that present nothing.
type AnonymousRule struct {
	// action is `Forward` (leave the request to the product), `Observe` (the same, and count and log it) or `Refuse` (answer 401).
	// +required
	Action CredentialAction `json:"action,omitempty"`

	// challengePaths lists paths, relative to the context path, at which a request that presents nothing is answered with 401 and
	// `WWW-Authenticate`, for clients that send their token only then. Each path includes the paths below it.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	// +kubebuilder:validation:items:XValidation:rule=`self.matches('^(/|(/[A-Za-z0-9_~.-]+)+/?)$')`,message="each of `challengePaths` must be a path such as '/rest/api/2/'"
	// +kubebuilder:validation:items:XValidation:rule=`!self.matches('/[.]{1,2}(/|$)')`,message="`challengePaths` must not contain '.' or '..' as a path segment"
	ChallengePaths []string `json:"challengePaths,omitempty"`
}

// HandoffType says how the user's identity is passed to the product.
//
// +kubebuilder:validation:Enum=PersonalAccessToken;IdentityHeader
type HandoffType string

const (
	// HandoffPersonalAccessToken replaces the client's Authorization header with the user's personal access token.
	HandoffPersonalAccessToken HandoffType = "PersonalAccessToken"
	// HandoffIdentityHeader passes the user's name in a header that the product trusts.
	HandoffIdentityHeader HandoffType = "IdentityHeader"
)

// Handoff says how the user's identity is passed to the product.
//
// +kubebuilder:validation:XValidation:rule="self.type == 'IdentityHeader' || !has(self.identityHeader)",message="`handoff.identityHeader` must not be set unless `type` is `IdentityHeader`"
type Handoff struct {
	// type is `PersonalAccessToken` or `IdentityHeader`. With `PersonalAccessToken`, the client's `Authorization: Basic user:token`
	// is replaced with `Authorization: Bearer` and the user's personal access token. With `IdentityHeader`, it is removed, and a
	// header has the user's name: for products with an authenticator that trusts this header. The gateway must then ask about
	// every request, and remove the header from all of them.
	// +required
	Type HandoffType `json:"type,omitempty"`

	// identityHeader is the header with the user's name. It is allowed only with the type `IdentityHeader`.
	// +optional
	IdentityHeader IdentityHeader `json:"identityHeader,omitzero"`
}

// DefaultIdentityHeader is the name of the header with the user's name where the site does not set one.
const DefaultIdentityHeader = "X-Forwarded-User"

// IdentityHeader is the header with the user's name.
type IdentityHeader struct {
	// name is the name of the header: letters, digits and '-'. Absent means `X-Forwarded-User`.
	// +optional
	// +kubebuilder:default="X-Forwarded-User"
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule=`self.matches('^[A-Za-z][A-Za-z0-9-]*$')`,message="`handoff.identityHeader.name` must be the name of a header: letters, digits and '-'"
	// +kubebuilder:validation:XValidation:rule=`self.matches('(?i)^(x-.+|.*user.*)$') && !self.matches('(?i)^(x-api-token-.*|x-original-.*|x-envoy-.*|x-real-ip|x-request-id|x-scheme|x-http-method.*|x-forwarded-(for|host|method|port|prefix|proto|scheme|server|ssl|uri|by|path|client-cert|tls-.*))$') && !self.matches('(?i)^user-agent$')`,message="`handoff.identityHeader.name` must be a header of its own, such as 'X-Remote-User' or 'Remote-User': not one with another meaning"
	Name string `json:"name,omitempty"`
}
