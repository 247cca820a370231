package apitoken

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/record"
)

const day = 24 * time.Hour

// aged is a ready state whose secret was issued so long ago.
func aged(age time.Duration, changes ...func(*state)) state {
	s := ready()
	s.record.Entries[0].Issued = now.Add(-age)
	for _, change := range changes {
		change(&s)
	}
	return s
}

func lifetimeDays(n int32) func(*state) {
	return func(s *state) { s.token.Spec.LifetimeDays = &n }
}

func expirationTime(in time.Duration) func(*state) {
	return func(s *state) { s.token.Spec.ExpirationTime = metav1.NewTime(now.Add(in)) }
}

func interval(days int32) func(*state) {
	return func(s *state) { s.token.Spec.Rotation.IntervalDays = &days }
}

func requested(in time.Duration) func(*state) {
	return func(s *state) { s.token.Spec.Rotation.RequestedTime = metav1.NewTime(now.Add(in)) }
}

func overlap(hours int32) func(*state) {
	return func(s *state) { s.token.Spec.Rotation.OverlapHours = &hours }
}

func policy(p tokensv1alpha1.TokenPolicy) func(*state) {
	return func(s *state) { s.site.Spec.TokenPolicy = p }
}

func issuedAfter(in time.Duration) func(*state) {
	return func(s *state) { s.site.Spec.IssuedAfter = metav1.NewTime(now.Add(in)) }
}

func limitsSince(in time.Duration) func(*state) {
	return func(s *state) {
		s.limitsSince = now.Add(in)
	}
}

func isNew(s *state) { s.record, s.delivered = nil, nil }

func secretGone(s *state) { s.delivered = nil }

// holding puts these secrets into the record. The one with this index is delivered.
func holding(delivered int, entries ...record.Entry) func(*state) {
	return func(s *state) {
		s.record.Entries = entries
		s.delivered.entry = delivered
	}
}

func candidate(age time.Duration) record.Entry {
	return record.Entry{State: record.Candidate, Issued: now.Add(-age)}
}

func deliveredEntry(age time.Duration) record.Entry {
	return record.Entry{State: record.Delivered, Issued: now.Add(-age)}
}

func ending(age, in time.Duration) record.Entry {
	return record.Entry{State: record.Ending, Issued: now.Add(-age), Ends: now.Add(in)}
}

