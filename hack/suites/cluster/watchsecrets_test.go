//go:build cluster

package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"apitokens.dev/operator/hack/lib/controlplane"
	"apitokens.dev/operator/hack/lib/rig"
)

// With the component of docs/how-to/watch-secrets.md a deleted Secret is there again within seconds, also one that is deleted right after
// the rollout. The controller manager of the node adds the ClusterRole to the rights of the account, and takes it away again.
func watchedSecrets(t *testing.T) {
	overlay := t.TempDir()
	from, err := filepath.Rel(overlay, filepath.Join(controlplane.RepositoryRoot(), "config"))
	if err != nil {
		t.Fatal(err)
	}
	text := "resources: [" + from + "/default]\ncomponents: [" + from + "/components/watch-secrets]\n"
	if err := os.WriteFile(filepath.Join(overlay, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	admin(t, "apply", "--server-side", "-k", overlay)
	if err := on.AwaitOperator(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		admin(t, "--namespace", rig.Namespace, "delete", "secret", "alice-ci-token")
		admin(t, "--namespace", rig.Namespace, "wait", "--for=create", "secret/alice-ci-token", "--timeout=20s")
		works(t)
	}
	if err := on.Install(t.Context(), "default"); err != nil {
		t.Fatal(err)
	}
	admin(t, "delete", "clusterrole", "apitoken-watch-secrets")
	eventually(t, "the right to be gone", 20*time.Second, func(ctx context.Context) error {
		out, err := on.Kubectl(ctx, "admin", nil, "auth", "can-i", "list", "secrets", "-A", "--as", "system:serviceaccount:apitoken-system:apitoken-controller")
		if strings.HasPrefix(out, "no") {
			return nil
		}
		return errors.Join(err, errors.New(out))
	})
	awaitLeader(t) // tests go on to delete what only a controller cleans up
}
