//go:build cluster && long

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"apitokens.dev/operator/hack/lib/cluster"
	"apitokens.dev/operator/hack/lib/controlplane"
)

// monitor is a ServiceMonitor, with all that the one of config/components/monitoring says. Another field is an error: the configuration
// below does not know it.
type monitor struct {
	Selector  metav1.LabelSelector `json:"selector"`
	Endpoints []struct {
		Port string `json:"port"`
	} `json:"endpoints"`
}

type object = map[string]any

// scrapeConfig returns what the Prometheus operator makes of a ServiceMonitor in the operator's namespace, but that pods are looked at
// every second.
func (m monitor) scrapeConfig(t *testing.T) []object {
	t.Helper()
	if len(m.Selector.MatchExpressions) > 0 || len(m.Selector.MatchLabels) == 0 {
		t.Fatalf("the ServiceMonitor selects by more or less than labels: %+v", m.Selector)
	}
	var all []object
	for i, endpoint := range m.Endpoints {
		relabel := []object{
			{"action": "keep", "source_labels": []string{"__meta_kubernetes_endpointslice_port_name"}, "regex": endpoint.Port},
			{"action": "drop", "source_labels": []string{"__meta_kubernetes_pod_phase"}, "regex": "(Failed|Succeeded)"},
		}
		for label, value := range m.Selector.MatchLabels {
			meta := "__meta_kubernetes_service_label_" + regexp.MustCompile(`\W`).ReplaceAllString(label, "_")
			relabel = append(relabel, object{"action": "keep", "source_labels": []string{meta}, "regex": regexp.QuoteMeta(value)})
		}
		for label, meta := range map[string]string{
			"namespace": "namespace", "service": "service_name", "pod": "pod_name", "container": "pod_container_name", "job": "service_name",
			"endpoint": "endpointslice_port_name",
		} {
			relabel = append(relabel, object{"source_labels": []string{"__meta_kubernetes_" + meta}, "target_label": label})
		}
		all = append(all, object{
			"job_name":              "serviceMonitor/apitoken-system/apitoken-operator/" + strconv.Itoa(i),
			"kubernetes_sd_configs": []object{{"role": "endpointslice", "namespaces": object{"names": []string{cluster.System}}}},
			"relabel_configs":       relabel,
		})
	}
	return all
}

// readSpec reads the spec of an object of the Prometheus operator that was applied.
func readSpec(t *testing.T, kind string, into any) {
	t.Helper()
	var found struct{ Spec json.RawMessage }
	err := json.Unmarshal([]byte(admin(t, "--namespace", cluster.System, "get", kind, "apitoken-operator", "--output", "json")), &found)
	if err == nil {
		decoder := json.NewDecoder(bytes.NewReader(found.Spec))
		decoder.DisallowUnknownFields()
		err = decoder.Decode(into)
	}
	if err != nil {
		t.Fatalf("reading the %s: %v", kind, err)
	}
}

// hurried returns rules that wait for a second where they say a minute, and look back for two minutes. Thresholds stay. A shorter look
// back finds that no controller leads before it is clear, after more than a minute, that the API server is away.
func hurried(t *testing.T, rules []byte) string {
	t.Helper()
	waiting := regexp.MustCompile(`"for": *"(\d+)([mh])"`)
	rules = waiting.ReplaceAllFunc(rules, func(found []byte) []byte {
		parts := waiting.FindSubmatch(found)
		n, err := strconv.Atoi(string(parts[1]))
		if err != nil {
			t.Fatal(err)
		}
		if string(parts[2]) == "h" {
			n *= 60
		}
		return fmt.Appendf(nil, `"for":"%ds"`, n)
	})
	return string(regexp.MustCompile(`\[\d+[mh]\]`).ReplaceAll(rules, []byte("[2m]")))
}

