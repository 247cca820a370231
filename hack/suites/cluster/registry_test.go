//go:build cluster

package main

import (
	"bufio"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"apitokens.dev/operator/hack/lib/controlplane"
)

// byDigest is the kustomization of docs/how-to/install.md for an image in a registry of one's own.
const byDigest = `apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
  - ../../config/default
images:
  - name: apitokens.dev/apitoken-operator
    newName: registry.example.com/apitoken-operator
    digest: DIGEST
`

// The node pulls the image by its digest from a registry.
func TestPullByDigest(t *testing.T) {
	archive := filepath.Join(controlplane.RepositoryRoot(), "bin/cluster/images/apitoken-operator-dev.oci.tar")
	// hosts.toml leads every registry here.
	registry := on.Command(t.Context(), filepath.Join(controlplane.RepositoryRoot(), "bin/cluster/registry"), "10.89.0.1:5000", "apitoken-operator", archive)
	out, err := registry.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := registry.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = registry.Wait() })
	digest, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	execOnNode(t, "sh", "-c", "ctr -n k8s.io images ls -q | grep apitoken-operator | xargs -r ctr -n k8s.io images rm --sync")
	t.Cleanup(func() {
		if err := on.Import(context.Background(), archive); err != nil {
			t.Error(err)
		}
	})

	folder := kustomization(t, strings.ReplaceAll(byDigest, "DIGEST", strings.TrimSpace(digest)))
	admin(t, "apply", "--server-side", "-k", folder)
	if err := on.AwaitOperator(t.Context()); err != nil {
		t.Fatal(err)
	}
	expectPods(t, map[string]int{"controller": 1, "webhook": 2, "portal": 2})
	image := "registry.example.com/apitoken-operator@" + strings.TrimSpace(digest)
	for _, pod := range pods(t) {
		if got := pod.Status.ContainerStatuses[0].ImageID; got != image {
			t.Errorf("%s runs %s, want %s", pod.Name, got, image)
		}
	}
	events := admin(t, "--namespace", "apitoken-system", "get", "events", "--field-selector", "reason=Pulled", "--output", "jsonpath={.items[*].message}")
	if !strings.Contains(events, `Successfully pulled image "`+image+`"`) {
		t.Errorf("nothing was pulled: %s", events)
	}
	serve(t)
	remove(t, func() { admin(t, "delete", "-k", folder, "--timeout=3m") })
}

// kustomization writes one to a folder of its own in bin, beside config, and returns the folder.
func kustomization(t *testing.T, text string) string {
	t.Helper()
	folder, err := os.MkdirTemp(filepath.Join(controlplane.RepositoryRoot(), "bin"), "kustomization-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	if err := os.WriteFile(filepath.Join(folder, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return folder
}
