// Package plugin_test runs the plugin of kubectl as its users do: by a real kubectl, against a whole installation.
package plugin_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/util/wait"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"apitokens.dev/operator/hack/lib/controlplane"
	"apitokens.dev/operator/hack/lib/rig"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/plugin/exit"
)

// world is an installation with the sample site behind nginx, and the plugin.
type world struct {
	*testing.T
	*rig.Rig

	plugins string
}

// installation is the one that all tests share, once the first of them has started it.
var installation = sync.OnceValues(func() (*rig.Rig, error) { return rig.Start(context.Background(), os.Stderr) })

// started reports whether a test has started the installation.
var started atomic.Bool

func TestMain(m *testing.M) {
	logf.SetLogger(logr.Discard()) // the library complains otherwise
	code := m.Run()
	if started.Load() {
		if r, _ := installation(); r != nil && r.Stop() != nil {
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

func newWorld(t *testing.T) *world {
	t.Helper()
	if testing.Short() {
		t.Skip("needs an API server and nginx, and -short is set")
	}
	started.Store(true)
	r, err := installation()
	w := &world{T: t, Rig: r, plugins: t.TempDir()}
	w.must(err)
	build := exec.CommandContext(t.Context(), "go", "build", "-o", w.plugins+"/", "./cmd/kubectl-apitoken")
	build.Dir = controlplane.RepositoryRoot()
	out, err := build.CombinedOutput()
	if err != nil {
		t.Fatalf("building the plugin: %v: %s", err, out)
	}
	for _, sample := range []string{"namespace.yaml", "issuers.yaml", "personal_access_token.yaml", "site.yaml"} {
		text, err := r.Sample(sample)
		w.must(err)
		_, err = r.KubectlAs(t.Context(), "admin", text, "apply", "-f", "-")
		w.must(err)
	}
	_, err = r.KubectlAs(t.Context(), "admin", nil, "wait", "atlassiansite/main", "--for=condition=Ready", "--timeout=1m")
	w.must(err)
	if r.Nginx == nil {
		w.must(r.StartNginx(t.Context(), w.authURL("main")))
	}
	return w
}

// authURL returns the auth URL of a site for nginx.
func (w *world) authURL(site string) string {
	w.Helper()
	return w.authURLOf(site, authurl.Nginx)
}

// authURLOf returns the auth URL of a site for a contract.
func (w *world) authURLOf(site string, contract authurl.Contract) string {
	w.Helper()
	template := fmt.Sprintf("go-template={{.data.%s | base64decode}}", contract)
	url, err := w.KubectlAs(w.Context(), "admin", nil, "get", "secret", site+"-auth-urls", "-o", template)
	w.must(err)
	return url
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// apitoken runs `kubectl apitoken` as a user, and expects an exit code. It returns standard output.
func (w *world) apitoken(code int, user, in string, args ...string) string {
	w.Helper()
	kubectl := exec.CommandContext(w.Context(), w.Kubectl(), append([]string{"apitoken", "-n", rig.Namespace}, args...)...)
	kubectl.Env = append(os.Environ(), "PATH="+w.plugins+string(filepath.ListSeparator)+os.Getenv("PATH"), "KUBECONFIG="+w.Kubeconfig(user))
	var stdout, stderr bytes.Buffer
	kubectl.Stdin, kubectl.Stdout, kubectl.Stderr = strings.NewReader(in), &stdout, &stderr
	err := kubectl.Run()
	var exited *exec.ExitError
	if err != nil && !errors.As(err, &exited) || kubectl.ProcessState.ExitCode() != code {
		w.Fatalf("kubectl apitoken %s: %v, want exit code %d: %s%s", strings.Join(args, " "), err, code, &stdout, &stderr)
	}
	return stdout.String()
}

// expect waits until a request with a token gets a status through nginx. A change counts when the webhook has seen it.
func (w *world) expect(token string, want int) {
	w.Helper()
	got := 0
	err := wait.PollUntilContextTimeout(w.Context(), 20*time.Millisecond, 10*time.Second, true, func(ctx context.Context) (bool, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.URL+"/rest/api/2/myself", http.NoBody)
		if err != nil {
			return false, err
		}
		request.SetBasicAuth("alice", token)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return false, err
		}
		got = response.StatusCode
		return got == want, response.Body.Close()
	})
	if err != nil {
		w.Errorf("a request with the token got %d, want %d: %v", got, want, err)
	}
}

// explains expects that a refusal is explained: from the curl line, and from the log of the webhook.
func (w *world) explains(user, secret string) {
	w.Helper()
	curl := "curl -s --user " + user + ":" + secret + " " + w.URL + "/rest/api/2/myself"
	if out := w.apitoken(exit.No, user, curl, "explain"); !strings.Contains(out, "401 suspended") || strings.Contains(out, secret[30:]) {
		w.Errorf("explain: %s", out)
	}
	var lines string
	var refused []string
	w.eventually(func() (err error) { // the webhook writes its log a moment later
		lines, err = w.Webhook.Log()
		w.must(err)
		if refused = regexp.MustCompile(`"reason":"suspended".*"requestID":"(\w+)"`).FindStringSubmatch(lines); refused == nil {
			return errors.New("the webhook logged no refusal")
		}
		return nil
	})
	if out := w.apitoken(exit.No, user, lines, "explain", "--request-id", refused[1], "--log", "-"); !strings.Contains(out, "401 suspended") {
		w.Errorf("explain: %s", out)
	}
}

// The life of a token, from its creation to its end. Each step counts at the gateway.
func TestLifeOfAToken(t *testing.T) {
	w := newWorld(t)
	w.apitoken(exit.Failed, "mallory", "", "create", "alice-ci", "--user", "alice")
	// Alice may create tokens for herself, and may not read Secrets.
	w.apitoken(exit.Done, "alice", "", "create", "unseen", "--user", "alice")
	w.apitoken(exit.Failed, "alice", "", "create", "forbidden", "--user", "alice", "--show")
	out := w.apitoken(exit.Done, "admin", "", "create", "alice-ci", "--user", "alice", "--label", "CI scripts", "--show")
	first := strings.TrimSpace(out)
	w.expect(first, http.StatusOK)

	out = w.apitoken(exit.Done, "alice", "", "list", "--user", "alice")
	if !strings.Contains(out, "CI scripts") || !strings.Contains(out, "Issued") {
		t.Errorf("list: %s", out)
	}
	w.apitoken(exit.Done, "alice", "", "rotate", "alice-ci", "--overlap-hours=0")
	w.expect(first, http.StatusUnauthorized)
	secret, err := w.KubectlAs(t.Context(), "admin", nil, "get", "secret", "alice-ci-token", "-o", "go-template={{.data.password | base64decode}}")
	w.must(err)
	w.expect(secret, http.StatusOK)

	w.apitoken(exit.Done, "alice", "", "suspend", "alice-ci")
	w.expect(secret, http.StatusUnauthorized)
	w.explains("alice", secret)
	w.apitoken(exit.Failed, "mallory", "", "resume", "alice-ci")
	w.apitoken(exit.Done, "alice", "", "resume", "alice-ci")
	w.expect(secret, http.StatusOK)

	described := w.apitoken(exit.Done, "admin", "", "describe", "alice-ci")
	if !strings.Contains(described, "Rotated") || strings.Contains(described, secret) {
		t.Errorf("describe: %s", described)
	}
	urls := w.apitoken(exit.Done, "admin", "", "urls", "main", "--gateway", "nginx")
	if !strings.Contains(urls, strings.TrimPrefix(w.WebhookURL, "http://")) {
		t.Errorf("urls: %s", urls)
	}
	w.apitoken(exit.Usage, "alice", "no\n", "revoke", "alice-ci")
	w.expect(secret, http.StatusOK)
	w.apitoken(exit.Done, "alice", "alice-ci\n", "revoke", "alice-ci")
	w.expect(secret, http.StatusUnauthorized)
}
