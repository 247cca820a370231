package rights_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"apitokens.dev/operator/hack/lib/controlplane"
	"apitokens.dev/operator/hack/lib/fakeproduct"
	"apitokens.dev/operator/hack/lib/fault"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/hack/lib/ports"
)

func TestMain(m *testing.M) { os.Exit(env.Main(m)) }

// world is an installation of a kind. It serves two namespaces: one with a site, one with an APITokens for it.
type world struct {
	kind, binary string
	served       []string
	home, away   string
	product      *fakeproduct.Jira
	productURL   string
	gateway      string
	portal       string
	processes    []*process
	kubeconfig   string
	unserved     string
}

// process is one of the three processes, with a recording proxy to the API server.
type process struct {
	mode, account string
	cmd           *exec.Cmd
	log           bytes.Buffer

	mu   sync.Mutex
	used map[right]bool
	no   map[string]bool
}

func (p *process) requests() []right {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.SortedFunc(maps.Keys(p.used), func(a, b right) int { return strings.Compare(a.String(), b.String()) })
}

func (p *process) refused() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Sorted(maps.Keys(p.no))
}

// install applies a kustomization as the documents say, and starts its processes behind recorders. The rights of the kind that
// was installed before stay, so namespaced comes first.
func install(t *testing.T, kind, binary string) *world {
	t.Helper()
	w := &world{kind: kind, binary: binary, home: env.Namespace(t), away: env.Namespace(t), unserved: env.Namespace(t)}
	w.served = []string{w.home, w.away}
	w.kubeconfig = filepath.Join(t.TempDir(), "admin")
	must(t, env.WriteKubeconfig(w.kubeconfig, "admin", "system:masters"))
	if kind == "namespaced" {
		// The control plane of the tests has config/core, with rights everywhere.
		w.kubectl(t, "delete", "clusterrolebinding", "apitoken-controller", "apitoken-webhook", "apitoken-portal", "apitoken-controller-gateways")
	}
	w.kubectl(t, "apply", "--server-side", "-k", config(kind))
	for _, namespace := range w.served {
		if kind == "namespaced" {
			w.kubectl(t, "--namespace", namespace, "apply", "--server-side", "-k", config("access"))
		}
	}
	w.kubectl(t, "--namespace", kubetest.SystemNamespace, "delete", "lease", "apitoken-controller", "--ignore-not-found")
	w.product = fakeproduct.NewJira(fakeproduct.Options{ContextPath: "/jira", Users: []fakeproduct.User{
		{Name: "alice", Key: "JIRAUSER10001", DisplayName: "Alice Example", Password: "alices password"},
	}})
	server := httptest.NewServer(w.product)
	t.Cleanup(server.Close)
	w.productURL = server.URL + "/jira"
	w.start(t)
	return w
}

func config(folder string) string {
	return filepath.Join(controlplane.RepositoryRoot(), "config", folder)
}

func (w *world) kubectl(t *testing.T, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), env.Kubectl(), append([]string{"--kubeconfig", w.kubeconfig}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// operator builds the binary.
func operator(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "apitoken-operator")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./cmd/apitoken-operator")
	build.Dir = controlplane.RepositoryRoot()
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	return binary
}

// gitLabToken is what GitLab sends.
const gitLabToken = "the token of GitLab, for this test only"

// start starts the processes with the arguments of their Deployments, except for addresses.
func (w *world) start(t *testing.T) {
	t.Helper()
	at, err := ports.Free(8)
	must(t, err)
	w.gateway, w.portal = "http://"+at[0], "http://"+at[1]
	leaks := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(leaks, []byte(gitLabToken), 0o600))
	for i, p := range []struct {
		mode string
		args []string
	}{
		{"controller", []string{"--leader-elect", "--allow-external-upstreams", "--webhook-url=" + w.gateway, "--portal-url=" + strings.Replace(w.portal, "http:", "https:", 1)}},
		{"webhook", []string{"--plain-http", "--drain-delay=0s", "--bind-address=" + at[0], "--grpc-bind-address=0"}},
		{"portal", []string{"--plain-http", "--drain-delay=0s", "--bind-address=" + at[1], "--leak-gitlab-token=" + leaks}},
	} {
		health := at[2+i]
		args := append(slices.Clone(p.args), "--health-probe-bind-address="+health, "--metrics-bind-address=0")
		if w.kind == "namespaced" {
			args = append(args, "--watch-namespaces="+strings.Join(w.served, ","))
		}
		w.processes = append(w.processes, startProcess(t, w.binary, p.mode, args))
		kubetest.Eventually(t, func() error {
			response, err := http.Get("http://" + health + "/readyz")
			if err == nil {
				_ = response.Body.Close()
				if response.StatusCode != http.StatusOK {
					err = fmt.Errorf("the %s is not ready: %d", p.mode, response.StatusCode)
				}
			}
			return err
		})
	}
}