// Every change by time happens at its moment, and not a nanosecond before.
func TestDecideLife(t *testing.T) {
	const (
		issued   = tokensv1alpha1.ReasonIssued
		expired  = tokensv1alpha1.ReasonExpired
		violated = tokensv1alpha1.ReasonPolicyViolation
		pending  = tokensv1alpha1.ReasonIssuePending
		revoked  = tokensv1alpha1.ReasonRevokedByEpoch
		epoch    = tokensv1alpha1.ReasonEpochPending
	)
	retention := func(days int32) func(*state) {
		return func(s *state) { s.site.Spec.TokenPolicy.ExpiredRetentionDays = &days }
	}
	most := func(days int32) func(*state) {
		return func(s *state) { s.site.Spec.TokenPolicy.MaxLifetimeDays = &days }
	}
	quota := func(n int32, older int) func(*state) {
		return func(s *state) { s.site.Spec.TokenPolicy.MaxTokensPerUser, s.older = &n, older }
	}
	unguarded := func(s *state) {
		s.guard = guard{reason: tokensv1alpha1.ReasonAdmissionPolicyMissing, message: "The ValidatingAdmissionPolicy is not in force."}
	}
	paths := func(paths ...string) func(*state) {
		return func(s *state) { s.token.Spec.AllowedPaths, s.site.Spec.TokenPaths = paths, []string{"/rest/"} }
	}
	never := policy(tokensv1alpha1.TokenPolicy{NeverExpiring: tokensv1alpha1.NeverExpiringForbidden})

	for name, tc := range map[string]struct {
		state  state
		step   step
		reason string
		says   string
	}{
		"before lifetimeDays":             {aged(7*day-1, lifetimeDays(7)), settled, issued, ""},
		"at lifetimeDays":                 {aged(7*day, lifetimeDays(7)), blocked, expired, "expired at 2026-11-23T12:00:00Z"},
		"after lifetimeDays":              {aged(7*day+1, lifetimeDays(7)), blocked, expired, ""},
		"before expirationTime":           {aged(day, expirationTime(1)), settled, issued, ""},
		"at expirationTime":               {aged(day, expirationTime(0)), blocked, expired, ""},
		"after expirationTime":            {aged(day, expirationTime(-1)), blocked, expired, ""},
		"expired, and the Secret gone":    {aged(7*day, lifetimeDays(7), secretGone), blocked, expired, ""},
		"expired before it was issued":    {aged(0, expirationTime(0), isNew), blocked, expired, ""},
		"expired by the site":             {aged(7*day, most(7)), blocked, expired, ""},
		"extended by the site":            {aged(7*day, most(8)), settled, issued, ""},
		"expired and suspended":           {aged(7*day, lifetimeDays(7), func(s *state) { s.token.Spec.State = tokensv1alpha1.StateSuspended }), blocked, expired, ""},
		"expired, kept":                   {aged(10*day-1, lifetimeDays(7), retention(3)), blocked, expired, "removed at 2026-11-23T12:00:00Z"},
		"expired, kept long enough":       {aged(10*day, lifetimeDays(7), retention(3)), remove, "", ""},
		"expired, kept longer":            {aged(10*day+1, lifetimeDays(7), retention(3)), remove, "", ""},
		"expired, not kept":               {aged(7*day, lifetimeDays(7), retention(0)), remove, "", ""},
		"expired, not issued, not kept":   {aged(0, expirationTime(0), isNew, retention(0)), remove, "", ""},
		"expired by new limits, kept":     {aged(30*day, most(7), retention(3), limitsSince(-3*day+1)), blocked, expired, "removed at 2026-11-23T12:00:00Z"},
		"expired by new limits, no more":  {aged(30*day, most(7), retention(3), limitsSince(-3*day)), remove, "", ""},
		"by new limits that keep none":    {aged(30*day, most(7), retention(0), limitsSince(-day+1)), blocked, expired, "removed at 2026-11-23T12:00:00Z"},
		"by limits of yesterday":          {aged(30*day, most(7), retention(0), limitsSince(-day)), remove, "", ""},
		"expired under the limits":        {aged(7*day, most(7), retention(0), limitsSince(-day)), remove, "", ""},
		"not expired, whatever retention": {aged(7*day, retention(0)), settled, issued, ""},

		"before the interval":              {aged(30*day-1, interval(30)), settled, issued, ""},
		"at the interval":                  {aged(30*day, interval(30)), rotate, "", ""},
		"after the interval":               {aged(30*day+1, interval(30)), rotate, "", ""},
		"before it is requested":           {aged(day, requested(1)), settled, issued, ""},
		"as it is requested":               {aged(day, requested(0)), rotate, "", ""},
		"requested before it was issued":   {aged(day, requested(-day)), settled, issued, ""},
		"requested after it was issued":    {aged(day, requested(-day+1)), rotate, "", ""},
		"requested, then the interval":     {aged(day, requested(-time.Hour), interval(30)), rotate, "", ""},
		"expired, and due":                 {aged(30*day, lifetimeDays(7), interval(30)), rotate, "", ""},
		"expired, and requested":           {aged(8*day, lifetimeDays(7), requested(-time.Hour)), rotate, "", ""},
		"over, and requested":              {aged(8*day, expirationTime(0), requested(-time.Hour)), blocked, expired, ""},
		"due, but suspended":               {aged(30*day, interval(30), func(s *state) { s.token.Spec.State = tokensv1alpha1.StateSuspended }), blocked, tokensv1alpha1.ReasonSuspended, ""},
		"due, and the Secret gone":         {aged(30*day, interval(30), secretGone), reissue, "", ""},
		"paths of tokens":                  {aged(0, isNew, paths("/rest/api/2", "/rest")), issue, "", ""},
		"paths of no token":                {aged(0, isNew, paths("/rest/api/2", "/browse")), blocked, violated, "`allowedPaths` has '/browse'"},
		"issued, some paths of no token":   {aged(day, paths("/rest/api/2", "/browse")), settled, issued, ""},
		"issued, all paths of no token":    {aged(day, paths("/browse")), blocked, violated, "at or below /rest/"},
		"due, but against the policy":      {aged(30*day, interval(30), never), settled, issued, "cannot be made: The token would never expire"},
		"expired, due, against the policy": {aged(30*day, lifetimeDays(7), interval(30), most(6)), blocked, violated, "maxLifetimeDays"},
		"expired, due, no room":            {aged(0, lifetimeDays(7), interval(30), holding(0, deliveredEntry(30*day), candidate(1), candidate(1), candidate(1))), blocked, pending, ""},
		"due, not confirmed":               {aged(0, interval(1), holding(1, deliveredEntry(2*day), candidate(day))), confirm, "", ""},
		"never delivered, for long":        {aged(0, lifetimeDays(7), holding(0, candidate(8*day)), secretGone), reissue, "", ""},
		"never delivered, and over":        {aged(0, expirationTime(0), holding(0, candidate(8*day)), secretGone), blocked, expired, ""},
		"due, candidates on their way":     {aged(0, interval(30), holding(0, deliveredEntry(30*day), candidate(1), candidate(1), candidate(1))), settled, issued, "A rotation is due"},
		"due, one of them is late":         {aged(0, interval(30), holding(0, deliveredEntry(30*day), candidate(candidateGrace), candidate(1), candidate(1))), rotate, "", ""},
		"due, overlaps going on":           {aged(0, interval(1), holding(3, ending(4*day, 1), ending(3*day, 1), ending(2*day, 1), deliveredEntry(day))), settled, issued, "A rotation is due"},
		"due, an overlap is over":          {aged(0, interval(1), holding(3, ending(4*day, 0), ending(3*day, 1), ending(2*day, 1), deliveredEntry(day))), rotate, "", ""},
		"an overlap past the lifetime":     {aged(0, lifetimeDays(3), holding(1, ending(2*day, 2*day), deliveredEntry(day))), settled, issued, "authenticates until 2026-11-24T12:00:00Z."},
		"an overlap goes on":               {aged(0, holding(1, ending(2*day, time.Hour), deliveredEntry(day))), settled, issued, "The one before it authenticates until 2026-11-23T13:00:00Z."},
		"an old secret was put back":       {aged(0, holding(0, ending(2*day, day), deliveredEntry(day))), rotate, "", ""},
		"put back, against the policy":     {aged(0, never, holding(0, ending(2*day, day), deliveredEntry(day))), blocked, violated, ""},
		"put back, no room":                {aged(0, holding(0, ending(2*day, day), candidate(1), candidate(1), deliveredEntry(day))), blocked, pending, ""},
		"due, but unguarded":               {aged(30*day, interval(30), unguarded), settled, issued, "cannot be made: The ValidatingAdmissionPolicy"},
		"new, but unguarded":               {aged(0, isNew, unguarded), blocked, tokensv1alpha1.ReasonAdmissionPolicyMissing, ""},

		"issued before the epoch":      {aged(day, issuedAfter(-day+1)), rotate, "", ""},
		"issued at the epoch":          {aged(day, issuedAfter(-day)), settled, issued, ""},
		"the epoch is to come":         {aged(day, issuedAfter(1)), blocked, epoch, "until 2026-11-23T12:00:00Z"},
		"the epoch has come":           {aged(day, issuedAfter(0)), rotate, "", ""},
		"new, the epoch is to come":    {aged(0, isNew, issuedAfter(1)), blocked, epoch, ""},
		"revoked, and the Secret gone": {aged(day, issuedAfter(-1), secretGone), reissue, "", ""},
		"revoked, against the policy":  {aged(day, issuedAfter(-1), never), blocked, violated, ""},

		"more days than the site allows":      {aged(0, isNew, lifetimeDays(91), most(90)), blocked, violated, "maxLifetimeDays"},
		"as many days as the site allows":     {aged(0, isNew, lifetimeDays(90), most(90)), issue, "", ""},
		"a later end than the site allows":    {aged(0, isNew, expirationTime(90*day+1), most(90)), blocked, violated, "maxLifetimeDays"},
		"as late an end as the site allows":   {aged(0, isNew, expirationTime(90*day), most(90)), issue, "", ""},
		"the maximum is the default":          {aged(0, isNew, most(90)), issue, "", ""},
		"issued before the maximum came":      {aged(day, lifetimeDays(91), most(90)), settled, issued, ""},
		"no end, where that is forbidden":     {aged(0, isNew, never), blocked, violated, "neverExpiring"},
		"an end, where it takes one":          {aged(0, isNew, never, lifetimeDays(1)), issue, "", ""},
		"issued before an end was asked for":  {aged(day, never), settled, issued, ""},
		"as many as a user may have":          {aged(0, isNew, quota(3, 2)), issue, "", ""},
		"more than a user may have":           {aged(0, isNew, quota(3, 3)), blocked, violated, "that many older APITokens already"},
		"issued before the quota came":        {aged(day, quota(1, 5)), settled, issued, ""},
		"of too many, and the Secret is gone": {aged(day, quota(1, 5), secretGone), reissue, "", ""},
	} {
		d := decide(tc.state)
		if d.step != tc.step || d.reason != tc.reason || !strings.Contains(d.message, tc.says) {
			t.Errorf("%s: step %s, reason %q: %s; want %s, %q, %q", name, d.step, d.reason, d.message, tc.step, tc.reason, tc.says)
		}
		if d.step == blocked && (len(d.message) < 40 || !strings.HasSuffix(d.message, ".")) {
			t.Errorf("%s: the message does not say what to do: %q", name, d.message)
		}
	}
}

