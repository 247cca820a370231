//go:build cluster

package main

import (
	"net/http"
	"testing"

	"apitokens.dev/operator/hack/lib/rig"
)

// Every other kustomization is installed by its line, works, and is removed by its line.
func TestKustomizations(t *testing.T) {
	for name, want := range map[string]map[string]int{
		"high-availability": {"controller": 2, "webhook": 3, "portal": 3},
		"namespaced":        {"controller": 1, "webhook": 2, "portal": 2},
		"single":            {"single": 1},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "namespaced" {
				admin(t, "--namespace", rig.Namespace, "apply", "--server-side", "-k", "config/access")
			}
			if err := on.Install(t.Context(), name); err != nil {
				t.Fatal(err)
			}
			expectPods(t, want)
			serve(t)
			selfService(t)
			remove(t, func() {
				if name == "namespaced" {
					admin(t, "--namespace", rig.Namespace, "delete", "-k", "config/access")
				}
				admin(t, "delete", "-k", "config/"+name, "--timeout=3m")
			})
		})
	}
}

// selfService asks the portal for the tokens of a user who is signed in to Jira.
func selfService(t *testing.T) {
	t.Helper()
	session, err := on.SignIn(t.Context(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	got, err := statusOf(t.Context(), "/rest/api-tokens/latest/", func(r *http.Request) { r.AddCookie(session) })
	if err != nil || got != http.StatusOK {
		t.Errorf("the portal answers with HTTP %d, %v", got, err)
	}
}
