package apitoken

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/record"
)

// An APIToken without a record is issued only if the policies admitted it, and one with a record stays, unless its spec was
// changed while they were not in force.
func TestDecideGuard(t *testing.T) {
	const unguarded = tokensv1alpha1.ReasonDeclaredUnguarded
	gap := now.Add(-day) // the last gap ended here
	isNew := func(s *state) { s.record, s.delivered = nil, nil }
	since := func(at time.Time) func(*state) { return func(s *state) { s.guard.since = at } }
	created := func(at time.Time) func(*state) {
		return func(s *state) { s.token.CreationTimestamp = metav1.NewTime(at) }
	}
	recorded := func(at time.Time) func(*state) { return func(s *state) { s.recorded = at } }
	generation := func(n int64) func(*state) { return func(s *state) { s.token.Generation = n } }
	noted := func(n int64, at time.Time) func(*state) { return func(s *state) { s.noted = &note{n, at} } }
	missing := func(s *state) { s.guard = guard{reason: tokensv1alpha1.ReasonAdmissionPolicyMissing, message: "x"} }
	unknown := func(s *state) { s.guard = guard{} }
	for name, tc := range map[string]struct {
		mods   []func(*state)
		step   step
		reason string
	}{
		"new":                               {[]func(*state){isNew}, issue, ""},
		"new, declared at the end of a gap": {[]func(*state){isNew, since(gap), created(gap)}, issue, ""},
		"new, declared before":              {[]func(*state){isNew, since(gap), created(gap.Add(-1))}, blocked, unguarded},
		"new, in a gap":                     {[]func(*state){isNew, missing}, blocked, tokensv1alpha1.ReasonAdmissionPolicyMissing},
		"new, nothing known yet":            {[]func(*state){isNew, unknown}, issue, ""},
		"issued":                            {nil, settled, tokensv1alpha1.ReasonIssued},
		"issued, then a gap":                {[]func(*state){since(gap)}, annotate, ""},
		"issued, in a gap":                  {[]func(*state){missing}, settled, tokensv1alpha1.ReasonIssued},
		"issued, then a gap, noted":         {[]func(*state){since(gap), noted(1, gap)}, settled, tokensv1alpha1.ReasonIssued},
		"changed":                           {[]func(*state){generation(2)}, annotate, ""},
		"changed, noted":                    {[]func(*state){generation(2), noted(2, guarded)}, settled, tokensv1alpha1.ReasonIssued},
		"changed, noted, changed again":     {[]func(*state){generation(3), noted(2, guarded)}, annotate, ""},
		"changed, noted, then a gap":        {[]func(*state){generation(2), noted(2, guarded), since(gap)}, annotate, ""},
		"changed in a gap":                  {[]func(*state){generation(2), missing}, stop, ""},
		"changed in a gap that is over":     {[]func(*state){generation(2), since(gap)}, stop, ""},
		"changed, recorded after the gap":   {[]func(*state){generation(2), since(gap), recorded(gap)}, annotate, ""},
		"noted, changed in a gap":           {[]func(*state){generation(3), noted(2, guarded), missing}, stop, ""},
		"noted, changed, the gap is over":   {[]func(*state){generation(3), noted(2, guarded), since(gap)}, stop, ""},
		"noted after the gap, then changed": {[]func(*state){generation(3), noted(2, gap), since(gap)}, annotate, ""},
		"generation of a restored APIToken": {[]func(*state){generation(1), since(gap), recorded(gap)}, settled, tokensv1alpha1.ReasonIssued},
		"the note cannot be written":        {[]func(*state){generation(2), func(s *state) { s.refused = map[step]string{annotate: "x."} }}, settled, tokensv1alpha1.ReasonIssued},
		"it cannot be stopped":              {[]func(*state){generation(2), since(gap), func(s *state) { s.refused = map[step]string{stop: "x."} }}, blocked, unguarded},
		"stopped":                           {[]func(*state){generation(2), since(gap), func(s *state) { s.record.Entries = ended(*s) }}, blocked, unguarded},
		"stopped, rotated, and the Secret gone": {[]func(*state){generation(2), since(gap), func(s *state) {
			s.record.Entries, s.delivered = append(ended(*s), record.Entry{State: record.Candidate, Issued: now}), nil
		}}, stop, ""},
	} {
		s := ready()
		for _, mod := range tc.mods {
			mod(&s)
		}
		if d := decide(s); d.step != tc.step || d.reason != tc.reason {
			t.Errorf("%s: step %s, reason %q: %s; want %s, %q", name, d.step, d.reason, d.message, tc.step, tc.reason)
		}
	}
}
