package doctor

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/plugin/session"
)

const page = "../../../docs/how-to/doctor.md"

// good are the reasons of conditions and Events that need nothing.
var good = map[string]bool{
	tokensv1alpha1.ReasonIssued: true, tokensv1alpha1.ReasonReissued: true, tokensv1alpha1.ReasonRotated: true, tokensv1alpha1.ReasonImported: true,
	tokensv1alpha1.ReasonServing: true, tokensv1alpha1.ReasonAnswered: true, tokensv1alpha1.ReasonProtected: true, tokensv1alpha1.ReasonVerified: true,
	tokensv1alpha1.ReasonNotNeeded: true, tokensv1alpha1.ReasonPoliciesInForce: true, tokensv1alpha1.ReasonLicenseValid: true,
	tokensv1alpha1.ReasonConfigured: true, tokensv1alpha1.ReasonCallerKeysRotated: true, tokensv1alpha1.ReasonUpstreamCredentialRefused: true,
	tokensv1alpha1.ReasonUpstreamCredentialWithdrawn: true,
}

func content(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Every reason of a condition has a command that mends it, or somebody asked for it, or it is good.
func TestEveryReasonIsMended(t *testing.T) {
	all := regexp.MustCompile(`Reason\w+ = "(\w+)"`).FindAllStringSubmatch(content(t, "../../../api/v1alpha1/conditions.go"), -1)
	if len(all) < 60 {
		t.Fatalf("found only %d reasons", len(all))
	}
	known := map[string]bool{}
	for _, m := range all {
		known[m[1]] = true
		if n := len(advices[m[1]]); (n > 0) == (intended[m[1]] || good[m[1]]) {
			t.Errorf("%s has %d bytes of advice; asked for: %t, good: %t", m[1], n, intended[m[1]], good[m[1]])
		}
	}
	for reason := range advices {
		if !known[reason] {
			t.Errorf("%s is no reason of a condition", reason)
		}
	}
	if got := adviceOf(tokensv1alpha1.ReasonExpiresSoon, kindToken, "jira", "ci"); got != "kubectl apitoken rotate ci -n jira" {
		t.Errorf("got %s", got)
	}
}

// Every file that an advice names exists.
func TestAdviceNamesFiles(t *testing.T) {
	for _, file := range []string{"advice.go", "ingress.go", "token.go", "cluster.go", "replicas.go", "clocks.go", "rights.go", "conditions.go", "doctor.go"} {
		for _, m := range regexp.MustCompile(`docs/[\w./-]+\.md`).FindAllString(strings.ReplaceAll(content(t, file), "\" +\n\t\t\"", ""), -1) {
			if _, err := os.Stat("../../../" + m); err != nil {
				t.Errorf("%s names %s: %v", file, m, err)
			}
		}
	}
}

// The page says what each finding means that is not a condition, and what each check does.
func TestPageIsWhole(t *testing.T) {
	text := content(t, page)
	for _, want := range []struct {
		file, pattern string
		least         int
	}{{"reasons.go", `reason\w+\s+= "(\w+)"`, 25}, {"finding.go", `check\w+\s+= "(\w+)"`, 10}} {
		all := regexp.MustCompile(want.pattern).FindAllStringSubmatch(content(t, want.file), -1)
		if len(all) < want.least {
			t.Errorf("found only %d names in %s", len(all), want.file)
		}
		for _, m := range all {
			if !strings.Contains(text, "`"+m[1]+"`") {
				t.Errorf("%s does not name %s", page, m[1])
			}
		}
	}
}

// Each metric that is not as it should be is a finding, and no other is.
func TestReplicas(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	healthy := "apitoken_feed_staleness_seconds{resource=\"apitokens\"} 0\napitoken_index_tokens 100\napitoken_audit_dropped_total 0\n" +
		"apitoken_recheck_age_seconds 60\napitoken_upstream_credential_check_age_seconds{site=\"jira/main\"} 3600\n" +
		fmt.Sprintf("apitoken_tls_certificate_expiration_timestamp_seconds %d\n", now.Add(30*24*time.Hour).Unix())
	for name, tc := range map[string]struct {
		text, want string
		severity   severity
	}{
		"healthy":            {healthy, "", ""},
		"stale":              {"apitoken_feed_staleness_seconds{resource=\"a\"} 0\napitoken_feed_staleness_seconds{resource=\"b\"} 11\n", reasonStale, problem},
		"late":               {"# TYPE apitoken_feed_latency_seconds histogram\napitoken_feed_latency_seconds_sum 30\napitoken_feed_latency_seconds_count 10\n", reasonLate, warning},
		"damaged":            {"apitoken_feed_damaged_objects_total{resource=\"records\"} 1\n", reasonDamaged, problem},
		"lines lost":         {"apitoken_audit_write_errors_total 3\n", reasonAuditLost, warning},
		"certificate ends":   {fmt.Sprintf("apitoken_tls_certificate_expiration_timestamp_seconds %d\n", now.Unix()+60), reasonCertificateEnds, warning},
		"certificate ended":  {fmt.Sprintf("apitoken_tls_certificate_expiration_timestamp_seconds %d\n", now.Unix()-60), reasonCertificateEnds, problem},
		"stuck":              {"apitoken_recheck_age_seconds 121\n", reasonRecheckOld, problem},
		"PATs not checked":   {"apitoken_upstream_credential_check_age_seconds{site=\"jira/main\"} 7201\n", reasonPATChecksOld, warning},
		"no memory any more": {"process_resident_memory_bytes 90\n", reasonMemoryNearLimit, warning},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(tc.text)) }))
		e := newExam(now)
		all := e.addReplica(t.Context(), nil, server.Client(), server.URL, replica{name: "a", memory: 100})
		server.Close()
		if len(all) != 1 {
			t.Fatalf("%s: %v", name, e.NotChecked)
		}
		found := all[0].findings(now)
		if (tc.want == "") != (len(found) == 0) || len(found) > 0 && (found[0].Reason != tc.want || found[0].Severity != tc.severity || found[0].Do == "") {
			t.Errorf("%s: %+v, want %s", name, found, tc.want)
		}
	}
}

