//go:build cluster

package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"apitokens.dev/operator/hack/lib/cluster"
	"apitokens.dev/operator/hack/lib/controlplane"
)

// Helm installs the chart, upgrades it under load, rolls back, and uninstalls it. Installed again, it finds every token. The lines
// are those of docs/how-to/install.md, upgrade.md and remove.md.
func TestChart(t *testing.T) {
	chart := filepath.Join(t.TempDir(), "chart")
	build := exec.CommandContext(t.Context(), "hack/release/chart.sh", "dev", chart)
	build.Dir = controlplane.RepositoryRoot()
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	admin(t, "create", "namespace", cluster.System)
	admin(t, "label", "namespace", cluster.System, "pod-security.kubernetes.io/enforce=restricted")
	helm(t, "install", "apitoken-operator", chart, "--namespace", cluster.System)
	expectInstalled(t)
	serve(t)
	selfService(t)
	token := works(t)

	withoutFailure(t, func() {
		helm(t, "upgrade", "apitoken-operator", chart, "--namespace", cluster.System, "--set", "webhook.replicas=3", "--wait", "--timeout=5m")
	}, token)
	expectPods(t, map[string]int{"controller": 1, "webhook": 3, "portal": 2})
	withoutFailure(t, func() {
		helm(t, "upgrade", "apitoken-operator", chart, "--namespace", cluster.System, "--set", "webhook.args={--drain-delay=4s}", "--wait", "--timeout=5m")
	}, token)
	withoutFailure(t, func() {
		helm(t, "rollback", "apitoken-operator", "1", "--namespace", cluster.System, "--wait", "--timeout=5m")
	}, token)

	helm(t, "uninstall", "apitoken-operator", "--namespace", cluster.System, "--wait", "--timeout=3m")
	helm(t, "install", "apitoken-operator", chart, "--namespace", cluster.System)
	expectInstalled(t)
	startGateway(t) // the Services have new addresses, and nginx looks for them at its start
	if again := works(t); again != token {
		t.Error("the token became another one")
	}
	// The account of the controller before was deleted before it could give up the lead.
	awaitLeader(t)
	remove(t, func() {
		helm(t, "uninstall", "apitoken-operator", "--namespace", cluster.System, "--wait", "--timeout=3m")
		admin(t, "delete", "crd", "apitokens.apitokens.dev", "atlassiansites.apitokens.dev", "--timeout=1m")
		admin(t, "delete", "namespace", cluster.System, cluster.Credentials, cluster.Intake, "--timeout=2m")
	})
}

// expectInstalled waits for the operator, and fails unless it is that of the chart with its default values.
func expectInstalled(t *testing.T) {
	t.Helper()
	if err := on.AwaitOperator(t.Context()); err != nil {
		t.Fatal(err)
	}
	expectPods(t, map[string]int{"controller": 1, "webhook": 2, "portal": 2})
}

// helm runs Helm as an administrator. It keeps nothing outside the folder of the test.
func helm(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), filepath.Join(controlplane.RepositoryRoot(), "bin/tools/helm"), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+on.Kubeconfig("admin"),
		"HELM_CACHE_HOME="+t.TempDir(), "HELM_CONFIG_HOME="+t.TempDir(), "HELM_DATA_HOME="+t.TempDir())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("helm %s: %v: %s", args[0], err, out)
	}
}