func TestWithCandidate(t *testing.T) {
	fresh := candidate(0)
	demoted := candidate
	for name, tc := range map[string]struct {
		state state
		want  []record.Entry
	}{
		"beside the delivered one":            {aged(0, holding(0, deliveredEntry(day))), []record.Entry{deliveredEntry(day), fresh}},
		"beside an overlap":                   {aged(0, holding(1, ending(2*day, 1), deliveredEntry(day))), []record.Entry{ending(2*day, 1), deliveredEntry(day), fresh}},
		"an overlap that is over goes":        {aged(0, holding(1, ending(2*day, 0), deliveredEntry(day))), []record.Entry{deliveredEntry(day), fresh}},
		"the Secret is gone":                  {aged(0, holding(1, ending(2*day, 1), deliveredEntry(day)), secretGone), []record.Entry{demoted(day), fresh}},
		"the Secret holds one that is over":   {aged(0, holding(0, ending(2*day, 0), deliveredEntry(day))), []record.Entry{ending(2*day, 0), deliveredEntry(day), fresh}},
		"the oldest late candidate goes":      {aged(0, holding(0, deliveredEntry(day), candidate(2*candidateGrace), candidate(candidateGrace), candidate(1))), []record.Entry{deliveredEntry(day), candidate(candidateGrace), candidate(1), fresh}},
		"candidates that may be on their way": {aged(0, holding(0, deliveredEntry(day), candidate(1), candidate(1), candidate(1))), nil},
		"what the epoch revoked goes":         {aged(0, holding(1, ending(2*day, 1), deliveredEntry(day)), issuedAfter(0)), []record.Entry{deliveredEntry(day), fresh}},
	} {
		got, ok := withCandidate(tc.state, fresh)
		if diff := cmp.Diff(tc.want, got, cmpopts.EquateComparable(record.Hash{})); diff != "" || ok != (tc.want != nil) {
			t.Errorf("%s (-want +got), %t:\n%s", name, ok, diff)
		}
	}
}

