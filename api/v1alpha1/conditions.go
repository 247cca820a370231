package v1alpha1

// ConditionReady says of an APIToken that it authenticates, and of an AtlassianSite that its tokens do.
const ConditionReady = "Ready"

// Reasons of an APIToken's Ready condition.
const (
	// ReasonIssued means that the token was issued and delivered.
	ReasonIssued = "Issued"
	// ReasonReissued is the reason of the Event that a token was delivered anew because its Secret was gone.
	ReasonReissued = "Reissued"
	// ReasonRotated is the reason of the Event that the delivered token was replaced by a new one.
	ReasonRotated = "Rotated"
	// ReasonExpired means that the token has come to its end.
	ReasonExpired = "Expired"
	// ReasonSuspended means that `state` says that the token is not to authenticate.
	ReasonSuspended = "Suspended"
	// ReasonPolicyViolation means that the token asks for more than its site allows; the message says which rule.
	ReasonPolicyViolation = "PolicyViolation"
	// ReasonNamespaceNotAllowed means that the site is not open to the namespace of the APIToken.
	ReasonNamespaceNotAllowed = "NamespaceNotAllowed"
	// ReasonRevokedByEpoch means that the token was issued before `issuedAfter` of its site.
	ReasonRevokedByEpoch = "RevokedByEpoch"
	// ReasonImported means that the secret was imported, and authenticates. It is also the reason of the Event.
	ReasonImported = "Imported"
	// ReasonSourceMissing means that there is nothing to import where `credential.imported` says.
	ReasonSourceMissing = "SourceMissing"
	// ReasonWeakCredential means that a secret cannot be imported as it is; the message says why.
	ReasonWeakCredential = "WeakCredential"
	// ReasonDuplicateCredential means that another APIToken of the same user has the same secret.
	ReasonDuplicateCredential = "DuplicateCredential"
	// ReasonSiteNotFound means that there is no AtlassianSite of the name in `siteRef`.
	ReasonSiteNotFound = "SiteNotFound"
	// ReasonDeliveryConflict means that the Secret to deliver to exists and is not one that the operator delivered.
	ReasonDeliveryConflict = "DeliveryConflict"
	// ReasonRecordMissing means that the record of an issued token is gone; the delivered token is dead.
	ReasonRecordMissing = "RecordMissing"
	// ReasonRecordOrphaned means that the delivered token belongs to the record of an earlier APIToken of the same name,
	// as after a restore from a backup; it is also the reason of the Event on such a record.
	ReasonRecordOrphaned = "RecordOrphaned"
	// ReasonRecordDamaged means that the record cannot be read or belongs to another user, site or APIToken.
	ReasonRecordDamaged = "RecordDamaged"
	// ReasonIssuePending means that something has to end first, and soon will: earlier attempts to deliver that were cut
	// short, or the removal of what a deleted APIToken of the same name left.
	ReasonIssuePending = "IssuePending"
	// ReasonAdmissionPolicyMissing means that the API server would let anyone issue tokens for anyone.
	ReasonAdmissionPolicyMissing = "AdmissionPolicyMissing"
	// ReasonUpstreamCredentialMissing means that the operator holds no personal access token of the user.
	ReasonUpstreamCredentialMissing = "UpstreamCredentialMissing"
)

// ConditionExpiring says of an APIToken that has an end whether it comes soon.
const ConditionExpiring = "Expiring"

// Reasons of the Expiring condition.
const (
	// ReasonExpiresSoon means that the token will end soon, and that no rotation comes before.
	ReasonExpiresSoon = "ExpiresSoon"
	// ReasonExpiresLater means that it will not, or that a rotation comes before.
	ReasonExpiresLater = "ExpiresLater"
)

