package doctor

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"apitokens.dev/operator/internal/plugin/session"
)

const (
	// metricsPort is the port of /metrics, and maxMetrics the longest text that is read from there, in bytes.
	metricsPort, maxMetrics = "8082", 8 << 20

	// maxStale is how long a replica may be without an open watch, and maxLate how late it may see a change.
	maxStale, maxLate = 10, 2
	// certificateNotice is how long before its end a certificate is a finding.
	certificateNotice = 7 * 24 * time.Hour
	// maxPATCheck is how old the answer of the product about a personal access token may be, in seconds: each is asked about hourly.
	maxPATCheck = 7200
	// nearLimit is the part of the limit of memory from which on a process is near it.
	nearLimit = 0.85
)

// replica is a process of the operator, with what it says of itself.
type replica struct {
	name    string
	metrics map[string]*dto.MetricFamily
	// memory is the limit of its memory in bytes; zero if there is none, or if it is not known.
	memory float64
}

// checkReplicas reads the metrics of every process of the operator.
func (e *exam) checkReplicas(ctx context.Context) error {
	through, server, err := e.apiServer()
	if err != nil {
		return err
	}
	if _, err := e.get(ctx, through, server+"/version", "API server"); err != nil {
		return session.Doing("asking the API server for its version", err)
	}
	var all []replica
	for _, url := range e.metrics {
		all = e.addReplica(ctx, all, &http.Client{Timeout: requestTimeout}, url, replica{name: url})
	}
	if len(e.metrics) == 0 {
		var pods corev1.PodList
		if err := e.api.List(ctx, &pods, client.InNamespace(e.system), ours); err != nil {
			return session.Doing("listing Pods", e.unless(err, checkReplicas, "list", "pods", e.system))
		}
		for i := range pods.Items {
			p := &pods.Items[i]
			url := fmt.Sprintf("%s/api/v1/namespaces/%s/pods/%s:%s/proxy/metrics", server, p.Namespace, p.Name, metricsPort)
			if p.Status.Phase == corev1.PodRunning {
				all = e.addReplica(ctx, all, through, url, replica{name: "Pod " + p.Namespace + "/" + p.Name, memory: memoryOf(p)})
			}
		}
	}
	if len(all) == 0 {
		e.missed(checkReplicas, "There are no metrics of any replica.", "give their addresses with --metrics-url; docs/reference/metrics.md")
	}
	for _, r := range all {
		e.made(checkReplicas, r.findings(e.Now())...)
	}
	e.compare(all)
	return nil
}

// apiServer returns a client of the API server, and its URL without a slash at the end.
func (c *command) apiServer() (*http.Client, string, error) {
	config, err := c.Config()
	if err != nil {
		return nil, "", err
	}
	through, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, "", fmt.Errorf("connecting to the API server: %w", err)
	}
	server, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, "", fmt.Errorf("connecting to the API server: %w", err)
	}
	return through, strings.TrimSuffix(server.String(), "/"), nil
}

// fileName makes a name of a file of that of a replica.
func fileName(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' {
			return r
		}
		return '-'
	}, name)
}

// memoryOf returns the limit of memory of a pod.
func memoryOf(p *corev1.Pod) float64 {
	for _, c := range p.Spec.Containers {
		if limit, ok := c.Resources.Limits[corev1.ResourceMemory]; ok {
			return limit.AsApproximateFloat64()
		}
	}
	return 0
}

// addReplica adds a replica with its metrics, or notes that they could not be had.
func (e *exam) addReplica(ctx context.Context, all []replica, c *http.Client, url string, r replica) []replica {
	text, err := e.get(ctx, c, url, r.name)
	if err == nil {
		e.texts[r.name] = text
		parser := expfmt.NewTextParser(model.UTF8Validation)
		r.metrics, err = parser.TextToMetricFamilies(strings.NewReader(text))
	}
	switch {
	case apierrors.IsForbidden(err):
		e.missed(checkReplicas, "You may not get pods/proxy in the namespace "+e.system+": the metrics are read through it.",
			"have somebody run doctor who may: kubectl auth can-i get pods/proxy -n "+e.system+"; or give addresses with --metrics-url")
	case err != nil:
		e.missed(checkReplicas, fmt.Sprintf("The metrics of %s cannot be read: %v.", r.name, err), "see that it runs: kubectl -n "+e.system+" get pods")
	default:
		return append(all, r)
	}
	return all
}

// get reads a text, and notes how far the clock of the one who answers is ahead of that of this machine.
func (e *exam) get(ctx context.Context, c *http.Client, url, clock string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", err
	}
	before := time.Now()
	response, err := c.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	e.noteClock(clock, response.Header.Get("Date"), http.TimeFormat, before)
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusForbidden, http.StatusUnauthorized:
		return "", apierrors.NewForbidden(corev1.Resource("pods/proxy"), path.Base(clock), nil)
	default:
		return "", fmt.Errorf("the answer is %s", response.Status)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxMetrics))
	return string(text), err
}

