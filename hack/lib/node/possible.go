package node

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// Possible returns why no node can run on this machine, or nil.
func Possible() error {
	if runtime.GOOS != "linux" {
		return fmt.Errorf("a node needs Linux, and this is %s", runtime.GOOS)
	}
	if os.Geteuid() != 0 {
		return errors.New("a node needs root, for namespaces, mounts and cgroups of its own: run this as root")
	}
	if _, err := os.Stat("/sys/fs/cgroup/memory"); err != nil {
		return errors.New("a node needs cgroup v1, and this machine has no /sys/fs/cgroup/memory. " +
			"With cgroup v2 it was never tried: hack/lib/node/cgroup.go would have to change")
	}
	for program, of := range map[string]string{"unshare": "util-linux", "nsenter": "util-linux", "ip": "iproute2", "apt-get": "apt", "dpkg": "dpkg"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("a node needs %s, and it is not there: install %s", program, of)
		}
	}
	return nil
}

// missing returns what was not built, or nil.
func (n *Node) missing() error {
	for _, file := range []string{
		filepath.Join(n.kube, "etcd"), filepath.Join(n.kube, "kube-apiserver"), filepath.Join(n.kube, "kubectl"),
		filepath.Join(n.tools, "kubelet"), filepath.Join(n.tools, "netpol"), filepath.Join(n.tools, "forward"),
		filepath.Join(n.tools, "cni", "ptp"), filepath.Join(n.tools, "debian", "node", "usr", "bin", "containerd"),
	} {
		if _, err := os.Stat(file); err != nil {
			return fmt.Errorf("%s is not there: run `make node`", strings.TrimPrefix(file, n.root+"/"))
		}
	}
	return nil
}
