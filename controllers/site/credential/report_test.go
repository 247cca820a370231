package credential

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/upstream"
)

func TestRejections(t *testing.T) {
	site := tokensv1alpha1.AtlassianSite{Spec: tokensv1alpha1.AtlassianSiteSpec{BaseURL: "https://example.com/jira"}}
	const unusable, changed, ending = tokensv1alpha1.ReasonCredentialUnusable, tokensv1alpha1.ReasonUpstreamChanged, tokensv1alpha1.ReasonRenewalRefused
	const page = "'alice' has to sign in and open https://example.com/jira/plugins/servlet/api-tokens"
	stuck := func(s *state) { s.stuck = true }
	for name, tc := range map[string]struct {
		source  upstream.Source
		changes []change
		reason  string // "" for none
		says    []string
	}{
		"all well": {upstream.Enrolled, nil, "", nil},
		"refused":  {upstream.Enrolled, []change{rejected}, unusable, []string{page, "revoked", "deactivated"}},
		"of another user": {upstream.Enrolled, []change{renamed}, unusable, []string{
			"another name", "the present 'alice' has to sign in and open https://example.com/jira/plugins/servlet/api-tokens",
		}},
		"refused, pasted":         {upstream.Pasted, []change{rejected}, unusable, []string{page}},
		"moved":                   {upstream.Enrolled, []change{moved}, changed, []string{page, here, "http://elsewhere"}},
		"moved, and refused":      {upstream.Enrolled, []change{moved, rejected}, changed, []string{page}},
		"not renewed":             {upstream.Enrolled, []change{stuck}, ending, []string{"delete some", "raise the limit", "until 2026-04-01"}},
		"not renewed, no end":     {upstream.Enrolled, []change{stuck, func(s *state) { s.credential.Expires = time.Time{} }}, ending, []string{"until it ends"}},
		"not renewed, refused":    {upstream.Enrolled, []change{stuck, rejected}, unusable, []string{page}},
		"refused, nobody waits":   {upstream.Enrolled, []change{rejected, orphaned}, "", nil},
		"moved, nobody waits":     {upstream.Enrolled, []change{moved, orphaned}, "", nil},
		"given, its entry has it": {upstream.Given, []change{moved, rejected}, "", nil},
		"damaged, its entry does": {upstream.Given, []change{garbled}, "", nil},
	} {
		s := held(tc.source)
		for _, change := range tc.changes {
			change(&s)
		}
		r := s.rejection(&site)
		switch {
		case (r == nil) != (tc.reason == ""):
			t.Errorf("%s: %+v, want reason %q", name, r, tc.reason)
		case r != nil && (r.Reason != tc.reason || r.User != "alice"):
			t.Errorf("%s: %+v, want reason %q", name, r, tc.reason)
		}
		for _, want := range tc.says {
			if r != nil && !strings.Contains(r.Why, want) {
				t.Errorf("%s: it does not say %q: %s", name, want, r.Why)
			}
		}
	}
}

