package page_test

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/webhook/portal/page"
)

func TestLifetimes(t *testing.T) {
	n := func(days int32) *int32 { return &days }
	for name, tc := range map[string]struct {
		policy tokensv1alpha1.TokenPolicy
		want   []string
	}{
		"nothing is said":            {tokensv1alpha1.TokenPolicy{}, []string{": No expiry", "7: 7 days", "30: 30 days", "90: 90 days", "365: 365 days"}},
		"a default":                  {tokensv1alpha1.TokenPolicy{DefaultLifetimeDays: n(30)}, []string{": 30 days (default of this site)", "7: 7 days", "90: 90 days", "365: 365 days"}},
		"another default":            {tokensv1alpha1.TokenPolicy{DefaultLifetimeDays: n(1)}, []string{": 1 day (default of this site)", "7: 7 days", "30: 30 days", "90: 90 days", "365: 365 days"}},
		"a maximum is the default":   {tokensv1alpha1.TokenPolicy{MaxLifetimeDays: n(90)}, []string{": 90 days (default of this site)", "7: 7 days", "30: 30 days"}},
		"a maximum of its own":       {tokensv1alpha1.TokenPolicy{DefaultLifetimeDays: n(7), MaxLifetimeDays: n(60)}, []string{": 7 days (default of this site)", "30: 30 days", "60: 60 days"}},
		"a default beyond":           {tokensv1alpha1.TokenPolicy{DefaultLifetimeDays: n(90), MaxLifetimeDays: n(5)}, []string{": 5 days (default of this site)"}},
		"a maximum beyond all":       {tokensv1alpha1.TokenPolicy{DefaultLifetimeDays: n(90), MaxLifetimeDays: n(3650)}, []string{": 90 days (default of this site)", "7: 7 days", "30: 30 days", "365: 365 days"}},
		"none may go on for ever":    {tokensv1alpha1.TokenPolicy{NeverExpiring: "Forbidden"}, []string{"7: 7 days", "30: 30 days", "90: 90 days", "365: 365 days"}},
		"none may, and some default": {tokensv1alpha1.TokenPolicy{NeverExpiring: "Forbidden", DefaultLifetimeDays: n(365)}, []string{": 365 days (default of this site)", "7: 7 days", "30: 30 days", "90: 90 days"}},
	} {
		if got := page.Lifetimes(tc.policy); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

func TestSoon(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	for left, want := range map[time.Duration]string{
		-1: "", 0: "", 1: "expires within the hour", time.Hour - 1: "expires within the hour", time.Hour: "expires in 1 hour",
		90*time.Minute - 1: "expires in 1 hour", 90 * time.Minute: "expires in 2 hours", 47*time.Hour + 59*time.Minute: "expires in 48 hours",
		2 * day: "expires in 2 days", 7*day - time.Second: "expires in 7 days", 3*day + 11*time.Hour: "expires in 3 days", 14 * day: "expires in 14 days", 14*day + 1: "",
	} {
		if got := page.Soon(now.Add(left), now); got != want {
			t.Errorf("%v before its end: %q, want %q", left, got, want)
		}
	}
	if got := page.Soon(time.Time{}, now); got != "" {
		t.Errorf("what never ends %s", got)
	}
}

// A shell reads every quoted word back unchanged.
func TestQuoted(t *testing.T) {
	for _, word := range append(hostile(), "alice@example.com", "o'brien", `corp\alice`, "a b", "$HOME", "`id`", "$(id)", "-x", "*", "~", "", "a;b", "!x") {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", "printf '%s.' "+page.Quoted(word)).Output()
		if err != nil || string(out) != word+"." {
			t.Errorf("%s is read as %q (%v), want %q", page.Quoted(word), out, err, word)
		}
	}
	if got := page.Quoted("alice@example.com:asp_x"); got != "alice@example.com:asp_x" {
		t.Errorf("what needs no quotes becomes %s", got)
	}
}

func TestNetworks(t *testing.T) {
	want := []string{"10.0.0.0/8", "192.0.2.7/32", "2001:db8::1/128", "fe80::1%eth0", "nonsense"}
	if got := page.Networks("10.0.0.0/8\r\n 192.0.2.7\t\n\n192.0.2.7/32\n2001:db8::1\nfe80::1%eth0\nnonsense\n10.0.0.0/8"); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got := page.Networks(" \r\n\t\n"); got != nil {
		t.Errorf("nothing is %q", got)
	}
}

func TestInPageTerms(t *testing.T) {
	for message, want := range map[string]string{
		"lifetimeDays must be at most 90.":       "The lifetime in days must be at most 90.",
		"Each entry of allowedPaths must be x.":  "Each line must be x.",
		"allowedSources must have 1 to 32.":      "Allowed sources must have 1 to 32.",
		"label must have at most 255 characters": "Label must have at most 255 characters",
	} {
		if got := page.InPageTerms(message); got != want {
			t.Errorf("%s: %q, want %q", message, got, want)
		}
	}
}

func TestNotices(t *testing.T) {
	now := time.Date(2026, 11, 26, 8, 30, 1, 0, time.UTC)
	for _, past := range []time.Time{{}, now, now.Add(-time.Hour)} {
		if got, closed := page.Notices("", past, now); got != nil || closed {
			t.Errorf("a site with a licence and an epoch at %s says %q", past, got)
		}
	}
	script, err := os.ReadFile("static/profile.js")
	if err != nil {
		t.Fatal(err)
	}
	for why, want := range map[authn.Reason]string{
		authn.ReasonInvalidLicenseMissing: "their licence is missing", authn.ReasonInvalidLicenseMalformed: "is malformed",
		authn.ReasonInvalidLicenseWrongSignature: "has a wrong signature", authn.ReasonInvalidLicenseExpired: "has expired",
		authn.ReasonInvalidLicenseWrongProduct: "is for the wrong product",
	} {
		got, closed := page.Notices(why, time.Time{}, now)
		if closed || len(got) != 1 || !strings.Contains(got[0], want+".") || !strings.HasSuffix(got[0], "Ask the administrator of this Jira.") {
			t.Errorf("%s: %q", why, got)
		}
		_, words, _ := strings.Cut(got[0], "moment: ")
		words, _, _ = strings.Cut(words, ".")
		if !strings.Contains(string(script), string(why)+": '"+words+"'") {
			t.Errorf("the block in the profile does not say %q of %s", words, why)
		}
	}
	got, closed := page.Notices(authn.ReasonInvalidLicenseMissing, now.Add(time.Minute), now)
	if !closed || len(got) != 2 || !strings.Contains(got[1], "created from 26 Nov 2026, 08:31:01 UTC on") || !strings.Contains(got[1], "delivered anew only then") {
		t.Errorf("a minute before an epoch: %q", got)
	}
}
