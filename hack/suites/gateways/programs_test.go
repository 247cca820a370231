package gateways_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"apitokens.dev/operator/hack/lib/controlplane"
	"apitokens.dev/operator/hack/lib/ports"
)

// program is a real gateway that a test starts with its sample configuration.
type program struct {
	name string
	// start starts it for a world, and returns its address.
	start func(t *testing.T, w *world) string
	// restAlone means that it asks only about paths below /rest/. A token elsewhere reaches the product, which refuses it.
	restAlone bool
}

func programs() []program {
	return []program{
		{name: "nginx", start: startNginx},
		{name: "haproxy", start: startHAProxy},
		{name: "caddy", start: startCaddy},
		{name: "traefik", start: startTraefik},
		{name: "ingress-nginx", start: startIngressNginx, restAlone: true},
		{name: "envoy-http", start: startEnvoyHTTP},
		{name: "envoy-grpc", start: startEnvoyGRPC(false)},
		{name: "envoy-grpc-raw", start: startEnvoyGRPC(true)},
	}
}

// sample returns a file below config/samples.
func sample(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(controlplane.RepositoryRoot(), "config", "samples", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// run starts a program and waits until it listens. A program that is missing is a failure.
func run(t *testing.T, listen, name string, args ...string) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs " + name + ", and -short is set")
	}
	path, err := find(name)
	if err != nil {
		t.Fatalf("%v: `make test` installs or builds it", err)
	}
	log := new(strings.Builder)
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = log, log, &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	cmd.WaitDelay = 5 * time.Second
	cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+t.TempDir(), "XDG_CONFIG_HOME="+t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) // nginx's workers too
		if err := <-ended; t.Failed() {
			t.Logf("%s ended with %v, and wrote:\n%s", name, err, log)
		}
	})
	for deadline := time.Now().Add(30 * time.Second); ; {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", listen)
		if err == nil {
			_ = conn.Close()
			return
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("%s ended: %v\n%s", name, err, log)
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not listen: %v", name, err)
		}
	}
}

// find returns the path of a program: of the one that was built for the tests, or else of an installed one.
func find(name string) (string, error) {
	built := filepath.Join(controlplane.RepositoryRoot(), "bin", "gateways", name)
	if _, err := os.Stat(built); err == nil {
		return built, nil
	}
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin") {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("there is no %s", name)
}

func free(t *testing.T) string {
	t.Helper()
	all, err := ports.Free(1)
	if err != nil {
		t.Fatal(err)
	}
	return all[0]
}

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func startNginx(t *testing.T, w *world) string {
	t.Helper()
	return startNginxWith(t, w, sample(t, "nginx.conf"))
}

// startNginxWith starts nginx with the sample, or with a changed one.
func startNginxWith(t *testing.T, w *world, conf string) string {
	t.Helper()
	listen, dir := free(t), t.TempDir()
	var temp strings.Builder
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		temp.WriteString(kind + "_temp_path " + dir + "/" + kind + ";\n")
	}
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;\n" // a worker of another user could not enter the folder
	}
	main := user + "daemon off;\nworker_processes 1;\npid " + dir + "/pid;\nerror_log stderr warn;\nevents {}\nhttp {\naccess_log off;\n" + temp.String() +
		w.fill(conf, listen) + "\n}\n"
	run(t, listen, "nginx", "-e", "stderr", "-c", write(t, dir, "nginx.conf", main))
	return listen
}

func startHAProxy(t *testing.T, w *world) string {
	t.Helper()
	listen, dir := free(t), t.TempDir()
	write(t, dir, "api-tokens.lua", sample(t, "gateways/haproxy/api-tokens.lua"))
	config := strings.ReplaceAll(w.fill(sample(t, "gateways/haproxy/haproxy.cfg"), listen), "FOLDER", dir)
	run(t, listen, "haproxy", "-db", "-f", write(t, dir, "haproxy.cfg", config))
	return listen
}

func startCaddy(t *testing.T, w *world) string {
	t.Helper()
	listen, dir := free(t), t.TempDir()
	config := "{\n\tadmin off\n\tauto_https off\n}\n" + w.fill(sample(t, "gateways/caddy/Caddyfile"), listen)
	run(t, listen, "caddy", "run", "--config", write(t, dir, "Caddyfile", config), "--adapter", "caddyfile")
	return listen
}
