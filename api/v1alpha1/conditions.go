package v1alpha1

// ConditionReady says whether an APIToken authenticates, or whether the tokens of an AtlassianSite do.
const ConditionReady = "Ready"

// ConditionStalled says that an object is not ready, and stays so until a person changes something. Its reason and message
// are those of the Ready condition. It is absent in all other states, also in those that somebody asked for (Suspended,
// UserBlocked, Expired) and those that wait for another object (SiteNotFound, SourceMissing) or for some time (IssuePending).
const ConditionStalled = "Stalled"

// ReasonInvalid means that an object got past the schema and its spec cannot be decoded. It is a reason of both kinds.
const ReasonInvalid = "Invalid"

// Reasons of an APIToken's Ready condition.
const (
	// ReasonIssued means that the token was issued and delivered.
	ReasonIssued = "Issued"
	// ReasonReissued is the reason of the Event for a token that was delivered again because its Secret was missing.
	ReasonReissued = "Reissued"
	// ReasonRotated is the reason of the Event for a delivered token that was replaced with a new one.
	ReasonRotated = "Rotated"
	// ReasonExpired means that the token has expired.
	ReasonExpired = "Expired"
	// ReasonSuspended means that `state` is `Suspended`.
	ReasonSuspended = "Suspended"
	// ReasonPolicyViolation means that the token asks for more than its site allows. The message names the rule.
	ReasonPolicyViolation = "PolicyViolation"
	// ReasonNamespaceNotAllowed means that `allowedNamespaces` of the site does not include the namespace of the APIToken, or
	// that of the token with which it was created.
	ReasonNamespaceNotAllowed = "NamespaceNotAllowed"
	// ReasonUserBlocked means that the site blocks the user, by `blockedUsers`.
	ReasonUserBlocked = "UserBlocked"
	// ReasonOwnerChanged means that the name of the user belongs to another user of the product than the one whose token it is, or
	// whose personal access token the operator holds.
	ReasonOwnerChanged = "OwnerChanged"
	// ReasonRevokedByEpoch means that the token was issued before `issuedAfter` of its site, or of an earlier site of its name.
	ReasonRevokedByEpoch = "RevokedByEpoch"
	// ReasonEpochPending means that the token is issued once `issuedAfter` of its site has come.
	ReasonEpochPending = "EpochPending"
	// ReasonImported means that the secret was imported and authenticates. It is also the reason of an Event.
	ReasonImported = "Imported"
	// ReasonSourceMissing means that the Secret or the key in `credential.imported` does not exist.
	ReasonSourceMissing = "SourceMissing"
	// ReasonWeakCredential means that the secret cannot be imported. The message says why.
	ReasonWeakCredential = "WeakCredential"
	// ReasonDuplicateCredential means that another APIToken of the same user has the same secret.
	ReasonDuplicateCredential = "DuplicateCredential"
	// ReasonSiteNotFound means that the AtlassianSite in `siteRef` does not exist.
	ReasonSiteNotFound = "SiteNotFound"
	// ReasonSiteInvalid means that the spec of the AtlassianSite in `siteRef` cannot be decoded.
	ReasonSiteInvalid = "SiteInvalid"
	// ReasonDeliveryConflict means that the Secret in `delivery` exists and was not created by the operator.
	ReasonDeliveryConflict = "DeliveryConflict"
	// ReasonRecordMissing means that the record of an issued token is missing. The delivered token no longer authenticates.
	ReasonRecordMissing = "RecordMissing"
	// ReasonRecordOrphaned means that the delivered token belongs to the record of an earlier APIToken with the same name,
	// for example after a restore from a backup. It is also the reason of the Event about such a record.
	ReasonRecordOrphaned = "RecordOrphaned"
	// ReasonRecordDamaged means that the record is malformed, or belongs to another user, site or APIToken.
	ReasonRecordDamaged = "RecordDamaged"
	// ReasonIssuePending means that the token is issued or works after a short wait: earlier interrupted deliveries must expire
	// first, or the data of a deleted APIToken with the same name must be removed first, or the product must name the owner of the
	// personal access token first.
	ReasonIssuePending = "IssuePending"
	// ReasonAdmissionPolicyMissing means that the admission policy is missing, so that anyone could issue tokens for anyone.
	ReasonAdmissionPolicyMissing = "AdmissionPolicyMissing"
	// ReasonAdmissionNotVerified means that the API server refuses the operator's dry run for another reason than the admission
	// policy, so that it is not known whether that is in force. The message has the API server's words.
	ReasonAdmissionNotVerified = "AdmissionNotVerified"
	// ReasonDeclaredUnguarded means that the APIToken may have been declared, or its spec changed, while the admission policies
	// were not in force. It has to be created again.
	ReasonDeclaredUnguarded = "DeclaredUnguarded"
	// ReasonWriteRefused means that the API server refuses a write of the operator, because of a quota, an admission policy or
	// the like. The message has its words. It is also the reason of an Event, about objects of both kinds and their Secrets.
	ReasonWriteRefused = "WriteRefused"
	// ReasonUpstreamCredentialMissing means that the operator holds no personal access token of the user.
	ReasonUpstreamCredentialMissing = "UpstreamCredentialMissing"
	// ReasonIdentityNotRepresentable means that the site hands users over in a header, and that a header cannot hold this name.
	ReasonIdentityNotRepresentable = "IdentityNotRepresentable"
)

