package explain

import "apitokens.dev/operator/internal/authn"

// advice says what a reason means, and what to change. SITE, NAMESPACE and NAME in it stand for the names of objects.
type advice struct{ step, means, do string }

// The steps of the decision, in their order.
const (
	stepCaller       = "1, caller: is this the site's own gateway?"
	stepCredential   = "2, credential: exactly one, and is it an API token?"
	stepAuthenticate = "3, authenticate: does it verify?"
	stepAuthorize    = "4, authorize: may it do this?"
	stepAttach       = "5, attach: with what does the owner act at the product?"
)

// unknownContract is a reason that only the webhook's HTTP server has: there is no request to decide about.
const unknownContract authn.Reason = "unknown_contract"

const (
	describeSite = "Look at the conditions: kubectl describe atlassiansite SITE"
	takeURLs     = "Give the gateway the present auth URL of its own contract: kubectl apitoken urls SITE"
	enrol        = "The owner signs in and opens /plugins/servlet/api-tokens of the site, or an administrator adds their personal access token to " +
		"`upstreamCredentials`."
	otherCredential = "Use an API token, or change `otherCredentials` of the site. Its `exemptUsers` and `exemptPaths` let single passwords through."
	observing       = "Nothing, if that is wanted: the site observes such requests before it refuses them."
	takePath        = "Ask for a path as the product has it: no dot segments, no encoded slashes, nothing that servers read differently."
	licence         = "Renew the licence: kubectl apitoken license SITE"
	sendBasic       = "Send the token as the password of Basic: curl --user USER:TOKEN. Bearer works if `schemes` of the site lists it."
	certificate     = "Give the gateway a client certificate that the site accepts: docs/how-to/client-certificates.md"
	copyToken       = "Copy the token again, whole. If it is lost, rotate it or create another."
)

