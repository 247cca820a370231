package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"sigs.k8s.io/yaml"

	"apitokens.dev/operator/hack/lib/authority"
	"apitokens.dev/operator/hack/lib/controlplane"
	"apitokens.dev/operator/internal/serving"
)

// series are the samples of all processes by name, as the labels of each.
type series map[string][]map[string]string

var (
	sample = regexp.MustCompile(`(?m)^(\w+)(?:\{(.*)\})? \S+$`)
	label  = regexp.MustCompile(`(\w+)="((?:[^"\\]|\\.)*)"`)
)

func (all series) read(text string) {
	for _, line := range sample.FindAllStringSubmatch(text, -1) {
		labels := map[string]string{}
		for _, pair := range label.FindAllStringSubmatch(line[2], -1) {
			labels[pair[1]] = pair[2]
		}
		all[line[1]] = append(all[line[1]], labels)
	}
}

// ofTarget are the labels that Prometheus gives every series of a pod.
var ofTarget = []string{"namespace", "pod", "instance", "job"}

// labelsOf returns the labels that a series of this name may have.
func (all series) labelsOf(name string) map[string]bool {
	found := map[string]bool{}
	for _, one := range all[name] {
		for l := range one {
			found[l] = true
		}
	}
	for _, l := range ofTarget {
		found[l] = true
	}
	return found
}

// selector is one metric in an expression of PromQL, with its matchers.
type selector struct {
	name     string
	matchers [][]string
}

var (
	selected = regexp.MustCompile(`\b([a-z]+_[a-z_]+)(?:\{([^}]*)\})?`)
	matcher  = regexp.MustCompile(`(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"`)
	grouping = regexp.MustCompile(`\b(?:by|on|without|ignoring|group_left|group_right)\s*\(([^)]*)\)`)
	// functions are names with an underscore that are no metrics.
	functions = []string{"histogram_quantile"}
)

// selectorsOf returns the metrics in an expression, and the labels by which it groups.
func selectorsOf(expression string) (found []selector, groups []string) {
	for _, group := range grouping.FindAllStringSubmatch(expression, -1) {
		for l := range strings.SplitSeq(group[1], ",") {
			if l = strings.TrimSpace(l); l != "" {
				groups = append(groups, l)
			}
		}
	}
	rest := grouping.ReplaceAllString(expression, "")
	for _, m := range selected.FindAllStringSubmatch(rest, -1) {
		if !slices.Contains(functions, m[1]) {
			found = append(found, selector{m[1], matcher.FindAllStringSubmatch(m[2], -1)})
		}
	}
	return found, groups
}

// unknown returns everything in an expression that no process exposes.
func (all series) unknown(expression string) (problems []string) {
	found, groups := selectorsOf(expression)
	if len(found) == 0 {
		problems = append(problems, "it has no metric")
	}
	known := map[string]bool{}
	for _, s := range found {
		labels := all.labelsOf(s.name)
		if len(all[s.name]) == 0 {
			problems = append(problems, "no process exposes "+s.name)
			continue
		}
		for _, m := range s.matchers {
			if !labels[m[1]] {
				problems = append(problems, fmt.Sprintf("%s has no label %s", s.name, m[1]))
			}
		}
		maps.Copy(known, labels)
	}
	for _, l := range groups {
		if !known[l] {
			problems = append(problems, "no metric in it has the label "+l)
		}
	}
	return problems
}

// empty returns the metrics of an expression of which no series matches.
func (all series) empty(expression string) (names []string) {
	found, _ := selectorsOf(expression)
	for _, s := range found {
		if !slices.ContainsFunc(all[s.name], s.matches) {
			names = append(names, s.name)
		}
	}
	return names
}

func (s selector) matches(labels map[string]string) bool {
	for _, m := range s.matchers {
		value, operator := m[3], m[2]
		if strings.HasPrefix(value, "$") || slices.Contains(ofTarget, m[1]) {
			continue // a variable of the dashboard, or a label that Prometheus sets
		}
		is := labels[m[1]] == value
		if strings.HasSuffix(operator, "~") {
			is = regexp.MustCompile("^(?:" + value + ")$").MatchString(labels[m[1]])
		}
		if is == strings.HasPrefix(operator, "!") {
			return false
		}
	}
	return true
}

type rule struct {
	Alert, Expr string
	Labels      map[string]string
	Annotations map[string]string
}

// alerts returns the rules of config/components/monitoring.
func alerts(t *testing.T) (all []rule) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(controlplane.RepositoryRoot(), "config/components/monitoring/rules.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Groups []struct{ Rules []rule } }
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	for _, group := range file.Groups {
		all = append(all, group.Rules...)
	}
	if len(all) < 20 {
		t.Fatalf("found only %d alerts", len(all))
	}
	return all
}

