//go:build cluster

package main

import (
	"path/filepath"
	"testing"

	"apitokens.dev/operator/hack/lib/controlplane"
)

// Traefik as the gateway: it reads from the API server what the operator makes for the site, and the demo's steps go through it.
func TestTraefik(t *testing.T) {
	if err := on.Import(t.Context(), filepath.Join(controlplane.RepositoryRoot(), "bin/cluster/images/traefik-test.oci.tar")); err != nil {
		t.Fatal(err)
	}
	if err := on.Install(t.Context(), "default"); err != nil {
		t.Fatal(err)
	}
	on.Traefik = true
	t.Cleanup(func() { on.Traefik = false })
	if err := on.InstallTraefik(t.Context()); err != nil {
		t.Fatal(err)
	}
	demoSteps(t, "--traefik")
	admin(t, "--namespace", "jira", "wait", "atlassiansite/main", "--for=condition=GatewaysConfigured", "--timeout=10s")
	if token := works(t); !testing.Short() {
		withoutFailure(t, func() { restartAll(t) }, token)
	}
	remove(t, func() {
		admin(t, "delete", "-f", "config/rbac/gateways/traefik.yaml")
		admin(t, "delete", "-k", "config/default", "--timeout=3m")
	})
	left := admin(t, "--namespace", "jira", "get", "middlewares.traefik.io,ingressroutes.traefik.io,serverstransports.traefik.io", "--output", "name")
	if left != "ingressroute.traefik.io/jira\n" {
		t.Errorf("left for Traefik: %s", left)
	}
	admin(t, "delete", "clusterrole,clusterrolebinding", "traefik")
	admin(t, "--namespace", "jira", "delete", "ingressroute", "jira")
}
