package layout_test

import (
	"path"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

type (
	alert struct {
		Name        string `json:"alert"`
		Expr        string
		Labels      map[string]string
		Annotations map[string]string
	}
	alertGroups struct {
		Groups []struct {
			Name  string
			Rules []alert
		}
	}
)

const (
	rulesFile = "config/components/monitoring/rules.yaml"
	runbooks  = "docs/how-to/runbooks/"
)

// alerts returns the alerts that Prometheus reads.
func alerts(t *testing.T) (all []alert) {
	t.Helper()
	var plain alertGroups
	if err := yaml.Unmarshal([]byte(files(t, ".yaml")[rulesFile]), &plain); err != nil {
		t.Fatal(err)
	}
	for _, group := range plain.Groups {
		all = append(all, group.Rules...)
	}
	if len(all) < 20 {
		t.Fatalf("found only %d alerts", len(all))
	}
	return all
}

// The Prometheus operator gets the rules that Prometheus reads.
func TestPrometheusRuleHasTheRules(t *testing.T) {
	var plain any
	var object struct{ Spec any }
	for name, into := range map[string]any{rulesFile: &plain, "config/components/monitoring/prometheusrule.yaml": &object} {
		if err := yaml.Unmarshal([]byte(files(t, ".yaml")[name]), into); err != nil {
			t.Fatal(err)
		}
	}
	if !reflect.DeepEqual(plain, object.Spec) {
		t.Error("prometheusrule.yaml has other alerts than rules.yaml: run `make generate`")
	}
}

// pageOf returns the path of an alert's page.
func pageOf(name string) string {
	return runbooks + strings.Join(words(strings.TrimPrefix(name, "APIToken")), "-") + ".md"
}

// Every alert says in words what it means, and has a page of its own. No other page is there, but for what no alert finds.
func TestAlertsHaveRunbooks(t *testing.T) {
	pages := files(t, ".md")
	index, wanted := pages[runbooks+"README.md"], []string{runbooks + "README.md", runbooks + "token-leaked.md"}
	for _, a := range alerts(t) {
		severity := a.Labels["severity"]
		if !strings.HasPrefix(a.Name, "APIToken") || !slices.Contains([]string{"critical", "warning", "info"}, severity) {
			t.Errorf("%s has the severity %q", a.Name, severity)
		}
		for _, text := range []string{"summary", "description"} {
			if said := a.Annotations[text]; len(said) < 20 || !strings.HasSuffix(said, ".") {
				t.Errorf("%s: %s is %q, which is no sentence", a.Name, text, said)
			}
		}
		page := pageOf(a.Name)
		if url := "https://apitokens.dev/operator/" + page; a.Annotations["runbook_url"] != url {
			t.Errorf("%s: runbook_url is %q, want %s", a.Name, a.Annotations["runbook_url"], url)
		}
		if !strings.HasPrefix(pages[page], "# "+a.Name) {
			t.Errorf("%s is not there, or does not begin with the name of its alert", page)
		}
		if row := "| [`" + a.Name + "`](" + path.Base(page) + ") | " + severity + " |"; strings.Count(index, row) != 1 {
			t.Errorf("%sREADME.md has no row %q", runbooks, row)
		}
		wanted = append(wanted, page)
	}
	for page := range pages {
		if strings.HasPrefix(page, runbooks) && !slices.Contains(wanted, page) {
			t.Errorf("%s is the page of no alert", page)
		}
	}
}

// Reasons in expressions are those of the code: an alert about another one would never fire.
func TestAlertsNameRealReasons(t *testing.T) {
	reasons := found(t, "../../internal/authn/*.go", regexp.MustCompile(`(?m)^\s*Reason\w+\s+Reason = "(\w+)"`))
	reasons = append(reasons, found(t, "../../webhook/gateway/contract/*.go", regexp.MustCompile(`Reason\w+ authn\.Reason = "(\w+)"`))...)
	reasons = append(reasons, found(t, "../../api/v1alpha1/conditions.go", regexp.MustCompile(`(?m)^\s*Reason\w+\s*= "(\w+)"`))...)
	total := 0
	for _, a := range alerts(t) {
		for _, matcher := range regexp.MustCompile(`reason\s*(?:=~|!~|!=|=)\s*"([^"]*)"`).FindAllStringSubmatch(a.Expr, -1) {
			for value := range strings.SplitSeq(matcher[1], "|") {
				total++
				whole := regexp.MustCompile("^(?:" + value + ")$")
				if !slices.ContainsFunc(reasons, whole.MatchString) {
					t.Errorf("%s names the reason %q, which is none", a.Name, value)
				}
			}
		}
	}
	if total < 20 {
		t.Errorf("found only %d reasons", total)
	}
}
