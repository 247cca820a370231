package main

import (
	"strings"
	"testing"

	"apitokens.dev/operator/hack/lib/rig"
)

// Two imported secrets: one as strong as a token, and a weak one.
const (
	importedRandom = "6rTqD0vXnB2yKc8sJmL5wHzE9fGaPuQ1RtYiNoVb"
	importedWeak   = "correct horse battery staple"
)

// toProduct is the outcome of a password: Jira 11 accepts none.
const toProduct = "product 403"

const importing = `{kind: List, apiVersion: v1, items: [
  {apiVersion: v1, kind: Secret, metadata: {name: old-NAME}, stringData: {password: "SECRET"}},
  {apiVersion: apitokens.dev/v1alpha1, kind: APIToken, metadata: {name: NAME}, spec: {siteRef: {name: main}, user: alice, label: imported,
    credential: {type: Imported, imported: {secretName: old-NAME}}}}]}`

// A script keeps its password when that is imported. Any other password goes to the product.
func (s *story) imported(t *testing.T) {
	for name, secret := range map[string]string{"random": importedRandom, "weak": importedWeak} {
		t.Run(name, func(t *testing.T) {
			good, bad := ask{password: secret}, expect{ask: ask{password: secret + "x"}, want: toProduct}
			s.await(t, expect{ask: good, want: toProduct}, bad)
			s.kubectlOrFail(t, "admin", strings.NewReplacer("NAME", name, "SECRET", secret).Replace(importing), "apply", "-f", "-")
			s.await(t, expect{ask: good, want: "200"}, bad,
				expect{ask: ask{password: secret, user: "ALICE"}, want: "200"},
				expect{ask: ask{password: secret, user: "bob"}, want: toProduct},
				expect{ask: ask{password: secret, path: "/rest/pat/latest/tokens"}, want: "403 CredentialPath"},
				expect{ask: ask{password: secret, path: "/secure/Dashboard.jspa"}, want: "401"})
			s.handedOver(t, good, "Bearer "+rig.PersonalAccessToken, "alice")
			s.patchSpec(t, "alice", "apitoken/"+name, fields{"state": "Suspended"})
			s.await(t, expect{ask: good, want: "401"}, bad)
			s.kubectlOrFail(t, "alice", "", "delete", "apitoken", name)
			s.await(t, expect{ask: good, want: toProduct}, bad)
		})
	}
}

// handedOver checks that the product receives this credential with a request.
func (s *story) handedOver(t *testing.T, a ask, authorization, user string) {
	t.Helper()
	if _, err := s.ask(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	seen := rig.ThroughNginx(s.Product)
	if len(seen) != 1 || seen[0].User != user || seen[0].Header.Get("Authorization") != authorization {
		t.Errorf("the product saw %+v", seen)
	}
}
