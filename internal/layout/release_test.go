package layout_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

// The section of a version goes into its release. What is not released comes first, then the newest.
func TestChangelog(t *testing.T) {
	const page = "CHANGELOG.md"
	heading := regexp.MustCompile(`(?m)^## (Unreleased|v\d+\.\d+\.\d+ \((\d{4}-\d{2}-\d{2})\))$`)
	text := files(t, page)[page]
	found := heading.FindAllStringSubmatchIndex(text, -1)
	if len(found) == 0 || text[found[0][2]:found[0][3]] != "Unreleased" || len(found) != strings.Count(text, "\n## ") {
		t.Fatalf("%s: want `## Unreleased` first, then sections such as `## v1.2.3 (2026-11-26)`", page)
	}
	newer := "9999-99-99"
	for i, m := range found {
		end := len(text)
		if i+1 < len(found) {
			end = found[i+1][0]
		}
		if i > 0 && strings.TrimSpace(text[m[1]:end]) == "" {
			t.Errorf("%s: the section %s is empty", page, text[m[2]:m[3]])
		}
		if i == 0 {
			continue
		}
		date := text[m[4]:m[5]]
		if date > newer {
			t.Errorf("%s: %s is below an older version", page, text[m[2]:m[3]])
		}
		newer = date
	}
}

// insights is what version 2 of Security Insights demands, as far as the file uses it.
type insights struct {
	Header struct {
		Schema   string `json:"schema-version"`
		Updated  string `json:"last-updated"`
		Reviewed string `json:"last-reviewed"`
		URL      string `json:"url"`
	} `json:"header"`
	Project struct {
		Name           string           `json:"name"`
		Homepage       string           `json:"homepage"`
		Administrators []contact        `json:"administrators"`
		Repositories   []map[string]any `json:"repositories"`
		Reporting      struct {
			Accepted   *bool    `json:"reports-accepted"`
			Bounty     *bool    `json:"bug-bounty-available"`
			Comment    string   `json:"comment"`
			InScope    []string `json:"in-scope"`
			OutOfScope []string `json:"out-of-scope"`
		} `json:"vulnerability-reporting"`
	} `json:"project"`
	Repository struct {
		URL       string            `json:"url"`
		Status    string            `json:"status"`
		Changes   *bool             `json:"accepts-change-request"`
		Automated *bool             `json:"accepts-automated-change-request"`
		Team      []contact         `json:"core-team"`
		License   map[string]string `json:"license"`
		Release   struct {
			Automated *bool               `json:"automated-pipeline"`
			Points    []map[string]string `json:"distribution-points"`
		} `json:"release"`
		Security struct {
			Assessments struct {
				Self struct{ Name, Comment, Date string } `json:"self"`
			} `json:"assessments"`
			Tools []struct {
				Name        string          `json:"name"`
				Type        string          `json:"type"`
				Comment     string          `json:"comment"`
				Rulesets    []string        `json:"rulesets"`
				Integration map[string]bool `json:"integration"`
				Results     *struct{}       `json:"results"`
			} `json:"tools"`
		} `json:"security"`
	} `json:"repository"`
}

type contact struct {
	Name    string `json:"name"`
	Primary *bool  `json:"primary"`
}

// SECURITY-INSIGHTS.yml has no field that the schema does not know, and every one that it demands.
func TestSecurityInsights(t *testing.T) {
	const name = "SECURITY-INSIGHTS.yml"
	var i insights
	if err := yaml.UnmarshalStrict([]byte(files(t, name)[name]), &i); err != nil {
		t.Fatal(err)
	}
	for _, date := range []string{i.Header.Updated, i.Header.Reviewed, i.Repository.Security.Assessments.Self.Date} {
		if _, err := time.Parse(time.DateOnly, date); err != nil {
			t.Error(err)
		}
	}
	url := regexp.MustCompile(`^https?://\S+$`)
	r := i.Repository
	complete := map[string]bool{
		"header":       i.Header.Schema == "2.2.0" && url.MatchString(i.Header.URL) && url.MatchString(r.URL) && url.MatchString(i.Project.Homepage),
		"project":      i.Project.Name != "" && len(i.Project.Administrators) > 0 && len(i.Project.Repositories) > 0,
		"reporting":    i.Project.Reporting.Accepted != nil && i.Project.Reporting.Bounty != nil,
		"repository":   r.Status == "active" && r.Changes != nil && r.Automated != nil && len(r.Team) > 0,
		"license":      url.MatchString(r.License["url"]) && r.License["expression"] == "Apache-2.0",
		"release":      r.Release.Automated != nil && len(r.Release.Points) > 0 && r.Release.Points[0]["uri"] != "" && r.Release.Points[0]["comment"] != "",
		"assessments":  r.Security.Assessments.Self.Comment != "",
		"repositories": i.Project.Repositories[0]["name"] != nil && i.Project.Repositories[0]["url"] != nil && i.Project.Repositories[0]["comment"] != nil,
	}
	for part, ok := range complete {
		if !ok {
			t.Errorf("%s: the part %s is not complete", name, part)
		}
	}
	for _, c := range append(i.Project.Administrators, r.Team...) {
		if c.Name == "" || c.Primary == nil {
			t.Errorf("%s: a contact without name or `primary`", name)
		}
	}
	for _, tool := range r.Security.Tools {
		known := slices.Contains([]string{"fuzzing", "container", "secret", "SCA", "SAST", "other"}, tool.Type)
		if tool.Name == "" || !known || len(tool.Rulesets) == 0 || len(tool.Integration) != 3 || tool.Results == nil {
			t.Errorf("%s: the tool %q is not complete", name, tool.Name)
		}
	}
}