func TestCondition(t *testing.T) {
	const unusable, changed = tokensv1alpha1.ReasonCredentialUnusable, tokensv1alpha1.ReasonUpstreamChanged
	many := func(n int, reason string) (all []Rejection, lines []string) {
		for i := range n {
			user := fmt.Sprintf("u%02d", i)
			all = append(all, Rejection{reason, user, "why"})
			lines = append(lines, "'"+user+"': why")
		}
		return all, lines
	}
	ten, tenLines := many(10, unusable)
	twelve, _ := many(12, changed)
	for name, tc := range map[string]struct {
		rejected        []Rejection
		reason, message string
	}{
		"none":            {nil, tokensv1alpha1.ReasonVerified, "The product confirmed the owner of every personal access token."},
		"one":             {[]Rejection{{unusable, "alice", "it is gone"}}, unusable, "Not in use: 'alice': it is gone."},
		"two":             {[]Rejection{{unusable, "b", "x"}, {unusable, "a", "y"}}, unusable, "Not in use: 'b': x; 'a': y."},
		"moved":           {[]Rejection{{changed, "a", "x"}, {changed, "b", "y"}}, changed, "Not in use: 'a': x; 'b': y."},
		"moved and other": {[]Rejection{{changed, "a", "x"}, {unusable, "b", "y"}}, unusable, "Not in use: 'a': x; 'b': y."},
		"other and moved": {[]Rejection{{unusable, "a", "x"}, {changed, "b", "y"}}, unusable, "Not in use: 'a': x; 'b': y."},
		"ten":             {ten, unusable, "Not in use: " + strings.Join(tenLines, "; ") + "."},
		"twelve":          {twelve, changed, "Not in use: " + strings.Join(tenLines, "; ") + "; and 2 more."},
		"other, unlisted": {append(twelve[:11:11], ten[0]), unusable, "Not in use: " + strings.Join(tenLines, "; ") + "; and 2 more."},
	} {
		if ok, reason, message := (Findings{Rejections: tc.rejected}).Condition(); ok != (len(tc.rejected) == 0) || reason != tc.reason || message != tc.message {
			t.Errorf("%s: %s, %q; want %s, %q", name, reason, message, tc.reason, tc.message)
		}
	}
	if ok, reason, message := (Findings{None: true}).Condition(); !ok || reason != tokensv1alpha1.ReasonNoneConfigured || !strings.Contains(message, "403") {
		t.Errorf("without a personal access token: %t, %s, %q", ok, reason, message)
	}
}

// A user who enrolled, and left, must not make the whole site look broken. An entry that is rejected does.
func TestBlocking(t *testing.T) {
	s := &tokensv1alpha1.AtlassianSite{}
	s.Spec.UpstreamCredentials = []tokensv1alpha1.UpstreamCredential{{User: "ci-bot"}}
	f := Findings{Rejections: []Rejection{
		{tokensv1alpha1.ReasonCredentialUnusable, "alice", "x"}, {tokensv1alpha1.ReasonWriteRefused, "bob", "y"},
		{tokensv1alpha1.ReasonUpstreamChanged, "ci-bot", "z"}, {tokensv1alpha1.ReasonRenewalRefused, "carol", "x"},
	}}
	if got := f.Blocking(s).Rejections; !slices.Equal(got, f.Rejections[1:3]) {
		t.Errorf("%+v keep the site from being Ready", got)
	}
	if len(f.Rejections) != 4 {
		t.Errorf("the findings became %+v", f)
	}
}

func TestConditionTellsWhatIsNotRenewedApart(t *testing.T) {
	const unusable, ending = tokensv1alpha1.ReasonCredentialUnusable, tokensv1alpha1.ReasonRenewalRefused
	line := func(reason string, n int) []Rejection {
		var all []Rejection
		for i := range n {
			all = append(all, Rejection{reason, fmt.Sprintf("u%02d", i), "why"})
		}
		return all
	}
	for name, tc := range map[string]struct {
		rejected        []Rejection
		reason, message string
	}{
		"one":            {line(ending, 1), ending, "Not renewed: 'u00': why."},
		"refused writes": {[]Rejection{{tokensv1alpha1.ReasonWriteRefused, "a", "x"}}, tokensv1alpha1.ReasonWriteRefused, "Not stored: 'a': x."},
		"both":           {[]Rejection{{ending, "a", "x"}, {unusable, "b", "y"}, {ending, "c", "z"}}, unusable, "Not in use: 'b': y. Not renewed: 'a': x; 'c': z."},
		"many": {
			slices.Concat(line(ending, 12), line(unusable, 8)), unusable,
			"Not in use: 'u00': why; 'u01': why; 'u02': why; 'u03': why; 'u04': why; 'u05': why; 'u06': why; 'u07': why. " +
				"Not renewed: 'u00': why; 'u01': why; and 10 more.",
		},
	} {
		if ok, reason, message := (Findings{Rejections: tc.rejected}).Condition(); ok != (len(tc.rejected) == 0) || reason != tc.reason || message != tc.message {
			t.Errorf("%s: %s, %q; want %s, %q", name, reason, message, tc.reason, tc.message)
		}
	}
}
