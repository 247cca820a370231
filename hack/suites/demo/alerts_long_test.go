//go:build long

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"apitokens.dev/operator/hack/lib/controlplane"
	"apitokens.dev/operator/hack/lib/ports"
)

// A real Prometheus scrapes the real processes, with the rules of config/components/monitoring. Without a fault no alert fires. Each
// fires in its drill, and no other does. Here are the drills that need no hour: hack/tools/promtool has all of them.
func TestLongAlerts(t *testing.T) {
	s := begin(t)
	s.patchSpec(t, "admin", "atlassiansite/main", fields{"otherCredentials": fields{"password": fields{"action": "Observe"}}})
	if err := s.checkDoor(t.Context()); err != nil {
		t.Fatal(err)
	}
	p := s.startPrometheus(t)
	if err := wait.PollUntilContextTimeout(t.Context(), time.Second, time.Minute, true, func(ctx context.Context) (bool, error) {
		firing, scraped, err := p.alerts(ctx)
		return scraped && len(firing) == 0, err
	}); err != nil {
		t.Fatalf("waiting for the first scrapes: %v", err)
	}
	var expected []string
	for _, drill := range []struct {
		// alert fires while fault is repeated. The first drill has none.
		alert string
		fault func(context.Context) error
	}{
		{"", func(context.Context) error { return nil }},
		{"APITokenGatewayRefused", s.refuseWrongCaller},
		{"APITokenPasswordsUsed", func(ctx context.Context) error {
			_, err := s.ask(ctx, ask{password: "no token"})
			return err
		}},
		{"APITokenPoliciesMissing", func(ctx context.Context) error {
			_, err := s.KubectlAs(ctx, "admin", nil, "delete", "--ignore-not-found", "validatingadmissionpolicybinding", "issue.apitokens.dev")
			return err
		}},
		{"APITokenAPIServerAway", func() func(context.Context) error {
			stop := sync.OnceValue(s.StopAPIServer)
			return func(context.Context) error { return stop() }
		}()},
	} {
		if drill.alert != "" {
			expected = append(expected, drill.alert)
		}
		begun := time.Now()
		err := wait.PollUntilContextTimeout(t.Context(), time.Second, 4*time.Minute, true, func(ctx context.Context) (bool, error) {
			if err := drill.fault(ctx); err != nil {
				return false, err
			}
			firing, _, err := p.alerts(ctx)
			for _, name := range firing {
				if !slices.Contains(expected, name) {
					return false, fmt.Errorf("%s fires", name)
				}
			}
			quiet := drill.alert == "" && time.Since(begun) > 20*time.Second
			return quiet || slices.Contains(firing, drill.alert), err
		})
		if err != nil {
			t.Fatalf("drill %q: %v", drill.alert, err)
		}
		t.Logf("%q fires after %s", drill.alert, time.Since(begun).Round(time.Second))
	}
}

// scraper is a running Prometheus.
type scraper struct{ url string }

// startPrometheus starts Prometheus beside the rig. It scrapes and evaluates every second, and waits seconds where the rules say
// minutes.
func (s *story) startPrometheus(t *testing.T) *scraper {
	t.Helper()
	folder, root := t.TempDir(), controlplane.RepositoryRoot()
	binary := filepath.Join(folder, "prometheus")
	build := exec.CommandContext(t.Context(), "go", "build", "-C", filepath.Join(root, "hack/tools/promtool"), "-tags", "remove_all_sd", "-o", binary,
		"github.com/prometheus/prometheus/cmd/prometheus")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building Prometheus: %v: %s", err, out)
	}
	rules, err := os.ReadFile(filepath.Join(root, "config/components/monitoring/rules.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var config bytes.Buffer
	config.WriteString("global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [rules.yaml]\nscrape_configs:\n")
	for name, url := range map[string]string{"controller": s.ControllerMetricsURL, "webhook": s.MetricsURL, "portal": s.PortalMetricsURL} {
		address := strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/metrics")
		fmt.Fprintf(&config, "  - job_name: %s\n    static_configs: [{targets: [%q], labels: {namespace: apitoken-system, pod: apitoken-%s}}]\n", name, address, name)
	}
	for name, text := range map[string][]byte{
		"rules.yaml": regexp.MustCompile(`for: \d+[mh]`).ReplaceAll(rules, []byte("for: 5s")), "prometheus.yaml": config.Bytes(),
	} {
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	free, err := ports.Free(1)
	if err != nil {
		t.Fatal(err)
	}
	process := exec.CommandContext(t.Context(), binary, "--config.file="+filepath.Join(folder, "prometheus.yaml"), "--storage.tsdb.path="+filepath.Join(folder, "data"),
		"--web.listen-address="+free[0], "--log.level=warn")
	process.Stdout, process.Stderr = t.Output(), t.Output()
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = process.Process.Kill()
		_ = process.Wait()
	})
	return &scraper{"http://" + free[0]}
}

// alerts returns the names of the alerts that fire, and whether there are metrics of all processes.
func (p *scraper) alerts(ctx context.Context) (firing []string, scraped bool, err error) {
	var found struct {
		Data struct {
			Alerts []struct {
				Labels map[string]string
				State  string
			}
		}
	}
	if err := p.get(ctx, "/api/v1/alerts", &found); err != nil {
		return nil, false, nil //nolint:nilerr // it starts
	}
	for _, a := range found.Data.Alerts {
		if a.State == "firing" {
			firing = append(firing, a.Labels["alertname"])
		}
	}
	var up struct {
		Data struct {
			Result []struct{ Value []any }
		}
	}
	err = p.get(ctx, "/api/v1/query?query=sum(up)", &up)
	return firing, err == nil && len(up.Data.Result) == 1 && up.Data.Result[0].Value[1] == "3", err
}

func (p *scraper) get(ctx context.Context, path string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+path, http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	return json.NewDecoder(response.Body).Decode(into)
}