// startPrometheus starts Prometheus as a pod. The ServiceMonitor says what it scrapes, and the PrometheusRule has its alerts.
func startPrometheus(t *testing.T) *prometheus {
	t.Helper()
	if err := on.Import(t.Context(), filepath.Join(controlplane.RepositoryRoot(), "bin/cluster/images/prometheus-test.oci.tar")); err != nil {
		t.Fatal(err)
	}
	var scraped monitor
	readSpec(t, "servicemonitor", &scraped)
	var rules struct {
		Groups json.RawMessage `json:"groups"`
	}
	readSpec(t, "prometheusrule", &rules)
	config, err := json.Marshal(object{
		"global":     object{"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
		"rule_files": []string{"/conf/rules.json"}, "scrape_configs": scraped.scrapeConfig(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	files, err := json.Marshal(object{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": object{"name": "prometheus", "namespace": "monitoring"},
		"data": object{"prometheus.json": string(config), "rules.json": `{"groups":` + hurried(t, rules.Groups) + `}`},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := on.Apply(t.Context(), "prometheus.yaml"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { admin(t, "delete", "namespace", "monitoring", "--timeout=2m") })
	adminWith(t, string(files), "apply", "--server-side", "-f", "-")
	p := &prometheus{url: "http://" + on.Address("prometheus"), seen: time.Now()}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("Prometheus says:\n%s", p.says(t))
		}
	})
	admin(t, "--namespace", "monitoring", "rollout", "status", "deployment/prometheus", "--timeout=1m")
	return p
}

// prometheus is a running Prometheus.
type prometheus struct {
	url string
	// seen is until when the alerts were looked at.
	seen time.Time
}

// says returns its log, and what it knows of its targets.
func (p *prometheus) says(t *testing.T) string {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	log, err := on.Kubectl(ctx, "admin", nil, "--namespace", "monitoring", "logs", "deployment/prometheus", "--tail=20")
	found, asked := p.targets(ctx)
	return fmt.Sprintf("%s%v\n%+v%v", log, err, found, asked)
}

// get asks the API of Prometheus.
func (p *prometheus) get(ctx context.Context, path string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+path, http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("asking Prometheus: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	answer := struct {
		Error string
		Data  any
	}{Data: into}
	if err = json.NewDecoder(response.Body).Decode(&answer); err == nil && answer.Error != "" {
		err = errors.New(answer.Error)
	}
	if err != nil {
		return fmt.Errorf("asking Prometheus for %s: %w", path, err)
	}
	return nil
}

// sample is a series with its value now.
type sample struct {
	Metric map[string]string
	Value  [2]any
}

func (p *prometheus) query(ctx context.Context, expression string) ([]sample, error) {
	var found struct{ Result []sample }
	err := p.get(ctx, "/api/v1/query?query="+url.QueryEscape(expression), &found)
	return found.Result, err
}

// fired returns the alerts that have fired at any time since the last call.
func (p *prometheus) fired(ctx context.Context) (names []string, err error) {
	now := time.Now()
	since := now.Sub(p.seen) + time.Second
	found, err := p.query(ctx, fmt.Sprintf(`group by (alertname) (max_over_time(ALERTS{alertstate="firing"}[%dms]))`, since.Milliseconds()))
	if err != nil {
		return nil, err
	}
	p.seen = now
	for _, s := range found {
		names = append(names, s.Metric["alertname"])
	}
	slices.Sort(names)
	return names, nil
}

// target is a pod that Prometheus scrapes.
type target struct {
	Labels            map[string]string
	Health, LastError string
}

func (p *prometheus) targets(ctx context.Context) ([]target, error) {
	var found struct{ ActiveTargets []target }
	err := p.get(ctx, "/api/v1/targets?state=active", &found)
	return found.ActiveTargets, err
}

// scrapesAll returns an error unless Prometheus scrapes every pod of the operator, and nothing else.
func (p *prometheus) scrapesAll(ctx context.Context, pods []corev1.Pod) error {
	found, err := p.targets(ctx)
	if err != nil {
		return err
	}
	var want, got []string
	for _, pod := range pods {
		want = append(want, pod.Name)
	}
	for _, target := range found {
		if got = append(got, target.Labels["pod"]); target.Health != "up" {
			return fmt.Errorf("%s is %s: %s", target.Labels["pod"], target.Health, target.LastError)
		}
	}
	slices.Sort(want)
	if slices.Sort(got); !slices.Equal(want, got) {
		return fmt.Errorf("these pods are scraped: %v, want %v", got, want)
	}
	return nil
}

// emptyInHealth are the panels of the dashboard that show something only once something is wrong or used.
var emptyInHealth = map[string]string{
	"No verdict, by reason":    "each request gets a verdict",
	"Requests with a password": "nobody uses one",
}

// dashboard fails unless each panel of the dashboard shows something.
func (p *prometheus) dashboard(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(controlplane.RepositoryRoot(), "config/components/monitoring/dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	variables := strings.NewReplacer("$namespace", ".*", "$site", ".*", "$__rate_interval", "1m", "$__range", "5m")
	shown := 0
	for _, panel := range board.Panels {
		for _, target := range panel.Targets {
			shown++
			data, err := p.hasData(t.Context(), variables.Replace(target.Expr))
			if _, empty := emptyInHealth[panel.Title]; err != nil || data == empty {
				t.Errorf("panel %q has data: %v, %v, of %s", panel.Title, data, err, target.Expr)
			}
		}
	}
	if shown < 20 {
		t.Errorf("found only %d queries", shown)
	}
}

// hasData reports whether an expression has a value that is a number.
func (p *prometheus) hasData(ctx context.Context, expression string) (bool, error) {
	found, err := p.query(ctx, expression)
	return slices.ContainsFunc(found, func(s sample) bool { return s.Value[1] != "NaN" }), err
}

var errNoAlert = errors.New("the alert does not fire")