func TestTidied(t *testing.T) {
	for name, tc := range map[string]struct {
		state state
		want  []record.Entry
	}{
		"as it should be":                       {aged(0, holding(0, deliveredEntry(day))), []record.Entry{deliveredEntry(day)}},
		"the first is delivered":                {aged(0, holding(0, candidate(1))), []record.Entry{deliveredEntry(1)}},
		"of several candidates, one":            {aged(0, holding(1, candidate(3), candidate(2), candidate(1))), []record.Entry{deliveredEntry(2)}},
		"a rotation":                            {aged(0, holding(1, deliveredEntry(day), candidate(1))), []record.Entry{ending(day, day), deliveredEntry(1)}},
		"a rotation with its own overlap":       {aged(0, overlap(3), holding(1, deliveredEntry(day), candidate(1))), []record.Entry{ending(day, 3*time.Hour), deliveredEntry(1)}},
		"a rotation without overlap":            {aged(0, overlap(0), holding(1, deliveredEntry(day), candidate(1))), []record.Entry{deliveredEntry(1)}},
		"a rotation, cut short before":          {aged(0, holding(2, deliveredEntry(day), candidate(2), candidate(1))), []record.Entry{ending(day, day), deliveredEntry(1)}},
		"a rotation during another's overlap":   {aged(0, holding(2, ending(2*day, 1), deliveredEntry(day), candidate(1))), []record.Entry{ending(2*day, 1), ending(day, day), deliveredEntry(1)}},
		"a rotation that may be going on":       {aged(0, holding(0, deliveredEntry(day), candidate(candidateGrace-1))), []record.Entry{deliveredEntry(day), candidate(candidateGrace - 1)}},
		"a rotation that came to nothing":       {aged(0, holding(0, deliveredEntry(day), candidate(candidateGrace))), []record.Entry{deliveredEntry(day)}},
		"an overlap goes on":                    {aged(0, holding(1, ending(2*day, 1), deliveredEntry(day))), []record.Entry{ending(2*day, 1), deliveredEntry(day)}},
		"an overlap is over":                    {aged(0, holding(1, ending(2*day, 0), deliveredEntry(day))), []record.Entry{deliveredEntry(day)}},
		"an overlap of what has expired":        {aged(0, lifetimeDays(2), holding(1, ending(2*day, day), deliveredEntry(day))), []record.Entry{deliveredEntry(day)}},
		"what the epoch revoked has no overlap": {aged(0, issuedAfter(-time.Hour), holding(1, deliveredEntry(day), candidate(1))), []record.Entry{deliveredEntry(1)}},
	} {
		got := tidied(tc.state)
		if diff := cmp.Diff(tc.want, got, cmpopts.EquateComparable(record.Hash{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestExpiring(t *testing.T) {
	notices := []time.Duration{14 * day, 7 * day, day}
	for name, tc := range map[string]struct {
		state  state
		status metav1.ConditionStatus // empty: there is none
		says   string
	}{
		"it never expires":           {aged(day), "", ""},
		"it is not issued":           {aged(0, isNew, lifetimeDays(1)), "", ""},
		"long before":                {aged(0, lifetimeDays(30)), metav1.ConditionFalse, "expires at 2026-12-23T12:00:00Z."},
		"a moment before the notice": {aged(0, expirationTime(14*day+1)), metav1.ConditionFalse, ""},
		"at the first notice":        {aged(0, expirationTime(14*day)), metav1.ConditionTrue, "within 14 days"},
		"a moment after it":          {aged(0, expirationTime(14*day-1)), metav1.ConditionTrue, "within 14 days"},
		"before the second":          {aged(0, expirationTime(7*day+1)), metav1.ConditionTrue, "within 14 days"},
		"at the second":              {aged(0, expirationTime(7*day)), metav1.ConditionTrue, "within 7 days"},
		"at the last":                {aged(0, expirationTime(day)), metav1.ConditionTrue, "within a day"},
		"a moment before the end":    {aged(0, expirationTime(1)), metav1.ConditionTrue, "within a day"},
		"at the end":                 {aged(0, expirationTime(0)), "", ""},
		"a rotation comes before":    {aged(29*day, lifetimeDays(30), interval(29)), metav1.ConditionFalse, "rotated before"},
		"a rotation is forbidden": {aged(20*day, lifetimeDays(40), interval(25), policy(tokensv1alpha1.TokenPolicy{MaxLifetimeDays: new(int32(30))})),
			metav1.ConditionTrue, "within 14 days"},
		"a rotation comes too late": {aged(29*day, lifetimeDays(30), interval(30)), metav1.ConditionTrue, "within a day"},
	} {
		c := tc.state.expiring(notices)
		switch {
		case c == nil && tc.status == "":
		case c == nil || c.Status != tc.status || !strings.Contains(c.Message, tc.says):
			t.Errorf("%s: %+v, want %s %q", name, c, tc.status, tc.says)
		case (c.Reason == tokensv1alpha1.ReasonExpiresSoon) != (c.Status == metav1.ConditionTrue):
			t.Errorf("%s: %s %s", name, c.Status, c.Reason)
		}
	}
	soon := aged(0, expirationTime(time.Hour))
	if c := soon.expiring(nil); c == nil || c.Status != metav1.ConditionFalse {
		t.Errorf("without notices: %+v", c)
	}
}

// The advice in a message helps: an imported secret cannot be rotated, and no rotation outlives `expirationTime`.
func TestLonger(t *testing.T) {
	const days, later, rotate = "set a longer `lifetimeDays` within the `tokenPolicy` of AtlassianSite 'main'",
		"choose a later `expirationTime` within the `tokenPolicy` of AtlassianSite 'main'", ", or rotate"
	for name, tc := range map[string]struct {
		state state
		want  string
	}{
		"generated":                    {aged(day, lifetimeDays(30)), days + rotate},
		"imported":                     {aged(day, lifetimeDays(30), func(s *state) { s.source = &importSource{} }), days},
		"at the end of the APIToken":   {aged(day, expirationTime(day)), later},
		"ended by the site before":     {aged(day, expirationTime(60*day), policy(tokensv1alpha1.TokenPolicy{MaxLifetimeDays: new(int32(30))})), later + rotate},
		"imported, of an APIToken too": {aged(day, expirationTime(day), func(s *state) { s.source = &importSource{} }), later},
	} {
		if got := tc.state.howToExtend("rotate"); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

func TestWakeAfter(t *testing.T) {
	for name, tc := range map[string]struct {
		state state
		want  time.Duration
	}{
		"nothing comes":       {aged(day), 0},
		"the end comes later": {aged(day, expirationTime(time.Hour)), time.Hour},
		"the end comes soon":  {aged(day, expirationTime(1)), 1},
		"the end has come":    {aged(day, expirationTime(0)), 0},
		"a rotation":          {aged(day, requested(time.Second)), time.Second},
		"the first of two":    {aged(day, requested(time.Second), expirationTime(time.Minute)), time.Second},
		"the epoch":           {aged(day, issuedAfter(time.Second)), time.Second},
		"no site":             {aged(day, expirationTime(1), func(s *state) { s.site = nil }), 0},
	} {
		if got := tc.state.wakeAfter(); got != tc.want {
			t.Errorf("%s: after %s, want %s", name, got, tc.want)
		}
	}
}

// The overlap of a rotation is for all older secrets: none outlives it, and none gets longer by it.
func TestOverlapIsForAllOlderSecrets(t *testing.T) {
	for name, tc := range map[string]struct {
		hours int32
		want  []time.Duration // the ends of the older secrets, from now
	}{
		"at once":       {0, nil},
		"for one hour":  {1, []time.Duration{time.Minute, time.Hour, time.Hour}},
		"for two days":  {48, []time.Duration{time.Minute, day, 2 * day}},
		"as it is left": {24, []time.Duration{time.Minute, day, day}},
	} {
		s := aged(0, overlap(tc.hours), holding(3, ending(3*day, time.Minute), ending(2*day, day), deliveredEntry(day), candidate(1)))
		var got []time.Duration
		for _, e := range tidied(s) {
			if e.State == record.Ending {
				got = append(got, e.Ends.Sub(now))
			}
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: the older secrets end in %v, want %v", name, got, tc.want)
		}
		settled := aged(0, overlap(0), holding(2, ending(3*day, time.Minute), ending(2*day, day), deliveredEntry(day)))
		if n := len(tidied(settled)); n != 3 {
			t.Errorf("without a rotation %d secrets are left", n)
		}
	}
}
