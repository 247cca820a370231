package config_test

import tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"

// The users of the tests, named by their rights.
var (
	group       = tokensv1alpha1.GroupVersion.Group
	tokens      = []string{"apitokens"}
	secrets     = []string{"secrets"}
	write       = []string{"create", "get", "update", "patch"}
	writeSecret = []string{"create", "get", "update", "patch", "delete"}
	everything  = []string{"*"}
	statuses    = []string{"apitokens/status", "atlassiansites/status"}
)

// foreignAccount is a service account in the operator's namespace that is not one of the operator's.
const foreignAccount = serviceAccountPrefix + systemNamespace + ":foreign"

var grants = []grant{
	{who: "writer", namespace: teamNamespace, group: group, resources: tokens, verbs: write},

	{who: "issuer-for-alice", namespace: teamNamespace, group: group, resources: tokens, verbs: write},
	{who: "issuer-for-alice", namespace: teamNamespace, group: group, resources: tokens, verbs: []string{"issue"}, names: []string{"alice"}},

	{who: "issuer-for-all", namespace: teamNamespace, group: group, resources: tokens, verbs: write},
	{who: "issuer-for-all", namespace: teamNamespace, group: group, resources: tokens, verbs: []string{"issue"}},

	{who: "issuer-elsewhere", namespace: teamNamespace, group: group, resources: tokens, verbs: write},
	{who: "issuer-elsewhere", namespace: otherNamespace, group: group, resources: tokens, verbs: write},
	{who: "issuer-elsewhere", namespace: otherNamespace, group: group, resources: tokens, verbs: []string{"issue"}},

	{who: "issuer-everywhere", group: group, resources: tokens, verbs: write},
	{who: "issuer-everywhere", group: group, resources: tokens, verbs: []string{"issue"}, names: []string{"alice"}},

	// The verb * includes the verb issue.
	{who: "owner", namespace: teamNamespace, group: group, resources: tokens, verbs: everything},

	{who: "deleter", namespace: teamNamespace, group: group, resources: tokens, verbs: []string{"delete", "deletecollection"}},

	{who: "status-writer", group: group, resources: statuses, verbs: everything},

	{who: "secret-writer", namespace: teamNamespace, resources: secrets, verbs: everything},

	// All rights on Secrets, but no other right of a cluster administrator.
	{who: "secret-writer-everywhere", resources: secrets, verbs: everything},

	{who: "restorer", resources: secrets, verbs: writeSecret},
	{who: "restorer", namespace: systemNamespace, clusterRole: "apitoken-restore", group: group, resources: []string{"records"}, verbs: []string{"restore"}},

	{who: "role-viewer", namespace: teamNamespace, clusterRole: "apitoken-viewer", group: group, resources: tokens, verbs: []string{"get"}},
	{who: "role-issuer", namespace: teamNamespace, clusterRole: "apitoken-issuer", group: group, resources: tokens, verbs: []string{"create"}},
	{who: "role-admin", namespace: teamNamespace, clusterRole: "apitoken-admin", group: group, resources: tokens, verbs: []string{"issue"}},

	{who: foreignAccount, resources: secrets, verbs: writeSecret},
	{who: webhook, namespace: otherNamespace, resources: secrets, verbs: writeSecret},
	{who: webhook, namespace: otherNamespace, group: group, resources: []string{"atlassiansites/status"}, verbs: write},
}
