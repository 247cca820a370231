package authn

// Reason says why a request got its verdict, from a closed set. Logs and metrics have it. The client sees it only where
// the verdict is Forbidden.
type Reason string

// Allow and Forward: 200.
const (
	// ReasonAuthenticated: a token was verified, and its owner acts.
	ReasonAuthenticated Reason = "authenticated"
	// ReasonNoToken: no token of ours was presented.
	ReasonNoToken Reason = "no_token"
	// ReasonPasswordObserved: no token of ours, and the site observes passwords. The next three are the same for other classes.
	ReasonPasswordObserved  Reason = "password_observed"
	ReasonBearerObserved    Reason = "bearer_observed"
	ReasonSessionObserved   Reason = "session_observed"
	ReasonAnonymousObserved Reason = "anonymous_observed"
)

// Unauthorized: 401. The credential does not authenticate, or there is none. All of them look the same to the client.
const (
	// ReasonMalformedCredential: several Authorization headers, or Basic that is not base64 of user:password.
	ReasonMalformedCredential Reason = "malformed_credential"
	// ReasonSchemeNotAccepted: a token in another place than where the site accepts one.
	ReasonSchemeNotAccepted Reason = "scheme_not_accepted"
	// ReasonMalformedToken: wrong length, alphabet or checksum.
	ReasonMalformedToken Reason = "malformed_token"
	// ReasonUnknownToken: no token of the site has this id, or more than one has.
	ReasonUnknownToken Reason = "unknown_token"
	// ReasonAmbiguousToken: two imported tokens of the user have this secret.
	ReasonAmbiguousToken Reason = "ambiguous_token"
	// ReasonWrongSecret: the id is known, the secret is not its own.
	ReasonWrongSecret Reason = "wrong_secret"
	// ReasonWrongUser: the token belongs to another user.
	ReasonWrongUser Reason = "wrong_user"
	// ReasonAmbiguousPath: two servers could read the path differently, or the product could run another one.
	ReasonAmbiguousPath Reason = "ambiguous_path"
	// ReasonPathNotAccepted: the path is not below one of the `tokenPaths`.
	ReasonPathNotAccepted Reason = "path_not_accepted"
	// ReasonNamespaceNotAllowed: the site does not accept tokens of this namespace.
	ReasonNamespaceNotAllowed Reason = "namespace_not_allowed"
	// ReasonUserBlocked: the owner is one of the `blockedUsers` of the site.
	ReasonUserBlocked Reason = "user_blocked"
	// ReasonDeleted: the APIToken was deleted, at most 30 days ago. An imported secret has this reason with Forward.
	ReasonDeleted Reason = "deleted"
	// ReasonSuspended: the `state` of the APIToken is not Active.
	ReasonSuspended Reason = "suspended"
	// ReasonExpired: the secret has reached its end.
	ReasonExpired Reason = "expired"
	// ReasonReplaced: a rotation replaced the secret, and the overlap is over. An imported secret has it with Forward.
	ReasonReplaced Reason = "replaced"
	// ReasonRevokedByEpoch: the secret was issued before `issuedAfter` of the site.
	ReasonRevokedByEpoch Reason = "revoked_by_epoch"
	// ReasonProbeRefused: a probe of the controller that is not due yet, or for another path or site.
	ReasonProbeRefused Reason = "probe_refused"
	// ReasonChallenge: an anonymous request at one of the `challengePaths`. Its client waits for the challenge.
	ReasonChallenge Reason = "challenge"
	// ReasonAnonymousRefused: the site refuses anonymous requests.
	ReasonAnonymousRefused Reason = "anonymous_refused"
)

