// Package node runs one Kubernetes node on this machine: a control plane, kubelet, containerd, kube-proxy, a DNS server and
// enforced NetworkPolicies. All of it is in namespaces and cgroups of its own, and nothing outside is written but one folder.
//
// The machine reaches the node through loopback addresses: kubectl needs nothing else.
package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"apitokens.dev/operator/hack/lib/controlplane"
)

const (
	startTimeout = 3 * time.Minute
	stopTimeout  = 30 * time.Second
	// script is the node's PID 1.
	script = "hack/lib/node/node.sh"
)

// Node is a running node.
type Node struct {
	root, run, tools, kube string
	// ports of the machine, by the name of what they lead to.
	ports map[string]string
	pid   int
	// ended is closed when the node has ended; nil if another process started it.
	ended chan struct{}
}

// at returns the node of this repository, running or not. Its folder is bin/cluster/run.
func at() *Node {
	root := controlplane.RepositoryRoot()
	n := &Node{
		root: root, run: filepath.Join(root, "bin", "cluster", "run"), tools: filepath.Join(root, "bin", "node"),
		kube: filepath.Join(root, "bin", "kube"),
	}
	if assets := os.Getenv("KUBEBUILDER_ASSETS"); assets != "" {
		n.kube = assets
	}
	return n
}

// Open returns the node that runs.
func Open() (*Node, error) {
	n := at()
	text, err := os.ReadFile(n.file("node.json"))
	if err != nil {
		return nil, fmt.Errorf("no node runs (%w): run `make cluster`", err)
	}
	var stored struct {
		PID   int
		Ports map[string]string
	}
	if err := json.Unmarshal(text, &stored); err != nil {
		return nil, fmt.Errorf("reading what is known of the node: %w", err)
	}
	n.pid, n.ports = stored.PID, stored.Ports
	return n, nil
}

// Start starts a node, and waits until it is ready. forwards are addresses on the node by the names that Address takes. Those
// that end with a colon get the port that the machine has. The caller must call Stop, or leave that to another process.
func Start(ctx context.Context, forwards map[string]string) (n *Node, err error) {
	n = at()
	if err := errors.Join(Possible(), n.missing()); err != nil {
		return nil, err
	}
	if _, err := os.Stat(n.run); err == nil {
		return nil, errors.New("a node runs already, or one was not removed: run `make cluster-down`")
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%w; the logs end with:\n%s", err, n.Logs(5)), n.Stop())
		}
	}()
	for _, folder := range []string{"pki", "log"} {
		if err := os.MkdirAll(n.file(folder), 0o700); err != nil {
			return nil, fmt.Errorf("making the node's folder: %w", err)
		}
	}
	all := map[string]string{"api": "127.0.0.1:6443"}
	maps.Copy(all, forwards)
	listeners, err := n.listen(all)
	if err != nil {
		return nil, err
	}
	if err := writeCredentials(n.file("pki"), n.Address("api")); err != nil {
		return nil, fmt.Errorf("making the node's credentials: %w", err)
	}
	if err := n.startProcesses(listeners); err != nil {
		return nil, err
	}
	return n, n.prepare(ctx)
}

func (n *Node) file(name string) string { return filepath.Join(n.run, name) }

// listen opens a port of the machine for each address on the node, and notes the addresses for the program that connects them.
func (n *Node) listen(addresses map[string]string) (listeners []*os.File, err error) {
	n.ports = map[string]string{}
	var lines strings.Builder
	for name, address := range addresses {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("opening a port: %w", err)
		}
		file, err := l.(*net.TCPListener).File()
		if err != nil {
			return nil, fmt.Errorf("opening a port: %w", err)
		}
		_ = l.Close() // the file is a copy
		listeners = append(listeners, file)
		n.ports[name] = strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
		if strings.HasSuffix(address, ":") {
			address += n.ports[name]
		}
		fmt.Fprintln(&lines, address)
	}
	return listeners, os.WriteFile(n.file("forward"), []byte(lines.String()), 0o600)
}

