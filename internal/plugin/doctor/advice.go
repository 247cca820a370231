package doctor

import (
	"strings"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

// advices says what mends a condition, by its reason. KIND, NAMESPACE and NAME stand for the object's. The message of the condition says
// what is wrong, in the operator's words.
var advices = map[string]string{
	// Of both kinds.
	tokensv1alpha1.ReasonInvalid: "kubectl -n NAMESPACE edit KIND NAME, and correct the value that the message names",
	tokensv1alpha1.ReasonWriteRefused: "remove the quota, the policy or the lack of a right that the message quotes: the operator tries again " +
		"every minute",
	tokensv1alpha1.ReasonAdmissionPolicyMissing: "kubectl apply --server-side -k config/core (or: helm upgrade)",

	// Of a site.
	tokensv1alpha1.ReasonBaseURLConflict: "kubectl -n NAMESPACE edit KIND NAME, and correct baseURL; or delete the site that is too many (kubectl " +
		"get atlassiansites -A)",
	tokensv1alpha1.ReasonUpstreamNotAllowed: "kubectl -n NAMESPACE edit KIND NAME, and set upstreamURL to a Service of its namespace; or start the " +
		"controller with --allow-external-upstreams",
	tokensv1alpha1.ReasonAuthURLConflict: "kubectl -n NAMESPACE delete secret NAME-auth-urls, once nobody needs its content: the operator makes it " +
		"anew",
	tokensv1alpha1.ReasonCallerKeysDamaged: "kubectl -n apitoken-credentials delete secret caller-keys.NAMESPACE.NAME, and give the ingress the new " +
		"key: docs/how-to/rotate-caller-keys.md",
	tokensv1alpha1.ReasonCallerAuthoritiesUnusable: "put certificates into the Secret that callerVerification names: docs/how-to/client-certificates.md",
	tokensv1alpha1.ReasonWebhookWithoutTLS:         "have the webhook serve TLS: docs/how-to/tls.md",
	tokensv1alpha1.ReasonSiteMemoryDamaged:         "restore the Secret memory.NAMESPACE.NAME in apitoken-system from a backup: docs/how-to/restore.md",
	tokensv1alpha1.ReasonEpochFarAhead: "wait until issuedAfter has come; or, if it is a mistake: kubectl -n NAMESPACE delete KIND NAME, and " +
		"create it again",
	tokensv1alpha1.ReasonNoAnswer: "kubectl -n NAMESPACE get pods,services: start the product; or kubectl -n NAMESPACE edit KIND NAME, and " +
		"correct upstreamURL",
	tokensv1alpha1.ReasonWrongProduct: "kubectl -n NAMESPACE edit KIND NAME, and correct upstreamURL; or create the site again with the other " +
		"product",
	tokensv1alpha1.ReasonCertificateRefused: "put the authority of the product into the Secret of upstreamCARef: docs/how-to/tls.md",
	tokensv1alpha1.ReasonCAUnusable: "kubectl -n NAMESPACE create secret generic SECRET --from-file=ca.crt, with the name and the key in the " +
		"message",
	tokensv1alpha1.ReasonCredentialUnusable: "put working personal access tokens into the Secrets of the users in the message; users without an entry " +
		"sign in and open the page: docs/how-to/runbooks/pat-refused.md",
	tokensv1alpha1.ReasonRenewalRefused: "have the users in the message remove personal access tokens that they do not need, in their profiles at " +
		"the product",
	tokensv1alpha1.ReasonUpstreamChanged: "put personal access tokens of the server at upstreamURL into the Secrets that the message names; users " +
		"sign in and open the page",

	tokensv1alpha1.ReasonOpenDoor: "shut the ingress now; then have it add no identity and no credential, and keep no answers: " +
		"docs/how-to/runbooks/open-door.md",
	tokensv1alpha1.ReasonIdentityHeaderNotCleared: "have the ingress remove the header, on every path and in each spelling: " +
		"docs/how-to/identity-header.md#3-clear-the-header-everywhere",
	tokensv1alpha1.ReasonGatewayDoesNotAsk: "kubectl apitoken urls NAME -n NAMESPACE, and give the ingress its auth URL again: " +
		"docs/how-to/gateways/README.md",
	tokensv1alpha1.ReasonWebhookNotReached: "kubectl apitoken urls NAME -n NAMESPACE --show-keys, and compare auth URL and caller key; kubectl -n " +
		"apitoken-system get pods: docs/how-to/runbooks/no-verdict.md",
	tokensv1alpha1.ReasonOtherSite: "kubectl apitoken urls NAME -n NAMESPACE, and give the ingress the auth URL of this site",
	tokensv1alpha1.ReasonWrongContract: "kubectl apitoken urls NAME -n NAMESPACE --gateway (its own kind), and give the ingress this auth URL and " +
		"the headers of its sample",
	tokensv1alpha1.ReasonPathAltered: "have the ingress ask before it rewrites the path: compare it with the sample, " +
		"docs/how-to/gateways/README.md",
	tokensv1alpha1.ReasonVerdictCached: "turn the cache of verdicts off: auth-cache-key of ingress-nginx, proxy_cache of nginx",
	tokensv1alpha1.ReasonAnswerAltered: "have the ingress pass on 401 and 403 as they are, and no header of a 200 to clients: " +
		"docs/how-to/is-the-door-shut.md#what-it-finds",
	tokensv1alpha1.ReasonBaseURLUnreachable: "let the controller reach baseURL: DNS, egress, certificate; or kubectl -n NAMESPACE edit KIND NAME, and " +
		"correct it: docs/how-to/runbooks/door-unknown.md",
	tokensv1alpha1.ReasonBaseURLRedirects: "kubectl -n NAMESPACE edit KIND NAME, and set baseURL to the address that answers",
	tokensv1alpha1.ReasonInconclusive: "see that the product runs, and exempt the controller from limits of the ingress: " +
		"docs/how-to/runbooks/door-unknown.md",

	tokensv1alpha1.ReasonGatewayNotInstalled: "install the gateway, or take its entry out of gateways: kubectl -n NAMESPACE edit KIND NAME",
	tokensv1alpha1.ReasonGatewayRouteMissing: "create the object that the message names, or correct the entry: kubectl -n NAMESPACE edit KIND NAME",
	tokensv1alpha1.ReasonGatewayConflict:     "remove the object or the annotation that the message names: the operator then writes its own",
	tokensv1alpha1.ReasonGatewayUnsafe:       "remove the annotation that the message names from the Ingress",
	tokensv1alpha1.ReasonGatewayNotAccepted:  "change the route as the message of the gateway says: docs/how-to/runbooks/gateway-refused.md",
	tokensv1alpha1.ReasonGatewayUnsupported:  "kubectl -n NAMESPACE edit KIND NAME, and change the entry of gateways as the message says",

	tokensv1alpha1.ReasonLicenseMissing:        "put the licence where the message says: docs/how-to/licences.md",
	tokensv1alpha1.ReasonLicenseMalformed:      "put the licence where the message says, exactly as it was issued",
	tokensv1alpha1.ReasonLicenseWrongSignature: "get a licence for this operator, or start it with the key: --license-public-keys",
	tokensv1alpha1.ReasonLicenseExpired:        "put a new licence where the message says: docs/how-to/licences.md#renew-a-licence",
	tokensv1alpha1.ReasonLicenseWrongProduct:   "get a licence for this product, and put it where the message says",

	// Of an APIToken.
	tokensv1alpha1.ReasonPolicyViolation: "kubectl -n NAMESPACE edit KIND NAME, as the message says",
	tokensv1alpha1.ReasonNamespaceNotAllowed: "let the namespace in, by allowedNamespaces of the site or by a label of the Namespace; or kubectl " +
		"apitoken revoke NAME -n NAMESPACE",
	tokensv1alpha1.ReasonOwnerChanged:        "kubectl apitoken describe NAME -n NAMESPACE says whose it is; then revoke it and create another",
	tokensv1alpha1.ReasonSourceMissing:       "create the Secret with the key that the message names",
	tokensv1alpha1.ReasonWeakCredential:      "put a secret into the Secret that fulfils what the message says: docs/how-to/import-secrets.md",
	tokensv1alpha1.ReasonDuplicateCredential: "kubectl apitoken revoke NAME -n NAMESPACE, or the other one that the message names",
	tokensv1alpha1.ReasonSiteNotFound:        "create the AtlassianSite, or kubectl apitoken revoke NAME -n NAMESPACE",
	tokensv1alpha1.ReasonSiteInvalid:         "correct the AtlassianSite: kubectl get atlassiansites -A shows it",
	tokensv1alpha1.ReasonDeliveryConflict: "kubectl apitoken revoke NAME -n NAMESPACE, and create it with another --secret; or delete the Secret, if " +
		"nobody needs it",
	tokensv1alpha1.ReasonRecordMissing:  "delete the delivered Secret to get a new token, or restore the record: docs/how-to/restore.md",
	tokensv1alpha1.ReasonRecordOrphaned: "delete the delivered Secret to get a new token, or repair the record: docs/how-to/restore.md",
	tokensv1alpha1.ReasonRecordDamaged: "restore the record, or kubectl apitoken revoke NAME -n NAMESPACE, and create it again: " +
		"docs/how-to/restore.md",
	tokensv1alpha1.ReasonAdmissionNotVerified: "remove the rule that the message quotes, or exempt the operator from it",
	tokensv1alpha1.ReasonDeclaredUnguarded: "see who declared it, then create it again: kubectl -n NAMESPACE get KIND NAME -o yaml > t.yaml; kubectl " +
		"-n NAMESPACE replace --force -f t.yaml",
	tokensv1alpha1.ReasonUpstreamCredentialMissing: "have the owner sign in and open the page of the portal; or add an entry to upstreamCredentials of the " +
		"site",
	tokensv1alpha1.ReasonIdentityNotRepresentable: "hand this user over with a personal access token: handoff of the site; a header cannot hold this name",
	tokensv1alpha1.ReasonExpiresSoon:              "kubectl apitoken rotate NAME -n NAMESPACE",
}

// intended are the reasons that somebody asked for, and those that pass by themselves or are as they should be.
var intended = map[string]bool{
	tokensv1alpha1.ReasonSuspended: true, tokensv1alpha1.ReasonUserBlocked: true, tokensv1alpha1.ReasonExpired: true,
	tokensv1alpha1.ReasonRevokedByEpoch: true, tokensv1alpha1.ReasonEpochPending: true, tokensv1alpha1.ReasonIssuePending: true,
	tokensv1alpha1.ReasonExpiresLater: true, tokensv1alpha1.ReasonNoneConfigured: true,
}

// adviceOf returns what mends a condition of an object.
func adviceOf(reason, kind, namespace, name string) string {
	return strings.NewReplacer("NAMESPACE", namespace, "KIND", strings.ToLower(kind), "NAME", name).Replace(advices[reason])
}