// highest returns the highest value of a metric, with its series. It is nil if there is none.
func (r *replica) highest(name string) (value float64, of *dto.Metric) {
	for _, m := range r.metrics[name].GetMetric() {
		v := m.GetGauge().GetValue() + m.GetCounter().GetValue() + m.GetUntyped().GetValue()
		if of == nil || v > value {
			value, of = v, m
		}
	}
	return value, of
}

// label returns a label of a series.
func label(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

// findings says what a replica tells of itself.
func (r *replica) findings(now time.Time) (found []finding) {
	add := func(s severity, reason, do, format string, args ...any) {
		found = append(found, finding{Severity: s, Object: r.name, Reason: reason, Found: fmt.Sprintf(format, args...), Do: do})
	}
	restart := "delete the pod, and see that its node reaches the API server: docs/how-to/runbooks/replica-stale.md"
	if v, of := r.highest("apitoken_feed_staleness_seconds"); of != nil && v > maxStale {
		add(problem, reasonStale, restart, "It has had no open watch of %s for %.0f s: it accepts tokens that were revoked since.", label(of, "resource"), v)
	}
	if v := r.late(); v > maxLate {
		add(warning, reasonLate, "compare the clocks of the nodes with chronyc tracking: docs/how-to/runbooks/clock-wrong.md",
			"It sees changes %.1f s late on average: the API server is slow, or the clock of its node is ahead of the controller's.", v)
	}
	if v, of := r.highest("apitoken_feed_damaged_objects_total"); of != nil && v > 0 {
		add(problem, reasonDamaged, "docs/how-to/runbooks/damaged-objects.md", "It has met %.0f %s that it cannot read, and ignores them.", v, label(of, "resource"))
	}
	for _, name := range []string{"apitoken_audit_dropped_total", "apitoken_audit_write_errors_total"} {
		if v, _ := r.highest(name); v > 0 {
			add(warning, reasonAuditLost, "docs/how-to/runbooks/audit-lines-lost.md", "It has lost %.0f lines of its log since it started.", v)
		}
	}
	if v, of := r.highest("apitoken_tls_certificate_expiration_timestamp_seconds"); of != nil && time.Unix(int64(v), 0).Before(now.Add(certificateNotice)) {
		add(severityOfEnd(now, time.Unix(int64(v), 0)), reasonCertificateEnds, "docs/how-to/runbooks/certificate-ends.md",
			"The certificate that it serves to gateways ends at %s.", time.Unix(int64(v), 0).UTC().Format(time.RFC3339))
	}
	if v, of := r.highest("apitoken_recheck_age_seconds"); of != nil && v > 2*max(60, r.tokens()/20) {
		add(problem, reasonRecheckOld, "docs/how-to/runbooks/controller-stuck.md", "An APIToken has waited %.0f s to be looked at.", v)
	}
	if v, of := r.highest("apitoken_upstream_credential_check_age_seconds"); of != nil && v > maxPATCheck {
		add(warning, reasonPATChecksOld, "docs/how-to/runbooks/pat-checks-old.md",
			"At the site %s, a personal access token was last checked %.0f s ago.", label(of, "site"), v)
	}
	if v, of := r.highest("process_resident_memory_bytes"); of != nil && r.memory > 0 && v > nearLimit*r.memory {
		add(warning, reasonMemoryNearLimit, "raise the limit: docs/how-to/install.md#sizes", "It uses %.0f of %.0f MiB.", v/(1<<20), r.memory/(1<<20))
	}
	return found
}

// late returns how many seconds late a replica sees changes, on average since it started.
func (r *replica) late() float64 {
	for _, m := range r.metrics["apitoken_feed_latency_seconds"].GetMetric() {
		if h := m.GetHistogram(); h.GetSampleCount() > 0 {
			return h.GetSampleSum() / float64(h.GetSampleCount())
		}
	}
	return 0
}

// tokens returns how many APITokens there are, as far as a replica says so.
func (r *replica) tokens() float64 {
	v, _ := r.highest("apitoken_index_tokens")
	return v
}

// severityOfEnd says how bad it is that something ends.
func severityOfEnd(now, end time.Time) severity {
	if end.Before(now) {
		return problem
	}
	return warning
}

// compare looks whether all webhooks know as many tokens. Differences of a moment are of tokens that are being made.
func (e *exam) compare(all []replica) {
	var least, most *replica
	for i := range all {
		if _, of := all[i].highest("apitoken_index_tokens"); of == nil {
			continue
		}
		if least == nil || all[i].tokens() < least.tokens() {
			least = &all[i]
		}
		if most == nil || all[i].tokens() > most.tokens() {
			most = &all[i]
		}
	}
	if least == nil || most.tokens()-least.tokens() <= max(2, most.tokens()/100) {
		return
	}
	e.made(checkReplicas, finding{
		Severity: warning, Object: least.name, Reason: reasonReplicasDiffer,
		Found: fmt.Sprintf("It knows %.0f tokens, and %s knows %.0f: answers depend on which one is asked.", least.tokens(), most.name, most.tokens()),
		Do:    "run doctor again; if it stays, delete the pod that is behind: docs/how-to/runbooks/replica-stale.md",
	})
}
