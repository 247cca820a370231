package terms_test

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/lifetime"
	"apitokens.dev/operator/internal/terms"
)

var day = time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)

func TestRequested(t *testing.T) {
	for _, tc := range []struct {
		spec tokensv1alpha1.APITokenSpec
		want lifetime.Requested
	}{
		{},
		{tokensv1alpha1.APITokenSpec{LifetimeDays: new(int32(30))}, lifetime.Requested{Days: 30}},
		{tokensv1alpha1.APITokenSpec{ExpirationTime: metav1.NewTime(day)}, lifetime.Requested{Until: day}},
	} {
		if got := terms.Requested(&tokensv1alpha1.APIToken{Spec: tc.spec}); got != tc.want {
			t.Errorf("%+v, want %+v", got, tc.want)
		}
	}
}

func TestPolicy(t *testing.T) {
	site := &tokensv1alpha1.AtlassianSite{}
	if got := terms.Policy(site); got != (lifetime.Policy{}) {
		t.Errorf("a site that says nothing sets %+v", got)
	}
	site.Spec.IssuedAfter = metav1.NewTime(day)
	site.Spec.TokenPolicy = tokensv1alpha1.TokenPolicy{DefaultLifetimeDays: new(int32(30)), MaxLifetimeDays: new(int32(90))}
	if got, want := terms.Policy(site), (lifetime.Policy{DefaultDays: 30, MaxDays: 90, IssuedAfter: day}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestOtherNamespaces(t *testing.T) {
	selector := func(key string, op metav1.LabelSelectorOperator, values ...string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: key, Operator: op, Values: values}}}
	}
	const (
		all      = tokensv1alpha1.NamespacesFromAll
		same     = tokensv1alpha1.NamespacesFromSame
		selected = tokensv1alpha1.NamespacesFromSelector
	)
	ci := map[string]string{"team": "ci"}
	for name, tc := range map[string]struct {
		allowed tokensv1alpha1.AllowedNamespaces
		labels  map[string]string
		want    bool
		failure bool
	}{
		"nothing is said":             {tokensv1alpha1.AllowedNamespaces{}, ci, false, false},
		"its own":                     {tokensv1alpha1.AllowedNamespaces{From: same}, ci, false, false},
		"all":                         {tokensv1alpha1.AllowedNamespaces{From: all}, nil, true, false},
		"something unknown":           {tokensv1alpha1.AllowedNamespaces{From: "Most"}, ci, false, false},
		"selected by label":           {tokensv1alpha1.AllowedNamespaces{From: selected, Selector: &metav1.LabelSelector{MatchLabels: ci}}, ci, true, false},
		"another label":               {tokensv1alpha1.AllowedNamespaces{From: selected, Selector: &metav1.LabelSelector{MatchLabels: ci}}, map[string]string{"team": "qa"}, false, false},
		"no labels":                   {tokensv1alpha1.AllowedNamespaces{From: selected, Selector: &metav1.LabelSelector{MatchLabels: ci}}, nil, false, false},
		"selected by expression":      {tokensv1alpha1.AllowedNamespaces{From: selected, Selector: selector("team", metav1.LabelSelectorOpIn, "ci", "qa")}, ci, true, false},
		"an empty selector":           {tokensv1alpha1.AllowedNamespaces{From: selected, Selector: &metav1.LabelSelector{}}, nil, true, false},
		"no selector":                 {tokensv1alpha1.AllowedNamespaces{From: selected}, ci, false, false},
		"a selector that is not one":  {tokensv1alpha1.AllowedNamespaces{From: selected, Selector: selector("team", "Like", "c*")}, ci, false, true},
		"a key that is not one":       {tokensv1alpha1.AllowedNamespaces{From: selected, Selector: selector("-", metav1.LabelSelectorOpExists)}, ci, false, true},
		"a selector that says In: ()": {tokensv1alpha1.AllowedNamespaces{From: selected, Selector: selector("team", metav1.LabelSelectorOpIn)}, ci, false, true},
	} {
		allows, err := terms.OtherNamespaces(&tokensv1alpha1.AtlassianSite{Spec: tokensv1alpha1.AtlassianSiteSpec{AllowedNamespaces: tc.allowed}})
		if got := allows(tc.labels); got != tc.want || (err != nil) != tc.failure {
			t.Errorf("%s: %t (%v), want %t", name, got, err, tc.want)
		}
	}
}

func TestUnreachablePaths(t *testing.T) {
	for _, tc := range []struct {
		tokenPaths []string
		path       string
		reachable  bool
	}{
		{[]string{"/rest/"}, "/rest", true},
		{[]string{"/rest/"}, "/rest/", true},
		{[]string{"/rest/"}, "/rest/api/2/issue", true},
		{[]string{"/rest/"}, "/restricted", false},
		{[]string{"/rest/"}, "/browse", false},
		{[]string{"/rest/api/"}, "/rest", true},
		{[]string{"/rest/api/"}, "/rest/agile", false},
		{[]string{"/rest/api/"}, "/rest/api-tokens", true},
		{[]string{"/rest/api/"}, "/rest/api-tokens/latest", true},
		{[]string{"/rest/", "/browse/"}, "/browse/ABC-1", true},
	} {
		site := &tokensv1alpha1.AtlassianSite{}
		site.Spec.TokenPaths = tc.tokenPaths
		if got := len(terms.UnreachablePaths([]string{tc.path}, site)) == 0; got != tc.reachable {
			t.Errorf("%s with the token paths %q: reachable is %t", tc.path, tc.tokenPaths, got)
		}
	}
}