func startProcess(t *testing.T, binary, mode string, args []string) *process {
	t.Helper()
	p := &process{mode: mode, account: "apitoken-" + mode, used: map[right]bool{}, no: map[string]bool{}}
	proxy, err := fault.NewAPI(env.User(t, "system:serviceaccount:"+kubetest.SystemNamespace+":"+p.account,
		"system:serviceaccounts", "system:serviceaccounts:"+kubetest.SystemNamespace))
	must(t, err)
	proxy.Set(p.record)
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	must(t, os.WriteFile(kubeconfig, fmt.Appendf(nil,
		"{apiVersion: v1, kind: Config, clusters: [{name: c, cluster: {server: %q}}], contexts: [{name: c, context: {cluster: c}}], current-context: c}",
		proxy.URL()), 0o600))
	p.cmd = exec.CommandContext(t.Context(), binary, append([]string{mode, "--kubeconfig", kubeconfig}, args...)...)
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	must(t, p.cmd.Start())
	t.Cleanup(func() {
		proxy.Close()
		if t.Failed() {
			t.Logf("the log of the %s:\n%s", mode, &p.log)
		}
	})
	return p
}

// stop ends a process, which releases what it holds.
func (p *process) stop(t *testing.T) {
	t.Helper()
	must(t, p.cmd.Process.Signal(syscall.SIGTERM))
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("the %s ended with %v", p.mode, err)
	}
}

// record notes a request, and whether RBAC refuses it. A watch that begins with a list is refused as older API servers refuse it:
// then the processes list and watch, and need both rights.
func (p *process) record(w http.ResponseWriter, r *http.Request, forward http.Handler) {
	asked, ok := rightOf(r)
	if !ok {
		forward.ServeHTTP(w, r)
		return
	}
	if r.URL.Query().Get("sendInitialEvents") == "true" {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnprocessableEntity)
		_ = json.NewEncoder(w).Encode(metav1.Status{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Code: http.StatusUnprocessableEntity,
			Reason: metav1.StatusReasonInvalid, Message: "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled",
		})
		return
	}
	p.mu.Lock()
	p.used[asked] = true
	p.mu.Unlock()
	answer := &watchedResponse{ResponseWriter: w}
	forward.ServeHTTP(answer, r)
	if answer.status == http.StatusForbidden && bytes.Contains(answer.body.Bytes(), []byte("cannot")) {
		p.mu.Lock()
		p.no[asked.String()] = true
		p.mu.Unlock()
	}
}

// watchedResponse keeps the body of a refusal.
type watchedResponse struct {
	http.ResponseWriter

	status int
	body   bytes.Buffer
}

func (a *watchedResponse) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

func (a *watchedResponse) Write(p []byte) (int, error) {
	if a.status == http.StatusForbidden {
		a.body.Write(p)
	}
	return a.ResponseWriter.Write(p)
}

// Unwrap lets events of a watch be flushed.
func (a *watchedResponse) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// rightOf returns the right that a request needs. Everybody may discover what the API server serves.
func rightOf(r *http.Request) (right, bool) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	var asked right
	switch {
	case len(parts) > 2 && parts[0] == "api":
		parts = parts[2:]
	case len(parts) > 3 && parts[0] == "apis":
		asked.group, parts = parts[1], parts[3:]
	default:
		return right{}, false
	}
	if len(parts) > 2 && parts[0] == "namespaces" {
		asked.namespace, parts = parts[1], parts[2:]
	}
	asked.resource = parts[0]
	if len(parts) > 1 {
		asked.name = parts[1]
	}
	if len(parts) > 2 {
		asked.resource += "/" + parts[2]
	}
	verbs := map[string]string{http.MethodPost: "create", http.MethodPut: "update", http.MethodPatch: "patch", http.MethodDelete: "delete", http.MethodGet: "get"}
	asked.verb = verbs[r.Method]
	switch {
	case r.Method == http.MethodGet && r.URL.Query().Get("watch") != "":
		asked.verb = "watch"
	case r.Method == http.MethodGet && asked.name == "":
		asked.verb = "list"
	case r.Method == http.MethodDelete && asked.name == "":
		asked.verb = "deletecollection"
	}
	return asked, true
}
