package site

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func siteAt(name string, created time.Time, baseURL string) tokensv1alpha1.AtlassianSite {
	namespace, name, _ := strings.Cut(name, "/")
	return tokensv1alpha1.AtlassianSite{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name, UID: types.UID(namespace + "/" + name), CreationTimestamp: metav1.NewTime(created),
		},
		Spec: tokensv1alpha1.AtlassianSiteSpec{BaseURL: baseURL},
	}
}

func TestBaseURLConflict(t *testing.T) {
	const jira = "https://example.com/jira"
	before, after := noon.Add(-time.Second), noon.Add(time.Second)
	for name, tc := range map[string]struct {
		mine   string
		others []tokensv1alpha1.AtlassianSite
		with   string // "" for no conflict
	}{
		"alone":                       {jira, nil, ""},
		"an older one":                {jira, []tokensv1alpha1.AtlassianSite{siteAt("z/z", before, jira)}, "'z' in namespace 'z'"},
		"a younger one":               {jira, []tokensv1alpha1.AtlassianSite{siteAt("a/a", after, jira)}, ""},
		"as old, first by name":       {jira, []tokensv1alpha1.AtlassianSite{siteAt("m/a", noon, jira)}, "'a' in namespace 'm'"},
		"as old, last by name":        {jira, []tokensv1alpha1.AtlassianSite{siteAt("m/z", noon, jira)}, ""},
		"as old, first by namespace":  {jira, []tokensv1alpha1.AtlassianSite{siteAt("a/z", noon, jira)}, "'z' in namespace 'a'"},
		"as old, last by namespace":   {jira, []tokensv1alpha1.AtlassianSite{siteAt("z/a", noon, jira)}, ""},
		"as old, to the second":       {jira, []tokensv1alpha1.AtlassianSite{siteAt("a/a", noon.In(time.FixedZone("", 3600)), jira)}, "'a' in namespace 'a'"},
		"older, of another URL":       {jira, []tokensv1alpha1.AtlassianSite{siteAt("a/a", before, jira+"2")}, ""},
		"older, of a broken URL":      {jira, []tokensv1alpha1.AtlassianSite{siteAt("a/a", before, "%")}, ""},
		"one of several":              {jira, []tokensv1alpha1.AtlassianSite{siteAt("a/a", before, jira+"2"), siteAt("b/b", after, jira), siteAt("c/c", before, jira)}, "'c' in namespace 'c'"},
		"case of scheme and host":     {"HTTPS://Example.COM/jira", []tokensv1alpha1.AtlassianSite{siteAt("a/a", before, jira)}, "'a' in namespace 'a'"},
		"default port":                {"https://example.com:443/jira", []tokensv1alpha1.AtlassianSite{siteAt("a/a", before, jira)}, "'a' in namespace 'a'"},
		"slash at the end":            {jira + "/", []tokensv1alpha1.AtlassianSite{siteAt("a/a", before, jira)}, "'a' in namespace 'a'"},
		"another port":                {"https://example.com:444/jira", []tokensv1alpha1.AtlassianSite{siteAt("a/a", before, jira)}, ""},
		"the default of other scheme": {"http://example.com:443/jira", []tokensv1alpha1.AtlassianSite{siteAt("a/a", before, jira)}, ""},
		"case of the path":            {"https://example.com/Jira", []tokensv1alpha1.AtlassianSite{siteAt("a/a", before, jira)}, ""},
		"broken itself":               {"https://user@example.com", nil, "not of the form"},
	} {
		mine := siteAt("m/m", noon, tc.mine)
		p := baseURLConflict(&mine, append(tc.others, mine))
		switch {
		case (p == nil) != (tc.with == ""):
			t.Errorf("%s: %+v, want a conflict: %q", name, p, tc.with)
		case p != nil && (p.reason != tokensv1alpha1.ReasonBaseURLConflict || !strings.Contains(p.message, tc.with)):
			t.Errorf("%s: %+v, want one with %s", name, p, tc.with)
		}
		// Exactly one of two sites with the same URL is served.
		for i := range tc.others {
			if other := &tc.others[i]; p != nil && strings.Contains(p.message, "'"+other.Name+"'") {
				if back := baseURLConflict(other, append(tc.others, mine)); back != nil {
					t.Errorf("%s: neither is served: %+v", name, back)
				}
			}
		}
	}
}

func TestUpstreamNotAllowed(t *testing.T) {
	for url, want := range map[string]bool{
		"http://jira.dev.svc:8080/jira":           true,
		"https://jira.dev.svc":                    true,
		"http://jira.dev.svc.cluster.local":       true,
		"http://Jira.Dev.SVC":                     true,
		"http://jira.other.svc:8080":              false,
		"http://jira.dev.svc.other":               false,
		"http://jira.dev.svc.cluster.local.other": false,
		"http://a.jira.dev.svc":                   false,
		"http://jira":                             false,
		"http://dev":                              false,
		"http://dev.svc":                          false,
		"http://.dev.svc":                         false,
		"http://127.0.0.1:8080":                   false,
		"http://[::1]:8080":                       false,
		"https://jira.example.com":                false,
		// "dev" is a common namespace and also a top-level domain. Without such a Service the name belongs to somebody else.
		"https://jira.dev": false,
	} {
		s := siteAt("dev/main", noon, "https://example.com")
		s.Spec.UpstreamURL = url
		p := upstreamNotAllowed(&s, false)
		if (p == nil) != want {
			t.Errorf("%s in the namespace dev: %+v, want allowed: %v", url, p, want)
		}
		if p != nil && (p.reason != tokensv1alpha1.ReasonUpstreamNotAllowed ||
			!strings.Contains(p.message, "http://jira.dev.svc:8080") || !strings.Contains(p.message, "--allow-external-upstreams")) {
			t.Errorf("%s: %+v does not say what to do", url, p)
		}
		if p := upstreamNotAllowed(&s, true); p != nil {
			t.Errorf("%s, where all are allowed: %+v", url, p)
		}
	}
	for _, url := range []string{"", "jira.dev.svc", "ftp://jira.dev.svc", "http://u:p@jira.dev.svc", "http://jira.dev.svc?a"} {
		s := siteAt("dev/main", noon, "https://example.com")
		s.Spec.UpstreamURL = url
		for _, allowAny := range []bool{false, true} {
			if p := upstreamNotAllowed(&s, allowAny); p == nil || p.reason != tokensv1alpha1.ReasonUpstreamNotAllowed {
				t.Errorf("%q is no URL to send anything to, where all are allowed: %v: %+v", url, allowAny, p)
			}
		}
	}
}