// Forbidden: 403. The request may not do this with its credential. The client is told which of these it is.
const (
	// ReasonPathCharacterNotAllowed: the path contains ';', '%' or '#', as names of attachments may. Servers disagree about
	// these, in any spelling.
	ReasonPathCharacterNotAllowed Reason = "PathCharacterNotAllowed"
	// ReasonCredentialPath: the path issues or sets credentials.
	ReasonCredentialPath Reason = "CredentialPath"
	// ReasonCredentialParameter: the query carries a credential, or a token of ours. A token there is refused
	// even if the request has no other.
	ReasonCredentialParameter Reason = "CredentialParameter"
	// ReasonInvalidLicenseMissing: the site has no licence, and the operator requires one. The next four reasons name
	// the fault of a licence that there is.
	ReasonInvalidLicenseMissing        Reason = "InvalidLicenseMissing"
	ReasonInvalidLicenseMalformed      Reason = "InvalidLicenseMalformed"
	ReasonInvalidLicenseWrongSignature Reason = "InvalidLicenseWrongSignature"
	ReasonInvalidLicenseWrongProduct   Reason = "InvalidLicenseWrongProduct"
	ReasonInvalidLicenseExpired        Reason = "InvalidLicenseExpired"
	// ReasonSourceNotAllowed: the request does not come from one of the `allowedSources`.
	ReasonSourceNotAllowed Reason = "SourceNotAllowed"
	// ReasonReadOnly: a read-only token, and a method that may change something.
	ReasonReadOnly Reason = "ReadOnly"
	// ReasonPathNotAllowed: the path is not below one of the `allowedPaths`.
	ReasonPathNotAllowed Reason = "PathNotAllowed"
	// ReasonUpstreamCredentialMissing: there is no personal access token of the owner for this site.
	ReasonUpstreamCredentialMissing Reason = "UpstreamCredentialMissing"
	// ReasonOwnerChanged: the name belongs to another user of the product than the one whose token it is.
	ReasonOwnerChanged Reason = "OwnerChanged"
	// ReasonUpstreamChanged: the personal access token was obtained from another server.
	ReasonUpstreamChanged Reason = "UpstreamChanged"
	// ReasonProbe: the controller asks through the ingress whether the webhook is asked. It is no token of anybody.
	ReasonProbe Reason = "Probe"
	// ReasonIdentityNotRepresentable: the name of the owner cannot be handed over in a header.
	ReasonIdentityNotRepresentable Reason = "IdentityNotRepresentable"
	// ReasonPasswordRefused: no token of ours, and the site refuses passwords. The next two are the same for other classes.
	ReasonPasswordRefused Reason = "PasswordRefused"
	ReasonBearerRefused   Reason = "BearerRefused"
	ReasonSessionRefused  Reason = "SessionRefused"
)

// CannotDecide: 503. There is no verdict. Only the log says which of these it is.
const (
	// ReasonNotReady: the index has not seen the whole initial list.
	ReasonNotReady Reason = "not_ready"
	// ReasonUnknownSite: there is no such AtlassianSite.
	ReasonUnknownSite Reason = "unknown_site"
	// ReasonCallerKeyMismatch: the caller key is not one of the site and contract.
	ReasonCallerKeyMismatch Reason = "caller_key_mismatch"
	// ReasonCallerCertificateMissing: the site wants a client certificate, and the caller presented none.
	ReasonCallerCertificateMissing Reason = "caller_certificate_missing"
	// ReasonCallerCertificateUntrusted: the client certificate leads to none of the site's authorities.
	ReasonCallerCertificateUntrusted Reason = "caller_certificate_untrusted"
	// ReasonCallerCertificateExpired: the client certificate or one of its authorities has ended, or is not valid yet.
	ReasonCallerCertificateExpired Reason = "caller_certificate_expired"
	// ReasonCallerCertificateUsage: the client certificate does not say that it is for client authentication.
	ReasonCallerCertificateUsage Reason = "caller_certificate_usage"
	// ReasonCallerCertificateName: the client certificate has none of the DNS names that the site accepts.
	ReasonCallerCertificateName Reason = "caller_certificate_name"
	// ReasonCallerAuthoritiesMissing: the authorities of the site's client certificates cannot be read. The conditions of the
	// site say why.
	ReasonCallerAuthoritiesMissing Reason = "caller_authorities_missing"
	// ReasonSiteNotRemembered: the controller has not said yet which tokens of earlier sites of this name are dead.
	ReasonSiteNotRemembered Reason = "site_not_remembered"
	// ReasonBusy: too many requests for the same user of the site wait for slow hashes, or this one waited too long.
	ReasonBusy Reason = "busy"
)