// ConditionExpiring says whether an APIToken expires soon. It is absent if the token does not expire.
const ConditionExpiring = "Expiring"

// Reasons of the Expiring condition.
const (
	// ReasonExpiresSoon means that the token expires soon, with no rotation before that.
	ReasonExpiresSoon = "ExpiresSoon"
	// ReasonExpiresLater means that the token does not expire soon, or that a rotation comes first.
	ReasonExpiresLater = "ExpiresLater"
)

// Reasons of an AtlassianSite's Ready condition.
const (
	// ReasonServing means that the webhook answers questions about the site.
	ReasonServing = "Serving"
	// ReasonBaseURLConflict means that an older site has the same `baseURL`.
	ReasonBaseURLConflict = "BaseURLConflict"
	// ReasonUpstreamNotAllowed means that `upstreamURL` is not a Service in the namespace of the site.
	ReasonUpstreamNotAllowed = "UpstreamNotAllowed"
	// ReasonAuthURLConflict means that the Secret for the auth URLs exists and was not created by the operator.
	ReasonAuthURLConflict = "AuthURLConflict"
	// ReasonCallerKeysDamaged means that the stored caller keys of the site are malformed.
	ReasonCallerKeysDamaged = "CallerKeysDamaged"
	// ReasonCallerKeysRotated is the reason of the Event for caller keys that were replaced on request.
	ReasonCallerKeysRotated = "CallerKeysRotated"
	// ReasonCallerAuthoritiesUnusable means that the Secret in `callerVerification.clientCertificate.authoritiesRef` has no usable
	// certificates. No ingress of the site is answered.
	ReasonCallerAuthoritiesUnusable = "CallerAuthoritiesUnusable"
	// ReasonWebhookWithoutTLS means that `callerVerification` asks for client certificates, and the webhook speaks plain HTTP.
	ReasonWebhookWithoutTLS = "WebhookWithoutTLS"
	// ReasonSiteMemoryDamaged means that the operator cannot read which tokens of earlier sites of this name are dead.
	ReasonSiteMemoryDamaged = "SiteMemoryDamaged"
	// ReasonEpochFarAhead means that `issuedAfter` is more than 24 hours ahead: all tokens are dead until then.
	ReasonEpochFarAhead = "EpochFarAhead"
)

// ConditionUpstreamReachable says whether the product answers at `upstreamURL`.
const ConditionUpstreamReachable = "UpstreamReachable"

// Reasons of the UpstreamReachable condition.
const (
	// ReasonAnswered means that the product in `product` answered.
	ReasonAnswered = "Answered"
	// ReasonNoAnswer means that no product answered.
	ReasonNoAnswer = "NoAnswer"
	// ReasonWrongProduct means that a product other than the one in `product` answered.
	ReasonWrongProduct = "WrongProduct"
	// ReasonCertificateRefused means that the certificate of an https `upstreamURL` is not trusted.
	ReasonCertificateRefused = "CertificateRefused"
	// ReasonCAUnusable means that the Secret in `upstreamCARef` has no usable certificates. No request was sent.
	ReasonCAUnusable = "CAUnusable"
)

// ConditionIngressProtected says whether the ingress of an AtlassianSite asks the webhook and serves nobody without a credential,
// as a client finds it at `baseURL`. It is no part of Ready. It is absent until the operator has looked.
const ConditionIngressProtected = "IngressProtected"

// Reasons of the IngressProtected condition.
const (
	// ReasonProtected means that the ingress asks the webhook and follows its verdicts.
	ReasonProtected = "Protected"
	// ReasonOpenDoor means that a request without a valid credential is served as a user.
	ReasonOpenDoor = "OpenDoor"
	// ReasonIdentityHeaderNotCleared means that a client can name the user in a header that the product believes.
	ReasonIdentityHeaderNotCleared = "IdentityHeaderNotCleared"
	// ReasonGatewayDoesNotAsk means that tokens are not refused by the webhook: they reach the product.
	ReasonGatewayDoesNotAsk = "GatewayDoesNotAsk"
	// ReasonWebhookNotReached means that the ingress gets no verdict, and answers tokens with an error.
	ReasonWebhookNotReached = "WebhookNotReached"
	// ReasonOtherSite means that the ingress asks about another site.
	ReasonOtherSite = "OtherSite"
	// ReasonWrongContract means that the ingress asks by a contract that is not its own, so that clients say what is judged.
	ReasonWrongContract = "WrongContract"
	// ReasonPathAltered means that the ingress tells the webhook another path than the client's.
	ReasonPathAltered = "PathAltered"
	// ReasonVerdictCached means that the ingress keeps verdicts: a revoked token goes on working.
	ReasonVerdictCached = "VerdictCached"
	// ReasonAnswerAltered means that the ingress alters what the webhook answers, or passes on what is for the product alone.
	ReasonAnswerAltered = "AnswerAltered"
	// ReasonBaseURLUnreachable means that the operator gets no answer at `baseURL`. The message has the error.
	ReasonBaseURLUnreachable = "BaseURLUnreachable"
	// ReasonBaseURLRedirects means that every request is redirected.
	ReasonBaseURLRedirects = "BaseURLRedirects"
	// ReasonInconclusive means that the answers say nothing: the product is down, or the ingress limits the rate.
	ReasonInconclusive = "Inconclusive"
)