// Reasons of an AtlassianSite's Ready condition.
const (
	// ReasonServing means that the webhook answers for the site.
	ReasonServing = "Serving"
	// ReasonBaseURLConflict means that an older site has the same `baseURL`.
	ReasonBaseURLConflict = "BaseURLConflict"
	// ReasonUpstreamNotAllowed means that `upstreamURL` is not a Service in the namespace of the site.
	ReasonUpstreamNotAllowed = "UpstreamNotAllowed"
	// ReasonAuthURLConflict means that the Secret for the auth URLs exists and is not one that the operator wrote.
	ReasonAuthURLConflict = "AuthURLConflict"
	// ReasonCallerKeysDamaged means that the stored caller keys of the site cannot be read.
	ReasonCallerKeysDamaged = "CallerKeysDamaged"
)

// ConditionUpstreamReachable says that the product answers at `upstreamURL`.
const ConditionUpstreamReachable = "UpstreamReachable"

// Reasons of the UpstreamReachable condition.
const (
	// ReasonAnswered means that the product answered as the product that the site names.
	ReasonAnswered = "Answered"
	// ReasonNoAnswer means that nothing, or something else, answered.
	ReasonNoAnswer = "NoAnswer"
	// ReasonWrongProduct means that another product answered than the site names.
	ReasonWrongProduct = "WrongProduct"
	// ReasonCertificateRefused means that the certificate at an https `upstreamURL` was not accepted.
	ReasonCertificateRefused = "CertificateRefused"
	// ReasonCAUnusable means that `upstreamCARef` leads to no certificates, so nothing was asked.
	ReasonCAUnusable = "CAUnusable"
)

// ConditionUpstreamCredentialsReady says that every personal access token is in use: those of `upstreamCredentials`, and those
// of users who have APITokens and signed in to the product for them.
const ConditionUpstreamCredentialsReady = "UpstreamCredentialsReady"

// Reasons of the UpstreamCredentialsReady condition.
const (
	// ReasonVerified means that the product confirmed the owner of every personal access token.
	ReasonVerified = "Verified"
	// ReasonUpstreamChanged means that a personal access token was obtained from another origin than `upstreamURL`.
	ReasonUpstreamChanged = "UpstreamChanged"
	// ReasonCredentialUnusable means that a Secret is missing or malformed, that the product names another user, or that it
	// accepts the personal access token of a user no longer.
	ReasonCredentialUnusable = "CredentialUnusable"
	// ReasonRenewalRefused means that the product makes no new personal access token in place of one that ends soon.
	ReasonRenewalRefused = "RenewalRefused"
)

// Reasons of Events about an AtlassianSite.
const (
	// ReasonUpstreamCredentialRefused is the reason of the Event that the product accepts a personal access token no longer.
	ReasonUpstreamCredentialRefused = "UpstreamCredentialRefused"
	// ReasonUpstreamCredentialWithdrawn is the reason of the Event that a personal access token turned out to be that of
	// another user, and is not held any more.
	ReasonUpstreamCredentialWithdrawn = "UpstreamCredentialWithdrawn"
)

// ConditionLicensed says of an AtlassianSite that its licence is valid. It is there only where licences are verified.
const ConditionLicensed = "Licensed"

// Reasons of the Licensed condition.
const (
	// ReasonLicenseValid means that the licence is valid.
	ReasonLicenseValid = "LicenseValid"
	// ReasonLicenseMissing means that there is no licence where `licenseSecretRef` says, or that it says nothing.
	ReasonLicenseMissing = "LicenseMissing"
	// ReasonLicenseMalformed means that what lies there is no licence.
	ReasonLicenseMalformed = "LicenseMalformed"
	// ReasonLicenseWrongSignature means that no key of the operator's verifies it.
	ReasonLicenseWrongSignature = "LicenseWrongSignature"
	// ReasonLicenseExpired means that it has come to its end.
	ReasonLicenseExpired = "LicenseExpired"
	// ReasonLicenseWrongProduct means that it is for another product.
	ReasonLicenseWrongProduct = "LicenseWrongProduct"
)
