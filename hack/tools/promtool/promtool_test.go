// Package promtool_test checks the alerts and the dashboard of config/components/monitoring with Prometheus' own promtool.
package promtool_test

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const monitoring = "../../../config/components/monitoring"

// promtool runs promtool, without its support of clouds: that is most of its code.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", append([]string{"run", "-tags", "remove_all_sd", "github.com/prometheus/prometheus/cmd/promtool"}, args...)...)
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := command.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestRulesAreValid(t *testing.T) {
	promtool(t, "check", "rules", "--lint=all", "--lint-fatal", filepath.Join(monitoring, "rules.yaml"))
}

// The expressions of the dashboard are PromQL. promtool reads them as rules.
func TestPanelsAreValid(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(monitoring, "dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Targets []struct{ Expr string }
		}
	}
	if err := yaml.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	variables := strings.NewReplacer("$__rate_interval", "5m", "$__range", "6h")
	var rules []map[string]string
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			rules = append(rules, map[string]string{"record": fmt.Sprintf("panel:%d", len(rules)), "expr": variables.Replace(target.Expr)})
		}
	}
	if len(rules) < 20 {
		t.Fatalf("found only %d expressions", len(rules))
	}
	promtool(t, "check", "rules", write(t, map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": rules}}}))
}

// write writes a file for promtool.
func write(t *testing.T, content any) (name string) {
	t.Helper()
	text, err := yaml.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	name = filepath.Join(t.TempDir(), "file.yaml")
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// alertNames returns the names of all alerts.
func alertNames(t *testing.T) (names []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(monitoring, "rules.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^ *- alert: (\w+)$`).FindAllSubmatch(text, -1) {
		names = append(names, string(m[1]))
	}
	if len(names) < 20 {
		t.Fatalf("found only %d alerts", len(names))
	}
	return names
}

// The series of a drill are as in good health for half an hour. The fault lasts from then until the drill ends.
const (
	healthy = 30  // minutes
	ends    = 180 // minutes
)

// on returns a series of a pod.
func on(pod, series string) string {
	target := fmt.Sprintf(`namespace="apitoken-system",pod="apitoken-%s",instance="%s:8082",job="apitoken-metrics"`, pod, pod)
	if name, labels, ok := strings.Cut(series, "{"); ok {
		return name + "{" + target + "," + labels
	}
	return series + "{" + target + "}"
}

// always is a value that does not change, and rising a counter that rises by so much a minute.
func always(value string) string { return fmt.Sprintf("%sx%d", value, ends) }
func rising(a int) string        { return fmt.Sprintf("0+%dx%d", a, ends) }
func later(before, on any) string {
	return fmt.Sprintf("%vx%d %vx%d", before, healthy, on, ends-healthy-1)
}

// laterRising is a counter that rises from the fault on. It does not exist before.
func laterRising(a int) string { return fmt.Sprintf("_x%d 0+%dx%d", healthy, a, ends-healthy-1) }

const days = 86400

// health are the series of an installation in good health: two webhooks, a portal, a controller and one site.
func health() map[string]string {
	all := map[string]string{
		on("controller", `apitoken_site_ingress_protected{site="jira/main",reason="Protected"}`):                   always("1"),
		on("controller", `apitoken_site_licensed{site="jira/main",reason="LicenseValid"}`):                         always("1"),
		on("controller", `apitoken_site_license_expiration_timestamp_seconds{site="jira/main"}`):                   always(fmt.Sprint(60 * days)),
		on("controller", `apitoken_admission_policy_in_force{policy="apitokens.apitokens.dev"}`):                   always("1"),
		on("controller", `apitoken_upstream_credential_check_age_seconds{site="jira/main"}`):                       always("3600"),
		on("controller", `apitoken_recheck_age_seconds`):                                                           always("59"),
		on("webhook-1", `apitoken_authentications_total{site="jira/main",outcome="allow",reason="authenticated"}`): rising(6000),
		on("webhook-1", `apitoken_authentications_total{site="jira/main",outcome="forward",reason="no_token"}`):    rising(6000),
		// What a site sees every day: scanners, a mistyped token, a user without a personal access token, the controller's probes.
		on("webhook-1", `apitoken_authentications_total{site="jira/main",outcome="unauthorized",reason="unknown_token"}`):          rising(90),
		on("webhook-1", `apitoken_authentications_total{site="jira/main",outcome="unauthorized",reason="challenge"}`):              rising(6000),
		on("webhook-1", `apitoken_authentications_total{site="jira/main",outcome="forbidden",reason="UpstreamCredentialMissing"}`): rising(10),
		on("webhook-1", `apitoken_authentications_total{site="jira/main",outcome="forbidden",reason="Probe"}`):                     rising(2),
	}
	for _, pod := range []string{"webhook-1", "webhook-2", "portal"} {
		maps.Copy(all, map[string]string{
			on(pod, `apitoken_feed_staleness_seconds{resource="apitokens"}`):   always("0"),
			on(pod, `apitoken_feed_latency_seconds_count`):                     rising(30),
			on(pod, `apitoken_feed_latency_seconds_bucket{le="0.004"}`):        rising(15),
			on(pod, `apitoken_feed_latency_seconds_bucket{le="0.016"}`):        rising(30),
			on(pod, `apitoken_feed_latency_seconds_bucket{le="4.096"}`):        rising(30),
			on(pod, `apitoken_feed_latency_seconds_bucket{le="16.384"}`):       rising(30),
			on(pod, `apitoken_feed_latency_seconds_bucket{le="+Inf"}`):         rising(30),
			on(pod, `apitoken_index_tokens`):                                   always("1000"),
			on(pod, `apitoken_audit_dropped_total`):                            always("0"),
			on(pod, `apitoken_audit_write_errors_total`):                       always("0"),
			on(pod, `apitoken_tls_certificate_expiration_timestamp_seconds`):   always(fmt.Sprint(60 * days)),
			on(pod, `apitoken_tls_renewals_total{result="succeeded"}`):         always("3"),
			on(pod, `apitoken_feed_damaged_objects_total{resource="records"}`): always("2"),
		})
		if pod != "portal" {
			all[on(pod, `apitoken_last_access_queue`)] = always("40")
			all[on(pod, `apitoken_last_access_writes_total{result="written"}`)] = rising(60)
			all[on(pod, `apitoken_last_access_writes_total{result="failed"}`)] = always("0")
			all[on(pod, `apitoken_last_access_writes_total{result="rejected"}`)] = always("0")
		}
	}
	return all
}

func asked(outcome, reason string) string {
	site := "jira/main"
	if outcome == "cannot_decide" {
		site = ""
	}
	return on("webhook-1", fmt.Sprintf(`apitoken_authentications_total{site="%s",outcome="%s",reason="%s"}`, site, outcome, reason))
}

// drills are the faults, each as the series that differ from good health, by the alert that fires.
func drills() map[string]map[string]string {
	away, stopped, late, absent := map[string]string{}, map[string]string{}, map[string]string{}, map[string]string{}
	for _, pod := range []string{"webhook-1", "webhook-2", "portal"} {
		away[on(pod, `apitoken_feed_staleness_seconds{resource="apitokens"}`)] = fmt.Sprintf("0x%d 0+60x%d", healthy, ends-healthy-1)
		away[on(pod, `apitoken_feed_latency_seconds_count`)] = fmt.Sprintf("0+30x%d 900x%d", healthy, ends-healthy-1)
		stopped[on(pod, `apitoken_feed_latency_seconds_count`)] = fmt.Sprintf("0+30x%d 900x%d", healthy, ends-healthy-1)
		for series, values := range health() {
			if pod != "portal" && strings.Contains(series, `pod="apitoken-`+pod+`"`) {
				value, _, _ := strings.Cut(values, "x")
				absent[series] = fmt.Sprintf("%sx%d", value, healthy)
			}
		}
	}
	for _, le := range []string{"0.004", "0.016", "4.096"} {
		late[on("webhook-2", `apitoken_feed_latency_seconds_bucket{le="`+le+`"}`)] = fmt.Sprintf("0+30x%d 900x%d", healthy, ends-healthy-1)
	}
	return map[string]map[string]string{
		"APITokenWebhookAbsent":        absent,
		"APITokenWebhookNotReady":      {asked("cannot_decide", "not_ready"): laterRising(5)},
		"APITokenNoVerdict":            {asked("cannot_decide", "site_not_remembered"): laterRising(5)},
		"APITokenGatewayRefused":       {asked("cannot_decide", "caller_key_mismatch"): laterRising(5)},
		"APITokenAuditLinesLost":       {on("webhook-2", `apitoken_audit_dropped_total`): fmt.Sprintf("0x%d 0+1x%d", healthy, ends-healthy-1)},
		"APITokenLastAccessNotWritten": {on("webhook-1", `apitoken_last_access_writes_total{result="failed"}`): fmt.Sprintf("0x%d 0+1x%d", healthy, ends-healthy-1)},
		"APITokenAPIServerAway":        away,
		"APITokenReplicaStale":         {on("webhook-2", `apitoken_feed_staleness_seconds{resource="apitokens"}`): fmt.Sprintf("0x%d 0+60x%d", healthy, ends-healthy-1)},
		"APITokenClockWrong":           late,
		"APITokenDamagedObjects":       {on("webhook-1", `apitoken_feed_damaged_objects_total{resource="records"}`): fmt.Sprintf("2x%d 3x30", ends-30)},
		"APITokenOpenDoor": {
			on("controller", `apitoken_site_ingress_protected{site="jira/main",reason="Protected"}`): fmt.Sprintf("1x%d", healthy),
			on("controller", `apitoken_site_ingress_protected{site="jira/main",reason="OpenDoor"}`):  later("_", 0),
		},
		"APITokenDoorUnknown": {
			on("controller", `apitoken_site_ingress_protected{site="jira/main",reason="Protected"}`):          fmt.Sprintf("1x%d", healthy),
			on("controller", `apitoken_site_ingress_protected{site="jira/main",reason="BaseURLUnreachable"}`): later("_", 0),
		},
		"APITokenPATRefused":   {asked("forbidden", "UpstreamCredentialMissing"): fmt.Sprintf("0+10x%d 300+1000x%d", healthy, ends-healthy-1)},
		"APITokenPATChecksOld": {on("controller", `apitoken_upstream_credential_check_age_seconds{site="jira/main"}`): fmt.Sprintf("3600x%d 3600+60x%d", healthy, ends-healthy-1)},
		"APITokenLicenceInvalid": {
			on("controller", `apitoken_site_licensed{site="jira/main",reason="LicenseValid"}`):       fmt.Sprintf("1x%d", healthy),
			on("controller", `apitoken_site_licensed{site="jira/main",reason="LicenseExpired"}`):     later("_", 0),
			on("controller", `apitoken_site_license_expiration_timestamp_seconds{site="jira/main"}`): later(60*days, healthy*60),
		},
		"APITokenLicenceEnds":           {on("controller", `apitoken_site_license_expiration_timestamp_seconds{site="jira/main"}`): later(60*days, 13*days)},
		"APITokenManyRefusals":          {asked("unauthorized", "wrong_secret"): laterRising(6000)},
		"APITokenPasswordsUsed":         {asked("forward", "password_observed"): laterRising(1)},
		"APITokenCertificateEnds":       {on("portal", `apitoken_tls_certificate_expiration_timestamp_seconds`): later(60*days, 6*days)},
		"APITokenCertificateNotRenewed": {on("portal", `apitoken_tls_renewals_total{result="failed"}`): laterRising(6)},
		"APITokenControllerAway":        stopped,
		"APITokenControllerStuck":       {on("controller", `apitoken_recheck_age_seconds`): later(59, 600)},
		"APITokenPoliciesMissing":       {on("controller", `apitoken_admission_policy_in_force{policy="apitokens.apitokens.dev"}`): later(1, 0)},
	}
}

// Each alert fires in its drill, and no other does. Before the fault, all are silent.
func TestDrills(t *testing.T) {
	type fields = map[string]any
	all := drills()
	names := slices.Sorted(maps.Keys(all))
	if found := slices.Sorted(slices.Values(alertNames(t))); !slices.Equal(names, found) {
		t.Errorf("the drills are of %v\nthe alerts are %v", names, found)
	}
	var tests []fields
	for _, name := range names {
		series := health()
		maps.Copy(series, all[name])
		var input []fields
		for _, s := range slices.Sorted(maps.Keys(series)) {
			input = append(input, fields{"series": s, "values": series[s]})
		}
		const firing = `group by (alertname) (ALERTS{alertstate="firing"})`
		tests = append(tests, fields{"name": name, "interval": "1m", "input_series": input, "promql_expr_test": []fields{
			{"expr": firing, "eval_time": fmt.Sprintf("%dm", healthy)},
			{"expr": firing, "eval_time": fmt.Sprintf("%dm", ends-20), "exp_samples": []fields{{"labels": `{alertname="` + name + `"}`, "value": 1}}},
		}})
	}
	rules, err := filepath.Abs(filepath.Join(monitoring, "rules.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	promtool(t, "test", "rules", write(t, fields{"rule_files": []string{rules}, "evaluation_interval": "1m", "tests": tests}))
}
