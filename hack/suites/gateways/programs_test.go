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
	// start starts it for a world, with edits of its sample, and returns its address. Edits are pairs: a text and its replacement.
	start func(t *testing.T, w *world, edits ...string) string
	// filter means that it is a filter of the tests. To try more of it than the contract would try the tests.
	filter bool
	// restAlone means that it asks only about paths below /rest/. A token elsewhere reaches the product, which refuses it.
	restAlone bool
	// asksAlways means that its sample asks about every request.
	asksAlways bool
	// believes means that every 2xx lets the request pass, if without its Authorization: it has no way to look into the answer. The
	// others let nothing pass after an answer that does not have the webhook's header.
	believes bool
	// grpc means that it asks over gRPC.
	grpc bool
	// passes are the characters in place of a hyphen with which a client's spelling of an identity header reaches the product. Its page
	// says so.
	passes string
	// untold means that it does not take the target from the answer, and nothing behind it reads one.
	untold bool
	// unknown means that the portal is not told the client's address.
	unknown bool
	// http2 are the edits with which it serves HTTP/2 without TLS.
	http2 []string
	// context are the edits for a product below /jira, and everything those with which every request is asked about.
	context, everything []string
	// switches reports whether a request becomes another protocol, for gateways whose sample does not decide that.
	switches func(c credential, target, protocol string) bool
	// unready and away are what the client gets while the webhook does not know every token yet, and while nothing listens there.
	unready, away int
}

// asked are targets at which it asks about credentials: one below /rest/, and one elsewhere.
func (p program) asked() []string {
	if p.restAlone {
		return []string{myself}
	}
	return []string{myself, "/secure/Dashboard.jspa"}
}

func programs() []program {
	traefik := []string{
		"PathPrefix(`/", "PathPrefix(`/jira/",
		"addPrefix:\n    prefix: /portal/jira/main", "replacePathRegex:\n    regex: ^/jira/\n    replacement: /portal/jira/main/",
	}
	all := []string{"(PathPrefix(`/rest/`) || HeaderRegexp(`Authorization`, `.`))", "PathPrefix(`/`)"}
	return []program{
		{name: "nginx", start: startNginx, http2: []string{"listen LISTEN;", "listen LISTEN http2;"}, unready: 500, away: 500,
			context: []string{"location /rest/", "location /jira/rest/", "location /plugins/", "location /jira/plugins/"},
			everything: []string{
				"    location /rest/ {\n        return 418;\n    }\n\n", "",
				"        if ($http_authorization) {\n            return 418;\n        }\n        proxy_pass http://product;\n", "        return 418;\n",
			}},
		{name: "haproxy", start: startHAProxy, everything: []string{"acl rest path_beg /rest/", "acl rest path_beg /"}, http2: []string{}, unready: 503, away: 503, context: []string{
			"path_beg /rest/api-tokens/ /plugins/", "path_beg /jira/rest/api-tokens/ /jira/plugins/",
			"acl rest path_beg /rest/", "acl rest path_beg /jira/rest/", "SITE%[path]", "SITE%[path,regsub(^/jira,)]",
		}},
		{name: "caddy", start: startCaddy, everything: []string{"path('/rest/*') || header({'Authorization': '*'})", "path('/*')"}, http2: []string{"admin off", "admin off\n\tservers {\n\t\tprotocols h1 h2c\n\t}"}, unready: 503, away: 502, context: []string{
			"path /rest/api-tokens/* /plugins/servlet/api-tokens /plugins/", "path /jira/rest/api-tokens/* /jira/plugins/servlet/api-tokens /jira/plugins/",
			"path('/rest/*')", "path('/jira/rest/*')", "rewrite * /portal/SITE{uri}", "uri replace /jira/ /portal/SITE/ 1",
		}},
		{name: "traefik", start: startTraefik, believes: true, switches: traefikSwitches, http2: []string{}, unready: 503, away: 500, context: traefik, everything: all},
		{name: "traefik-kubernetes", start: startTraefikInKubernetes, believes: true, switches: traefikSwitches, http2: []string{}, unready: 503, away: 500, context: traefik, everything: all},
		{name: "ingress-nginx", start: startIngressNginx, believes: true, restAlone: true, untold: true, switches: ingressNginxSwitches, http2: []string{"listen LISTEN;", "listen LISTEN http2;"},
			context: []string{"^/rest/", "^/jira/rest/", "/(rest/", "/jira/(rest/"}, everything: []string{"^/rest/", "^/"}, unready: 500, away: 500},
		{name: "istio", start: startEnvoyHTTP("istio"), filter: true, unready: 403, away: 403, passes: "_.", untold: true, unknown: true},
		{name: "envoy-gateway", start: startEnvoyGRPC("envoy-gateway", false), filter: true, unready: 403, grpc: true, passes: ".", unknown: true},
		{name: "contour", start: startEnvoyGRPC("contour", true), filter: true, unready: 403, grpc: true, passes: "_.", asksAlways: true},
		{name: "agentgateway", start: startAgentgateway, filter: true, unready: 403, grpc: true, passes: "_.", unknown: true},
	}
}

// edited applies edits to a sample. Each must find its text.
func edited(t *testing.T, text string, edits []string) string {
	t.Helper()
	for i := 0; i < len(edits); i += 2 {
		if !strings.Contains(text, edits[i]) {
			t.Fatalf("the sample has no %q", edits[i])
		}
		text = strings.ReplaceAll(text, edits[i], edits[i+1])
	}
	return text
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

// sample returns a file below config/samples, with TLS if the world has an authority.
func (w *world) sample(t *testing.T, name string) string {
	t.Helper()
	text := sample(t, name)
	if w.authority != "" {
		text = withTLS(text, w.authority)
	}
	if w.certified {
		text = w.withCertificate(t, text)
	}
	return text
}

// run starts a program and waits until it listens. A program that is missing is a failure.
func run(t *testing.T, listen, name string, args ...string) {
	t.Helper()
	runWith(t, nil, listen, name, args...)
}

// runWith runs a program with more in its environment.
func runWith(t *testing.T, environment []string, listen, name string, args ...string) {
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
	cmd.Env = append(append(os.Environ(), "XDG_DATA_HOME="+t.TempDir(), "XDG_CONFIG_HOME="+t.TempDir()), environment...)
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

func startNginx(t *testing.T, w *world, edits ...string) string {
	t.Helper()
	return startNginxWith(t, w, edited(t, w.sample(t, "nginx.conf"), edits))
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

func startHAProxy(t *testing.T, w *world, edits ...string) string {
	t.Helper()
	listen, dir := free(t), t.TempDir()
	write(t, dir, "api-tokens.lua", sample(t, "gateways/haproxy/api-tokens.lua"))
	config := strings.ReplaceAll(w.fill(edited(t, w.sample(t, "gateways/haproxy/haproxy.cfg"), edits), listen), "FOLDER", dir)
	run(t, listen, "haproxy", "-db", "-f", write(t, dir, "haproxy.cfg", config))
	return listen
}

func startCaddy(t *testing.T, w *world, edits ...string) string {
	t.Helper()
	listen, dir := free(t), t.TempDir()
	config := w.fill(edited(t, "{\n\tadmin off\n\tauto_https off\n}\n"+w.sample(t, "gateways/caddy/Caddyfile"), edits), listen)
	run(t, listen, "caddy", "run", "--config", write(t, dir, "Caddyfile", config), "--adapter", "caddyfile")
	return listen
}