// reasons has the advice for every reason of a decision.
var reasons = map[authn.Reason]advice{
	authn.ReasonAuthenticated: {
		stepAttach, "The token was verified, and its owner acts at the product.",
		"Nothing: a refusal comes from the product itself.",
	},
	authn.ReasonNoToken: {
		stepCredential, "The request carries no API token: the product decides.",
		"To use a token, " + lowerFirst(sendBasic),
	},
	authn.ReasonPasswordObserved: {
		stepCredential, "The request carries a password and no API token: the product decides.",
		observing,
	},
	authn.ReasonBearerObserved: {
		stepCredential, "The request carries another credential of the product: the product decides.",
		observing,
	},
	authn.ReasonSessionObserved: {
		stepCredential, "The request carries a session and no API token: the product decides.",
		observing,
	},
	authn.ReasonAnonymousObserved: {
		stepCredential, "The request carries no credential: the product decides.",
		observing,
	},

	authn.ReasonMalformedCredential: {
		stepCredential, "There are several Authorization headers, or Basic is not base64 of user:password.",
		"Send one Authorization header. Look for a proxy or a client library that adds a second one.",
	},
	authn.ReasonSchemeNotAccepted: {
		stepCredential, "The token stands where the site accepts none.",
		sendBasic,
	},
	authn.ReasonMalformedToken: {
		stepAuthenticate, "The checksum, length or alphabet of the token is wrong: it is mistyped or cut off.",
		copyToken,
	},
	authn.ReasonUnknownToken: {
		stepAuthenticate, "No token of the site has this id: it never had, the token was deleted, it belongs to another site, or it is not " +
			"issued yet.",
		"Look for it: kubectl apitoken list -A. Create a token for this site if there is none.",
	},
	authn.ReasonAmbiguousToken: {
		stepAuthenticate, "Two imported tokens of the user have the same secret, so both are refused.",
		"Put another secret into the Secret of one of the two: its condition says DuplicateCredential.",
	},
	authn.ReasonWrongSecret: {
		stepAuthenticate, "The token id exists, with another secret.",
		"Read the delivered Secret again: the token was rotated. " + copyToken,
	},
	authn.ReasonWrongUser: {
		stepAuthenticate, "The user name is not that of the token's owner.",
		"Send the user name of the owner.",
	},
	authn.ReasonAmbiguousPath: {
		stepAuthenticate, "Two servers could read the path differently, or the product runs another one.",
		takePath,
	},
	authn.ReasonPathNotAccepted: {
		stepAuthenticate, "The path is not below one of the `tokenPaths` of the site.",
		"Add the path to `tokenPaths` of SITE, or ask below one of them.",
	},
	authn.ReasonNamespaceNotAllowed: {
		stepAuthenticate, "The site does not accept tokens of this namespace.",
		"Open the site to the namespace: `allowedNamespaces` of SITE, or the labels of the Namespace.",
	},
	authn.ReasonUserBlocked: {
		stepAuthenticate, "The owner is one of the `blockedUsers` of the site.",
		"Take the user out of `blockedUsers` of SITE.",
	},
	authn.ReasonDeleted: {
		stepAuthenticate, "The APIToken was deleted.",
		"Create another token: kubectl apitoken create",
	},
	authn.ReasonSuspended: {
		stepAuthenticate, "The token is suspended.",
		"kubectl apitoken resume NAME -n NAMESPACE",
	},
	authn.ReasonExpired: {
		stepAuthenticate, "The secret has reached its end.",
		"Rotate it (kubectl apitoken rotate NAME -n NAMESPACE), or extend `lifetimeDays` or `expirationTime`, as far as the site's policy allows.",
	},
	authn.ReasonReplaced: {
		stepAuthenticate, "A rotation replaced the secret, and the overlap is over.",
		"Read the delivered Secret again.",
	},
	authn.ReasonRevokedByEpoch: {
		stepAuthenticate, "The secret was issued before `issuedAfter` of the site.",
		"Read the delivered Secret again: generated tokens get new secrets. Rotate others on the page, or import another secret.",
	},
	authn.ReasonProbeRefused: {
		stepCredential, "It is a probe of the controller that is not due yet, or for another path or site.",
		"Nothing: the controller asks so whether the door is shut.",
	},
	authn.ReasonChallenge: {
		stepCredential, "An anonymous request at one of the `challengePaths`: its client waits for this 401.",
		"Send the credential after it, as such clients do.",
	},
	authn.ReasonAnonymousRefused: {
		stepCredential, "The site refuses anonymous requests.",
		"Send a credential, or change `otherCredentials.anonymous` of SITE.",
	},

	authn.ReasonPathCharacterNotAllowed: {
		stepAuthorize, "The path contains ';', '%' or '#', as names of attachments may. Servers disagree about these.",
		"Rename the file, or fetch it with another credential.",
	},
	authn.ReasonCredentialPath: {
		stepAuthorize, "The path issues or sets a credential. A token must not turn itself into one that outlives it.",
		"Do this with another credential: sign in to the product.",
	},
	authn.ReasonCredentialParameter: {
		stepAuthorize, "The query carries a credential, or a token.",
		"Take os_username, os_password, os_authType, os_cookie and tokens out of the query. A token that stood there is in logs: rotate it.",
	},
	authn.ReasonInvalidLicenseMissing: {
		stepAuthorize, "The site has no licence, and the operator requires one.",
		licence,
	},
	authn.ReasonInvalidLicenseMalformed: {
		stepAuthorize, "The licence of the site cannot be read.",
		licence,
	},
	authn.ReasonInvalidLicenseWrongSignature: {
		stepAuthorize, "No key of the operator verifies the licence of the site.",
		licence,
	},
	authn.ReasonInvalidLicenseWrongProduct: {
		stepAuthorize, "The licence of the site is for another product.",
		licence,
	},
	authn.ReasonInvalidLicenseExpired: {
		stepAuthorize, "The licence of the site has expired.",
		licence,
	},
	authn.ReasonSourceNotAllowed: {
		stepAuthorize, "The client's address is in none of the `allowedSources`, or is not known.",
		"Add the network to `allowedSources` of NAME or SITE. If the address is that of a proxy: docs/how-to/client-addresses.md",
	},
	authn.ReasonReadOnly: {
		stepAuthorize, "The token is read-only, and the method may change something.",
		"Set `access: ReadWrite` of NAME, and of `tokenPolicy` of SITE if that is read-only.",
	},
	authn.ReasonPathNotAllowed: {
		stepAuthorize, "The path is not one of `allowedPaths` of the token, and not below one.",
		"Add the path to `allowedPaths` of NAME. /rest/api/2/ and /rest/api/latest/ are two paths.",
	},

	authn.ReasonUpstreamCredentialMissing: {
		stepAttach, "The operator holds no personal access token of the owner that the product accepts.",
		enrol,
	},
	authn.ReasonOwnerChanged: {
		stepAttach, "The name of the owner belongs to another user of the product now.",
		"Create another token for the present user, and revoke this one.",
	},
	authn.ReasonUpstreamChanged: {
		stepAttach, "The personal access token was obtained from another server than the present `upstreamURL`.",
		enrol,
	},
	authn.ReasonProbe: {
		stepCredential, "The controller asks whether the webhook is asked.",
		"Nothing: it is no token of anybody.",
	},
	authn.ReasonIdentityNotRepresentable: {
		stepAttach, "The site hands users over in a header, which cannot hold the name of the owner.",
		"Use a site with `handoff` PersonalAccessToken, or a user whose name is plain ASCII.",
	},
	authn.ReasonPasswordRefused: {
		stepCredential, "The request carries a password, and the site refuses passwords.",
		otherCredential,
	},
	authn.ReasonBearerRefused: {
		stepCredential, "The request carries another credential of the product, and the site refuses those.",
		otherCredential,
	},
	authn.ReasonSessionRefused: {
		stepCredential, "The request carries a session, and the site refuses sessions.",
		otherCredential,
	},

	unknownContract: {
		stepCaller, "The gateway's question is at no auth URL, or lacks a header of its contract.",
		takeURLs,
	},
	authn.ReasonNotReady: {
		stepCaller, "The webhook has not loaded its data yet.",
		"Wait a moment. If it stays, look at the log of the webhook: can it reach the API server?",
	},
	authn.ReasonUnknownSite: {
		stepCaller, "There is no such AtlassianSite, or it is not served.",
		describeSite,
	},
	authn.ReasonCallerKeyMismatch: {
		stepCaller, "The gateway has a wrong caller key: an old auth URL, that of another contract, or somebody who tries.",
		takeURLs,
	},
	authn.ReasonCallerCertificateMissing: {
		stepCaller, "The site wants a client certificate, and the gateway presented none.",
		certificate,
	},
	authn.ReasonCallerCertificateUntrusted: {
		stepCaller, "None of the site's authorities signed the gateway's certificate, or an intermediate one was not sent.",
		certificate,
	},
	authn.ReasonCallerCertificateExpired: {
		stepCaller, "The gateway's certificate, or that of an authority, has ended or is not valid yet.",
		certificate,
	},
	authn.ReasonCallerCertificateUsage: {
		stepCaller, "The gateway's certificate does not say that it is for client authentication.",
		certificate,
	},
	authn.ReasonCallerCertificateName: {
		stepCaller, "None of the DNS names of the gateway's certificate is one of the site's `names`.",
		certificate,
	},
	authn.ReasonCallerAuthoritiesMissing: {
		stepCaller, "The authorities of the site's client certificates cannot be read.",
		describeSite,
	},
	authn.ReasonSiteNotRemembered: {
		stepCaller, "The controller has not said yet which tokens of earlier sites of this name are dead.",
		"Look whether the controller runs.",
	},
	authn.ReasonBusy: {
		stepAuthenticate, "Too many requests for this user wait for slow hashes of imported secrets.",
		"Try again. Somebody may be guessing: look for wrong_secret in the log. Import a secret of 20 random characters or more: it needs no slow hash.",
	},
}
