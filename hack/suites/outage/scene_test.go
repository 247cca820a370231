// Package outage_test breaks the API server of real webhooks, and the path to it. Webhooks keep answering from their last
// known state, and learn what they missed within seconds of its return.
package outage_test

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"apitokens.dev/operator/hack/lib/fault"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/hack/lib/rig"
	"apitokens.dev/operator/internal/authurl"
)

// Limits that the documentation promises.
const (
	// recovery is the time after the end of an outage within which all missed changes are seen.
	recovery = 10 * time.Second
	// detection is the time within which a frozen connection is replaced by one that shows all changes.
	detection = 12 * time.Second
)

var (
	env      kubetest.Env
	operator *rig.Rig
	gateway  = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}, Timeout: 5 * time.Second}
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (status int) {
	var err error
	if operator, err = rig.Bare(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// These tests wait more than they compute. A -parallel flag still takes precedence.
	if err := flag.Set("test.parallel", "8"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := operator.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			status = 1
		}
	}()
	return env.Main(m)
}

// scene is a site, its tokens, and webhooks that reach the API server through a path that can break.
type scene struct {
	*testing.T
	*kubetest.ReadySite

	kubeconfig string
	// live stays valid. revoked, during and after are revoked before, during and after the outage.
	live, revoked, during, after *kubetest.IssuedToken
	replicas                     []*rig.Replica
}

// newScene starts a number of replicas with this kubeconfig.
func newScene(t *testing.T, kubeconfig string, replicas int) *scene {
	s := &scene{T: t, ReadySite: env.ReadySite(t), kubeconfig: kubeconfig}
	s.live, s.revoked, s.during, s.after = s.Issue(t, "live"), s.Issue(t, "revoked"), s.Issue(t, "during"), s.Issue(t, "after")
	for range replicas {
		s.await(s.launch(), recovery)
	}
	for _, r := range s.replicas {
		for _, token := range []*kubetest.IssuedToken{s.live, s.revoked, s.during, s.after} {
			s.expect(r, token, http.StatusOK)
		}
	}
	return s
}

// launch starts a further replica.
func (s *scene) launch() *rig.Replica {
	s.Helper()
	name := fmt.Sprintf("%s-%d", strings.ReplaceAll(s.Name(), "/", "-"), len(s.replicas))
	r, err := operator.NewReplica(name, s.kubeconfig, 0)
	must(s.T, err)
	must(s.T, r.Launch())
	s.replicas = append(s.replicas, r)
	s.Cleanup(func() {
		if err := r.Stop(); err != nil {
			s.Error(err)
		}
		if log, err := r.Log(); s.Failed() {
			s.Logf("%s ended with:\n%s%v", name, log[max(0, len(log)-4000):], err)
		}
	})
	return r
}

// await waits until a replica is ready.
func (s *scene) await(r *rig.Replica, patience time.Duration) {
	s.Helper()
	s.eventually(patience, func() error {
		if ready := s.ready(r); ready != http.StatusOK {
			return fmt.Errorf("/readyz answers %d", ready)
		}
		return nil
	})
}

func (s *scene) eventually(patience time.Duration, check func() error) {
	s.Helper()
	var last error
	err := wait.PollUntilContextTimeout(s.Context(), 20*time.Millisecond, patience, true, func(context.Context) (bool, error) {
		last = check()
		return last == nil, nil
	})
	if err != nil {
		s.Fatalf("after %s still: %v", patience, last)
	}
}

// ask asks a replica about a request with a token, as nginx does. It returns the status, 0 without an answer.
func (s *scene) ask(r *rig.Replica, token *kubetest.IssuedToken) int {
	request, err := http.NewRequest(http.MethodGet, r.URL+s.Keys.Address(authurl.Nginx).String(), http.NoBody)
	must(s.T, err)
	request.Header.Set("X-Original-URL", s.Site.Spec.BaseURL+"/rest/api/2/myself")
	request.Header.Set("X-Original-Method", http.MethodGet)
	request.SetBasicAuth("alice", token.Text)
	return status(request)
}

