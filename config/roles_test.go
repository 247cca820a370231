package config_test

import (
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
)

// Each role, bound in one namespace, has the rights that it is for, and no others.
func TestRoles(t *testing.T) {
	type right struct{ verb, resource string }
	read := []right{{"get", "apitokens"}, {"list", "apitokens"}, {"watch", "atlassiansites"}}
	writeTokens := []right{{"create", "apitokens"}, {"update", "apitokens"}, {"patch", "apitokens"}, {"delete", "apitokens"}, {"deletecollection", "apitokens"}}
	issue := []right{{"issue", "apitokens"}}
	writeSites := []right{{"create", "atlassiansites"}, {"update", "atlassiansites"}, {"delete", "atlassiansites"}}
	never := []right{{"update", "apitokens/status"}, {"patch", "atlassiansites/status"}, {"restore", "records"}}
	for who, rights := range map[string]map[bool][][]right{
		"role-viewer": {true: {read}, false: {writeTokens, issue, writeSites, never}},
		"role-issuer": {true: {read, writeTokens}, false: {issue, writeSites, never}},
		"role-admin":  {true: {read, writeTokens, issue, writeSites}, false: {never}},
	} {
		for may, lists := range rights {
			for _, list := range lists {
				for _, r := range list {
					for namespace, want := range map[string]bool{teamNamespace: may, otherNamespace: false} {
						got, err := can(t.Context(), who, authorizationv1.ResourceAttributes{
							Namespace: namespace, Group: group, Resource: r.resource, Verb: r.verb, Name: "alice",
						})
						if err != nil {
							t.Fatal(err)
						}
						if got != want {
							t.Errorf("%s: %s %s in %s: %t, want %t", who, r.verb, r.resource, namespace, got, want)
						}
					}
				}
			}
		}
	}
}