// startProcesses starts the node's PID 1, which starts the rest.
func (n *Node) startProcesses(listeners []*os.File) error {
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return fmt.Errorf("looking for cgroups: %w", err)
	}
	folders, err := makeCgroups(string(own), "apitoken-node")
	err = errors.Join(err, os.WriteFile(n.file("cgroups"), []byte(strings.Join(folders, "\n")+"\n"), 0o600))
	if err != nil {
		return err
	}
	log, err := os.Create(n.file("log/node.log"))
	if err != nil {
		return fmt.Errorf("making the node's log: %w", err)
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(filepath.Join(n.root, script), n.tools, n.run, n.kube)
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = log, log, listeners
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true, // Ctrl-C is for the process that started it
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the node: %w", err)
	}
	for _, l := range listeners {
		_ = l.Close()
	}
	n.pid, n.ended = cmd.Process.Pid, make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(n.ended)
	}()
	text, err := json.Marshal(map[string]any{"PID": n.pid, "Ports": n.ports})
	if err != nil {
		return err
	}
	return os.WriteFile(n.file("node.json"), text, 0o600)
}

// prepare waits for the API server, starts the DNS server, and waits until pods can run.
func (n *Node) prepare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	err := wait.PollUntilContextCancel(ctx, 100*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		select {
		case <-n.ended:
			return false, errors.New("the node ended")
		default:
		}
		_, err := n.Kubectl(ctx, "admin", nil, "get", "serviceaccount", "default", "--namespace", "kube-system")
		return err == nil, nil
	})
	if err != nil {
		return fmt.Errorf("waiting for the control plane: %w", err)
	}
	images := filepath.Join(n.root, "bin", "cluster", "images")
	if err := n.Import(ctx, filepath.Join(images, "pause-test.oci.tar"), filepath.Join(images, "coredns-test.oci.tar")); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"apply", "--server-side", "-f", filepath.Join(n.root, "hack/lib/node/config/coredns.yaml")},
		{"wait", "node/node1", "--for=create", "--timeout=2m"},
		{"wait", "node/node1", "--for=condition=Ready", "--timeout=2m"},
		{"rollout", "status", "deployment/coredns", "--namespace=kube-system", "--timeout=2m"},
	} {
		if _, err := n.Kubectl(ctx, "admin", nil, args...); err != nil {
			return err
		}
	}
	return nil
}

// Import loads image archives as a user of containerd does.
func (n *Node) Import(ctx context.Context, archives ...string) error {
	for _, archive := range archives {
		// containerd may be younger than the API server.
		var last error
		err := wait.PollUntilContextTimeout(ctx, 200*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
			_, last = n.Exec(ctx, "ctr", "-n", "k8s.io", "images", "import", archive)
			return last == nil, nil
		})
		if err != nil {
			return fmt.Errorf("importing %s: %w", archive, errors.Join(err, last))
		}
	}
	return nil
}

// Exec runs a command on the node, and returns its output.
func (n *Node) Exec(ctx context.Context, args ...string) (string, error) {
	return output(n.Command(ctx, args...))
}

// Command returns a command that runs on the node.
func (n *Node) Command(ctx context.Context, args ...string) *exec.Cmd {
	enter := []string{"--target", strconv.Itoa(n.pid), "--mount", "--net", "--pid", "--uts", "--ipc", "--cgroup", "--wdns=/", "--"}
	return exec.CommandContext(ctx, "nsenter", append(enter, args...)...)
}

// Kubectl runs kubectl as one of the users with input on its standard input, and returns its output.
func (n *Node) Kubectl(ctx context.Context, as string, stdin []byte, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, n.KubectlPath(), append([]string{"--kubeconfig", n.Kubeconfig(as)}, args...)...)
	cmd.Dir, cmd.Stdin = n.root, bytes.NewReader(stdin)
	out, err := output(cmd)
	if err != nil {
		return out, fmt.Errorf("as %s: %w", as, err)
	}
	return out, nil
}

func output(cmd *exec.Cmd) (string, error) {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

// KubectlPath returns the path of kubectl.
func (n *Node) KubectlPath() string { return filepath.Join(n.kube, "kubectl") }

// Kubeconfig returns the path of the kubeconfig of admin, alice or mallory.
func (n *Node) Kubeconfig(user string) string { return n.file("pki/" + user + ".kubeconfig") }

// Address returns the loopback address of the machine that leads to the named address on the node.
func (n *Node) Address(name string) string { return "127.0.0.1:" + n.ports[name] }

// Logs returns the last lines of each program's log.
func (n *Node) Logs(lines int) string {
	var all strings.Builder
	logs, _ := filepath.Glob(n.file("log/*.log"))
	for _, log := range logs {
		text, err := os.ReadFile(log)
		if err != nil {
			continue
		}
		last := strings.Split(strings.TrimSpace(string(text)), "\n")
		fmt.Fprintf(&all, "== %s\n%s\n", filepath.Base(log), strings.Join(last[max(0, len(last)-lines):], "\n"))
	}
	return all.String()
}