// expect asks, and fails at once on another answer.
func (s *scene) expect(r *rig.Replica, token *kubetest.IssuedToken, want int) {
	s.Helper()
	if got := s.ask(r, token); got != want {
		s.Fatalf("the token %s was answered %d, want %d", token.Name, got, want)
	}
}

func (s *scene) ready(r *rig.Replica) int {
	request, err := http.NewRequest(http.MethodGet, r.HealthURL+"/readyz", http.NoBody)
	must(s.T, err)
	return status(request)
}

func status(request *http.Request) int {
	response, err := gateway.Do(request)
	if err != nil {
		return 0
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	return response.StatusCode
}

// staleness returns the exported time since when a replica has no watch, for each resource.
func (s *scene) staleness(r *rig.Replica) map[string]time.Duration {
	s.Helper()
	response, err := gateway.Get(r.MetricsURL)
	must(s.T, err)
	defer func() { _ = response.Body.Close() }()
	stale := map[string]time.Duration{}
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		rest, ok := strings.CutPrefix(lines.Text(), `apitoken_feed_staleness_seconds{resource="`)
		if resource, value, is := strings.Cut(rest, `"} `); ok && is {
			seconds, err := strconv.ParseFloat(value, 64)
			must(s.T, err)
			stale[resource] = time.Duration(seconds * float64(time.Second))
		}
	}
	if len(stale) != 9 {
		s.Fatalf("staleness is exported of %v", stale)
	}
	return stale
}

// fresh returns an error while a replica lacks a watch.
func (s *scene) fresh(r *rig.Replica) error {
	for resource, stale := range s.staleness(r) {
		if stale != 0 {
			return fmt.Errorf("%s is stale for %s", resource, stale)
		}
	}
	return nil
}

// revoke deletes a token directly at the API server, not through the broken path.
func (s *scene) revoke(token *kubetest.IssuedToken) {
	s.Helper()
	must(s.T, env.Admin.Delete(s.Context(), token.APIToken))
}

// awaitRevoked waits until every replica refuses these tokens and is fresh. It returns the time that passed.
func (s *scene) awaitRevoked(since time.Time, tokens ...*kubetest.IssuedToken) {
	s.Helper()
	for i, r := range s.replicas {
		s.eventually(time.Until(since.Add(recovery)), func() error {
			for _, token := range tokens {
				if got := s.ask(r, token); got != http.StatusUnauthorized {
					return fmt.Errorf("replica %d: the token %s is answered %d", i, token.Name, got)
				}
			}
			return s.fresh(r)
		})
		s.Logf("replica %d had seen everything at the latest after %s", i, time.Since(since).Round(10*time.Millisecond))
	}
}

// kubeconfig writes a kubeconfig for the webhook's account, with another address of the API server.
func kubeconfig(t *testing.T, address string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	must(t, env.WriteKubeconfig(path, kubetest.Webhook))
	config, err := clientcmd.LoadFromFile(path)
	must(t, err)
	for _, cluster := range config.Clusters {
		cluster.Server = "https://" + address
	}
	must(t, clientcmd.WriteToFile(*config, path))
	return path
}

// openKubeconfig writes a kubeconfig for a server that needs no credentials.
func openKubeconfig(t *testing.T, url string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	must(t, clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"api": {Server: url}},
		Contexts:       map[string]*clientcmdapi.Context{"api": {Cluster: "api"}},
		CurrentContext: "api",
	}, path))
	return path
}

// newLine returns a line to the API server.
func newLine(t *testing.T, target string) *fault.Line {
	t.Helper()
	line, err := fault.NewLine(target)
	must(t, err)
	t.Cleanup(line.Close)
	return line
}

// newAPI returns a proxy to the API server with the rights of the webhook.
func newAPI(t *testing.T) *fault.API {
	t.Helper()
	api, err := fault.NewAPI(env.User(t, kubetest.Webhook))
	must(t, err)
	t.Cleanup(api.Close)
	return api
}

func apiServer(t *testing.T) string {
	t.Helper()
	url, _, err := rest.DefaultServerUrlFor(env.ControlPlane.Admin())
	must(t, err)
	return url.Host
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
