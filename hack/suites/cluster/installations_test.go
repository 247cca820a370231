//go:build cluster

package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"apitokens.dev/operator/hack/lib/cluster"
	"apitokens.dev/operator/hack/lib/controlplane"
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
			if err := on.Install(t.Context(), name); err != nil {
				t.Fatal(err)
			}
			expectPods(t, want)
			if name == "namespaced" {
				admin(t, "--namespace", rig.Namespace, "create", "rolebinding", "apitoken-controller-secrets",
					"--clusterrole", "apitoken-controller-secrets", "--serviceaccount", cluster.System+":apitoken-controller")
			}
			serve(t)
			selfService(t)
			remove(t, func() { admin(t, "delete", "-k", "config/"+name, "--timeout=3m") })
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

// The chart is rendered by Helm's engine and applied, as `helm install` does.
func TestChart(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "chart")
	build := exec.CommandContext(t.Context(), "hack/release/chart.sh", "dev", folder)
	build.Dir = controlplane.RepositoryRoot()
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	render := exec.CommandContext(t.Context(), "go", "run", "./render", folder, cluster.System)
	render.Dir, render.Stderr = filepath.Join(controlplane.RepositoryRoot(), "hack/tools/chart"), os.Stderr
	text, err := render.Output()
	if err != nil {
		t.Fatal(err)
	}
	admin(t, "create", "namespace", cluster.System)
	admin(t, "label", "namespace", cluster.System, "pod-security.kubernetes.io/enforce=restricted")
	adminWith(t, string(text), "apply", "--server-side", "-f", "-")
	if err := on.AwaitOperator(t.Context()); err != nil {
		t.Fatal(err)
	}
	expectPods(t, map[string]int{"controller": 1, "webhook": 2, "portal": 2})
	serve(t)
	selfService(t)
	remove(t, func() {
		adminWith(t, string(text), "delete", "--timeout=3m", "-f", "-")
		admin(t, "delete", "namespace", cluster.System, "--timeout=2m")
	})
}
