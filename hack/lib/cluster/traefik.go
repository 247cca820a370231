package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"apitokens.dev/operator/hack/lib/controlplane"
)

// siteOfTraefik is what docs/how-to/gateways/traefik.md adds to the site.
const siteOfTraefik = `  gateways:
    - {type: Traefik, traefik: {middlewareName: main-apitokens, ingressRouteName: jira}}
`

// InstallTraefik installs Traefik's CRDs, the product's routes of the sample, and the operator's rights. The site comes after it.
func (c *Cluster) InstallTraefik(ctx context.Context) error {
	list := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/traefik/traefik/v3")
	list.Dir = filepath.Join(controlplane.RepositoryRoot(), "hack/tools/gateways/traefik")
	module, err := list.Output()
	if err != nil {
		return fmt.Errorf("looking for Traefik's module: %w", err)
	}
	crds := filepath.Join(strings.TrimSpace(string(module)), "integration/fixtures/k8s/01-traefik-crd.yml")
	for _, file := range []string{crds, "config/rbac/gateways/traefik.yaml"} {
		if _, err := c.Kubectl(ctx, "admin", nil, "apply", "--server-side", "-f", file); err != nil {
			return err
		}
	}
	if _, err := c.Kubectl(ctx, "admin", nil, "wait", "crd/ingressroutes.traefik.io", "--for=condition=Established", "--timeout=1m"); err != nil {
		return err
	}
	route, err := traefikRoute()
	if err != nil {
		return err
	}
	_, err = c.Kubectl(ctx, "admin", route, "apply", "--server-side", "-f", "-")
	return err
}

// traefikRoute returns the product's IngressRoute of the sample. It is the last object there.
func traefikRoute() ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(controlplane.RepositoryRoot(), "config/samples/gateways/traefik/jira.yaml"))
	if err != nil {
		return nil, fmt.Errorf("reading a sample: %w", err)
	}
	all := strings.Split(string(text), "\n---\n")
	return []byte(strings.NewReplacer("jira.example.com", "jira.localhost", "[websecure]", "[web]").Replace(all[len(all)-1])), nil
}

// startTraefik starts Traefik, and waits until it knows its routes.
func (c *Cluster) startTraefik(ctx context.Context) error {
	if err := c.Apply(ctx, "traefik.yaml"); err != nil {
		return err
	}
	return c.awaitGateway(ctx, "deployment/traefik")
}