type dashboard struct {
	Panels []struct {
		ID          int
		Type, Title string
		Description string
		Targets     []struct{ Expr string }
	}
}

// panels returns the dashboard of config/components/monitoring.
func panels(t *testing.T) (d dashboard) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(controlplane.RepositoryRoot(), "config/components/monitoring/dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// dashboard checks that every panel shows something, of what processes expose.
func (all series) dashboard(t *testing.T) {
	t.Helper()
	ids, shown := map[int]bool{}, 0
	for _, p := range panels(t).Panels {
		if ids[p.ID] {
			t.Errorf("panel %d, %q: its number is taken", p.ID, p.Title)
		}
		if ids[p.ID] = true; p.Type == "row" {
			continue
		}
		if shown++; p.Title == "" || p.Description == "" || len(p.Targets) == 0 {
			t.Errorf("panel %d, %q, has no title, description or expression", p.ID, p.Title)
		}
		for _, target := range p.Targets {
			for _, problem := range all.unknown(target.Expr) {
				t.Errorf("panel %q: %s", p.Title, problem)
			}
			for _, name := range all.empty(target.Expr) {
				t.Errorf("panel %q: no series of %s matches %s", p.Title, name, target.Expr)
			}
		}
	}
	if shown < 20 {
		t.Errorf("found only %d panels", shown)
	}
}

// monitoring checks the alerts and the dashboard against what controller, webhook and portal expose: every metric and every label
// that they name exists, and no panel is without data.
func (s *story) monitoring(t *testing.T) {
	s.patchSpec(t, "admin", "atlassiansite/main", fields{"otherCredentials": fields{"password": fields{"action": "Observe"}}})
	s.await(t, expect{ask: ask{password: "no token"}, want: toProduct})
	// A request to the portal, and a question that gets no verdict.
	for _, url := range []string{s.URL + "/rest/api-tokens/latest/tokens", s.WebhookURL} {
		do(t, newRequest(t, http.MethodGet, url, http.NoBody))
	}
	all := series{}
	for name, body := range s.scrapes(t) {
		if body == "" {
			t.Fatalf("the %s exposes nothing", name)
		}
		all.read(body)
	}
	all.dashboard(t)
	for _, a := range alerts(t) {
		for _, problem := range all.unknown(a.Expr) {
			t.Errorf("%s: %s", a.Alert, problem)
		}
		_, groups := selectorsOf(a.Expr)
		for _, text := range a.Annotations {
			for _, named := range regexp.MustCompile(`\$labels\.(\w+)`).FindAllStringSubmatch(text, -1) {
				if !slices.Contains(groups, named[1]) {
					t.Errorf("%s names the label %s, which its expression does not keep", a.Alert, named[1])
				}
			}
		}
	}
}

// scrapes returns what every process exposes once it has measured everything, and the metrics of a certificate.
func (s *story) scrapes(t *testing.T) map[string]string {
	t.Helper()
	bodies := map[string]string{"certificate": certificateMetrics(t)}
	err := s.eventually(t.Context(), "metrics of a check of a personal access token, of the door and of the lease", func(ctx context.Context) (bool, error) {
		for name, url := range map[string]string{"controller": s.ControllerMetricsURL, "webhook": s.MetricsURL, "portal": s.PortalMetricsURL} {
			response, err := http.DefaultClient.Do(newRequest(t, http.MethodGet, url, http.NoBody))
			if err != nil {
				return false, err
			}
			body, err := io.ReadAll(response.Body)
			_ = response.Body.Close()
			if err != nil {
				return false, err
			}
			bodies[name] = string(body)
		}
		return strings.Contains(bodies["controller"], "apitoken_upstream_credential_check_age_seconds{") &&
			strings.Contains(bodies["controller"], "apitoken_site_ingress_protected{") &&
			!strings.Contains(bodies["webhook"], "apitoken_feed_latency_seconds_count 0"), ctx.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	return bodies
}

// certificateMetrics returns what a process exposes that serves TLS, which those of the rig do not.
func certificateMetrics(t *testing.T) string {
	t.Helper()
	pair, err := authority.ForTest(t, "monitoring").Server(time.Now().Add(time.Hour), "webhook")
	if err != nil {
		t.Fatal(err)
	}
	certificate, key, err := authority.EncodePEM(pair)
	if err != nil {
		t.Fatal(err)
	}
	folder, registry := t.TempDir(), prometheus.NewRegistry()
	o := serving.Options{TLS: serving.TLSFiles{Cert: folder + "/tls.crt", Key: folder + "/tls.key", MinVersion: "1.3"}, Registry: registry}
	for name, content := range map[string][]byte{o.TLS.Cert: certificate, o.TLS.Key: key} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := o.Prepare(logr.Discard()); err != nil {
		t.Fatal(err)
	}
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
	return answer.Body.String()
}