// ConditionUpstreamCredentialsReady says whether every personal access token can be used: those in `upstreamCredentials`,
// and those that the portal created for token owners.
const ConditionUpstreamCredentialsReady = "UpstreamCredentialsReady"

// Reasons of the UpstreamCredentialsReady condition.
const (
	// ReasonVerified means that the product confirmed the owner of every personal access token.
	ReasonVerified = "Verified"
	// ReasonNoneConfigured means that there is no personal access token: `upstreamCredentials` is empty, and no user enrolled.
	ReasonNoneConfigured = "NoneConfigured"
	// ReasonNotNeeded means that the site hands users over in a header, so that personal access tokens are not used.
	ReasonNotNeeded = "NotNeeded"
	// ReasonUpstreamChanged means that a personal access token was obtained from an origin other than that of `upstreamURL`.
	ReasonUpstreamChanged = "UpstreamChanged"
	// ReasonCredentialUnusable means that a Secret is missing or malformed, that the product names another user as the
	// owner of the personal access token, or that the product no longer accepts it.
	ReasonCredentialUnusable = "CredentialUnusable"
	// ReasonRenewalRefused means that the product refuses to replace a personal access token that expires soon.
	ReasonRenewalRefused = "RenewalRefused"
)

// Reasons of Events about an AtlassianSite.
const (
	// ReasonUpstreamCredentialRefused is the reason of the Event for a personal access token that the product no longer
	// accepts.
	ReasonUpstreamCredentialRefused = "UpstreamCredentialRefused"
	// ReasonUpstreamCredentialWithdrawn is the reason of the Event for a personal access token that belongs to another user
	// and was therefore removed.
	ReasonUpstreamCredentialWithdrawn = "UpstreamCredentialWithdrawn"
)

// ConditionAdmissionGuarded says of an AtlassianSite that the admission policies are in force, which say who may issue tokens.
const ConditionAdmissionGuarded = "AdmissionGuarded"

// ReasonPoliciesInForce is the reason of the AdmissionGuarded condition while every policy is installed and bound without limits.
// Otherwise it is ReasonAdmissionPolicyMissing.
const ReasonPoliciesInForce = "PoliciesInForce"

// ConditionLicensed says whether the licence of an AtlassianSite is valid. It is absent if the operator does not verify
// licences.
const ConditionLicensed = "Licensed"

// Reasons of the Licensed condition.
const (
	// ReasonLicenseValid means that the licence is valid.
	ReasonLicenseValid = "LicenseValid"
	// ReasonLicenseMissing means that `licenseSecretRef` is absent, or that its Secret or key does not exist.
	ReasonLicenseMissing = "LicenseMissing"
	// ReasonLicenseMalformed means that the value is not a licence.
	ReasonLicenseMalformed = "LicenseMalformed"
	// ReasonLicenseWrongSignature means that no key of the operator verifies the signature of the licence.
	ReasonLicenseWrongSignature = "LicenseWrongSignature"
	// ReasonLicenseExpired means that the licence has expired.
	ReasonLicenseExpired = "LicenseExpired"
	// ReasonLicenseWrongProduct means that the licence is for another product.
	ReasonLicenseWrongProduct = "LicenseWrongProduct"
)

// ConditionGatewaysConfigured says whether the operator wrote what each of the `gateways` of an AtlassianSite needs. It is absent
// if there is none.
const ConditionGatewaysConfigured = "GatewaysConfigured"

// Reasons of the GatewaysConfigured condition. It also has ReasonWriteRefused.
const (
	// ReasonConfigured means that everything is written.
	ReasonConfigured = "Configured"
	// ReasonGatewayNotInstalled means that the cluster does not have the kinds of the gateway.
	ReasonGatewayNotInstalled = "GatewayNotInstalled"
	// ReasonGatewayRouteMissing means that an object that the entry names does not exist: its Ingress, HTTPRoute or IngressRoute, or
	// the Secret with its client certificate.
	ReasonGatewayRouteMissing = "GatewayRouteMissing"
	// ReasonGatewayConflict means that an object or an annotation is there already, and is not the operator's.
	ReasonGatewayConflict = "GatewayConflict"
	// ReasonGatewayUnsafe means that something else in the route defeats the question to the webhook.
	ReasonGatewayUnsafe = "GatewayUnsafe"
	// ReasonGatewayNotAccepted means that the gateway does not accept the object. The message has its words.
	ReasonGatewayNotAccepted = "GatewayNotAccepted"
	// ReasonGatewayUnsupported means that this version of the operator, or its setting, cannot serve the entry.
	ReasonGatewayUnsupported = "GatewayUnsupported"
)
