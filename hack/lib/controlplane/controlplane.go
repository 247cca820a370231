// Package controlplane starts the real etcd and kube-apiserver that the demo, the tests and the benchmarks run on,
// and gives out credentials for them. It starts the binaries that `make kube` builds, or those that
// KUBEBUILDER_ASSETS names.
//
// There is no controller manager: nothing is garbage-collected, and namespaces do not finish terminating.
package controlplane

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

const (
	assetsEnv = "KUBEBUILDER_ASSETS"
	// exitWithParentEnv tells our own build of the binaries to exit when the process that started them is gone,
	// so that a killed test leaves nothing behind.
	exitWithParentEnv = "KUBE_EXIT_WITH_PARENT"

	startTimeout = 2 * time.Minute
	stopTimeout  = 30 * time.Second
)

// ControlPlane is a running etcd and kube-apiserver with RBAC switched on.
type ControlPlane struct {
	env    *envtest.Environment
	config *rest.Config
	assets string
	// admin returns a client of a cluster administrator, the same each time.
	admin func() (client.Client, error)
}

// Start starts a control plane on free loopback ports. Stop must be called to end it.
func Start() (*ControlPlane, error) { return StartWith("", nil) }

// StartWith does the same with the data of etcd in a folder, which stays, and with more flags of the API server. Without a folder it begins
// with nothing.
func StartWith(data string, flags map[string]string) (*ControlPlane, error) {
	assets, err := findAssets()
	if err != nil {
		return nil, err
	}
	if err := os.Setenv(exitWithParentEnv, "true"); err != nil {
		return nil, fmt.Errorf("preparing the control plane's environment: %w", err)
	}
	env := &envtest.Environment{
		ControlPlaneStartTimeout: startTimeout,
		ControlPlaneStopTimeout:  stopTimeout,
	}
	// The paths are set one by one: envtest would search elsewhere if an environment variable is set but empty.
	env.ControlPlane.Etcd = &envtest.Etcd{Path: filepath.Join(assets, "etcd"), DataDir: data}
	env.ControlPlane.GetAPIServer().Path = filepath.Join(assets, "kube-apiserver")
	env.ControlPlane.KubectlPath = filepath.Join(assets, "kubectl")
	// Without it a stopping API server waits a minute for open watches.
	arguments := env.ControlPlane.GetAPIServer().Configure().Set("shutdown-watch-termination-grace-period", "1s")
	for name, value := range flags {
		arguments.Set(name, value)
	}
	config, err := env.Start()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting the control plane from %s: %w", assets, err), env.Stop())
	}
	admin := sync.OnceValues(func() (client.Client, error) { return client.New(config, client.Options{}) })
	return &ControlPlane{env: env, config: config, assets: assets, admin: admin}, nil
}

// Stop ends the control plane and removes its data.
func (c *ControlPlane) Stop() error { return c.env.Stop() }

// StopAPIServer stops only the API server. Connections to its address are refused from then on.
func (c *ControlPlane) StopAPIServer() error { return c.env.ControlPlane.APIServer.Stop() }

// Admin returns the client configuration of a cluster administrator.
func (c *ControlPlane) Admin() *rest.Config { return rest.CopyConfig(c.config) }

// EtcdURL returns the URL of etcd.
func (c *ControlPlane) EtcdURL() string { return c.env.ControlPlane.Etcd.URL.String() }

// EtcdFolder returns the data folder of etcd.
func (c *ControlPlane) EtcdFolder() string { return c.env.ControlPlane.Etcd.DataDir }

// User returns the client configuration of a user in the given groups.
// A service account is the user system:serviceaccount:NAMESPACE:NAME.
func (c *ControlPlane) User(name string, groups ...string) (*rest.Config, error) {
	user, err := c.env.AddUser(envtest.User{Name: name, Groups: groups}, c.Admin())
	if err != nil {
		return nil, fmt.Errorf("making credentials for %s: %w", name, err)
	}
	return user.Config(), nil
}

// WriteKubeconfig writes a kubeconfig for a user in the given groups. Only the owner of the file can read it.
func (c *ControlPlane) WriteKubeconfig(path, name string, groups ...string) error {
	user, err := c.env.AddUser(envtest.User{Name: name, Groups: groups}, c.Admin())
	if err != nil {
		return fmt.Errorf("making credentials for %s: %w", name, err)
	}
	kubeconfig, err := user.KubeConfig()
	if err != nil {
		return fmt.Errorf("making a kubeconfig for %s: %w", name, err)
	}
	if err := os.WriteFile(path, kubeconfig, 0o600); err != nil {
		return fmt.Errorf("writing the kubeconfig of %s: %w", name, err)
	}
	return nil
}

// Kubectl returns the path of the kubectl of the same version.
func (c *ControlPlane) Kubectl() string { return filepath.Join(c.assets, "kubectl") }

// Install applies the kustomization in a folder of the repository, with server-side apply.
func (c *ControlPlane) Install(folder string) error {
	dir, err := os.MkdirTemp("", "kubeconfig-")
	if err != nil {
		return fmt.Errorf("installing %s: %w", folder, err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	kubeconfig := filepath.Join(dir, "admin")
	if err := c.WriteKubeconfig(kubeconfig, "admin", "system:masters"); err != nil {
		return err
	}
	apply := exec.Command(c.Kubectl(), "--kubeconfig", kubeconfig, "apply", "--server-side", "-k", filepath.Join(RepositoryRoot(), folder))
	if out, err := apply.CombinedOutput(); err != nil {
		return fmt.Errorf("installing %s: %w: %s", folder, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// RepositoryRoot returns the root folder of this repository.
func RepositoryRoot() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..", "..")
}

func findAssets() (string, error) {
	assets := os.Getenv(assetsEnv)
	if assets == "" {
		assets = filepath.Join(RepositoryRoot(), "bin", "kube")
	}
	for _, name := range []string{"etcd", "kube-apiserver", "kubectl"} {
		if _, err := os.Stat(filepath.Join(assets, name)); err != nil {
			return "", fmt.Errorf("the control plane is not there (%w): run `make kube`, or set %s to a folder with etcd, kube-apiserver and kubectl", err, assetsEnv)
		}
	}
	return assets, nil
}