func newExam(now time.Time) *exam {
	s := session.New(genericiooptions.NewTestIOStreamsDiscard(), func() time.Time { return now })
	return &exam{command: &command{Session: s, system: "apitoken-system"}, clocks: map[string]time.Duration{}, texts: map[string]string{}}
}

// Replicas that know another number of tokens give other answers. Metrics that nobody may read are a gap.
func TestReplicasAreCompared(t *testing.T) {
	for text, want := range map[string]int{"100 99": 0, "100 98": 0, "100 90": 1, "1 0": 0, "5 2": 1} {
		e := newExam(time.Now())
		var all []replica
		for i, n := range strings.Fields(text) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = w.Write([]byte("apitoken_index_tokens " + n + "\n"))
			}))
			all = e.addReplica(t.Context(), all, server.Client(), server.URL, replica{name: strconv.Itoa(i)})
			server.Close()
		}
		if e.compare(all); len(e.Findings) != want {
			t.Errorf("%s: %+v", text, e.Findings)
		}
	}
	e := newExam(time.Now())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer server.Close()
	if all := e.addReplica(t.Context(), nil, server.Client(), server.URL, replica{}); len(all) != 0 || len(e.NotChecked) != 1 || !strings.Contains(e.NotChecked[0].Why, "pods/proxy") {
		t.Errorf("%v, %+v", all, e.NotChecked)
	}
}

// The clocks of the cluster count, however many products have another time.
func TestClocks(t *testing.T) {
	for name, tc := range map[string]struct {
		clocks map[string]time.Duration
		want   string
	}{
		"all right, and this machine is wrong": {map[string]time.Duration{"API server": time.Hour, "Pod a": time.Hour + time.Second, "product of x": time.Hour}, ""},
		"a replica":                            {map[string]time.Duration{"API server": 0, "Pod a": 0, "Pod b": 5 * time.Second}, "Pod b"},
		"products": {map[string]time.Duration{"API server": 0, "Pod a": 0, "product of x": time.Hour, "product of y": time.Hour, "ingress of x": 0},
			"product of x, product of y"},
	} {
		e := newExam(time.Now())
		e.clocks = tc.clocks
		e.checkClocks()
		var objects []string
		for _, f := range e.Findings {
			objects = append(objects, f.Object)
		}
		if got := strings.Join(objects, ", "); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

// Metrics and logs of pods come through the API server, with the limits of memory of the pods.
func TestReplicasThroughTheAPIServer(t *testing.T) {
	const pod = `{"metadata":{"namespace":"apitoken-system","name":"w"},"status":{"phase":"Running"},
		"spec":{"containers":[{"name":"operator","resources":{"limits":{"memory":"100"}}}]}}`
	answers := map[string]string{
		"/version": `{}`,
		"/api/v1/namespaces/apitoken-system/pods":                      `{"kind":"PodList","apiVersion":"v1","items":[` + pod + `,{"metadata":{"name":"gone"},"status":{"phase":"Succeeded"}}]}`,
		"/api/v1/namespaces/apitoken-system/pods/w:8082/proxy/metrics": "process_resident_memory_bytes 90\n",
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, ok := answers[r.URL.Path]
		if !ok {
			t.Errorf("asked for %s", r.URL)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(text))
	}))
	defer server.Close()
	e := newExam(time.Now())
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	e.AddFlags(flags)
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	err := flags.Parse([]string{"--server", server.URL})
	if err == nil {
		e.api, err = e.Client()
	}
	if err == nil {
		err = e.checkReplicas(t.Context())
	}
	if err != nil || len(e.Findings) != 1 || e.Findings[0].Object != "Pod apitoken-system/w" || e.Findings[0].Reason != reasonMemoryNearLimit {
		t.Errorf("%v: %+v, not checked %+v", err, e.Findings, e.NotChecked)
	}
	if len(e.clocks) != 2 || e.texts["Pod apitoken-system/w"] == "" {
		t.Errorf("clocks %v, metrics %v", e.clocks, e.texts)
	}
}
