package main

import (
	"testing"
)

const team = `{kind: List, apiVersion: v1, items: [
  {apiVersion: v1, kind: Namespace, metadata: {name: team, labels: {tokens: jira}}},
  {apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: apitoken-issuer, namespace: team},
    roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: apitoken-issuer},
    subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: jira-team}]}]}`

const teamToken = `{apiVersion: apitokens.dev/v1alpha1, kind: APIToken, metadata: {name: alice-team, namespace: team}, spec: {
  siteRef: {name: main, namespace: jira}, user: alice, label: of the team, delivery: {secretName: alice-team-token}}}`

// A token in another namespace is valid only while the site allows that namespace. A change counts at once. Tokens in the
// namespace of the site are not affected.
func (s *story) namespaces(t *testing.T) {
	s.kubectlOrFail(t, "admin", team, "apply", "--namespace", "team", "-f", "-")
	open := fields{"allowedNamespaces": fields{"from": "Selector", "selector": fields{"matchLabels": fields{"tokens": "jira"}}}}
	s.patchSpec(t, "admin", "atlassiansite/main", open)
	defer s.patchSpec(t, "admin", "atlassiansite/main", open.without())
	s.kubectlOrFail(t, "alice", teamToken, "apply", "--namespace", "team", "-f", "-")
	s.kubectlOrFail(t, "alice", "", "wait", "--namespace", "team", "apitoken/alice-team", "--for=condition=Ready", "--timeout", settleTimeout.String())
	password := s.kubectlOrFail(t, "admin", "", "get", "--namespace", "team", "secret", "alice-team-token", "-o",
		"go-template={{.data.password | base64decode}}")
	own, good, dead := expect{want: "200"}, expect{ask: ask{password: password}, want: "200"}, expect{ask: ask{password: password}, want: "401"}
	s.await(t, good, own)

	s.kubectlOrFail(t, "admin", "", "label", "namespace", "team", "tokens-")
	s.await(t, dead, own)
	s.kubectlOrFail(t, "admin", "", "label", "namespace", "team", "tokens=jira")
	s.await(t, good, own)
	s.patchSpec(t, "admin", "atlassiansite/main", fields{"allowedNamespaces": fields{"from": "Same", "selector": nil}})
	s.await(t, dead, own)
	s.patchSpec(t, "admin", "atlassiansite/main", fields{"allowedNamespaces": fields{"from": "All"}})
	s.await(t, good, own)
	s.kubectlOrFail(t, "admin", "", "delete", "namespace", "team", "--wait=false")
	s.kubectlOrFail(t, "admin", "", "delete", "apitoken", "alice-team", "--namespace", "team", "--wait=false")
	s.await(t, dead, own)
}
