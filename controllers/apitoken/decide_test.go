package apitoken

import (
	"errors"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/record"
)

var (
	now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	// guarded is since when the admission policies are in force.
	guarded = now.Add(-100 * day)
)

// ready is a settled state.
func ready() state {
	return state{
		now: now, recordName: "apitoken-system/uid", pat: pat{held: true}, guard: guard{since: guarded}, recorded: guarded,
		token: &tokensv1alpha1.APIToken{
			ObjectMeta: metav1.ObjectMeta{Namespace: "jira", Name: "ci", Generation: 1, CreationTimestamp: metav1.NewTime(guarded)},
			Spec: tokensv1alpha1.APITokenSpec{
				SiteRef: tokensv1alpha1.SiteReference{Name: "main"}, User: "Alice", Delivery: tokensv1alpha1.Delivery{SecretName: "ci-token"},
			},
			Status: tokensv1alpha1.APITokenStatus{TokenID: "asp_DquJoZLwlsNJm6gU"},
		},
		site: &tokensv1alpha1.AtlassianSite{
			ObjectMeta: metav1.ObjectMeta{Namespace: "jira", Name: "main"}, Spec: tokensv1alpha1.AtlassianSiteSpec{BaseURL: "https://jira.example"},
		},
		record: &record.Record{
			TokenID: "asp_DquJoZLwlsNJm6gU", User: "alice", DeliverySecret: "ci-token",
			Site: record.Ref{Namespace: "jira", Name: "main"}, APIToken: record.Ref{Namespace: "jira", Name: "ci"},
			Entries: []record.Entry{{State: record.Delivered, Issued: now.Add(-time.Hour)}},
		},
		delivered: &delivered{basicAuth: true, username: "Alice", url: "https://jira.example", tokenID: "asp_DquJoZLwlsNJm6gU"},
	}
}

func candidates(n int, oldest time.Duration) []record.Entry {
	entries := make([]record.Entry, n)
	for i := range entries {
		entries[i] = record.Entry{State: record.Candidate, Issued: now.Add(-oldest + time.Duration(i)*time.Millisecond)}
	}
	return entries
}

func TestDecide(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*state)
		step   step
		reason string
	}{
		"all is well":                 {func(*state) {}, settled, tokensv1alpha1.ReasonIssued},
		"new":                         {func(s *state) { s.record, s.delivered, s.token.Status.TokenID = nil, nil, "" }, issue, ""},
		"no site":                     {func(s *state) { s.site = nil }, blocked, tokensv1alpha1.ReasonSiteNotFound},
		"new, and no site":            {func(s *state) { s.site, s.record, s.delivered = nil, nil, nil }, blocked, tokensv1alpha1.ReasonSiteNotFound},
		"record unreadable":           {func(s *state) { s.record, s.recordErr = nil, errors.New("x") }, blocked, tokensv1alpha1.ReasonRecordDamaged},
		"record unreadable, no token": {func(s *state) { s.record, s.delivered, s.recordErr = nil, nil, errors.New("x") }, blocked, tokensv1alpha1.ReasonRecordDamaged},
		"record of another user":      {func(s *state) { s.record.User = "bob" }, blocked, tokensv1alpha1.ReasonRecordDamaged},
		"record of another site":      {func(s *state) { s.record.Site.Name = "other" }, blocked, tokensv1alpha1.ReasonRecordDamaged},
		"record of another namespace": {func(s *state) { s.record.APIToken.Namespace = "other" }, blocked, tokensv1alpha1.ReasonRecordDamaged},
		"record of another APIToken":  {func(s *state) { s.record.APIToken.Name = "other" }, blocked, tokensv1alpha1.ReasonRecordDamaged},
		"record of another delivery":  {func(s *state) { s.record.DeliverySecret = "other" }, blocked, tokensv1alpha1.ReasonRecordDamaged},
		"record gone":                 {func(s *state) { s.record, s.delivered.entry = nil, -1 }, blocked, tokensv1alpha1.ReasonRecordMissing},
		"record and token gone":       {func(s *state) { s.record, s.delivered = nil, nil }, issue, ""},
		"somebody's token there first": {func(s *state) {
			s.record, s.delivered.entry, s.delivered.tokenID = nil, -1, "asp_0000000000000000"
		}, blocked, tokensv1alpha1.ReasonDeliveryConflict},
		"somebody's Secret there first": {func(s *state) {
			s.record, s.delivered, s.token.Status.TokenID = nil, &delivered{entry: -1}, ""
		}, blocked, tokensv1alpha1.ReasonDeliveryConflict},
		"token of an earlier APIToken": {func(s *state) {
			s.record, s.delivered.entry, s.orphan, s.token.Status.TokenID = nil, -1, orphan{name: "apitoken-system/old"}, ""
		}, blocked, tokensv1alpha1.ReasonIssuePending},
		"token of one restored": {func(s *state) {
			s.record, s.delivered.entry, s.orphan = nil, -1, orphan{name: "apitoken-system/old", kept: true}
		}, blocked, tokensv1alpha1.ReasonRecordOrphaned},
		"token of one deleted": {func(s *state) {
			s.record, s.delivered.entry, s.orphan = nil, -1, orphan{name: "apitoken-system/old", dead: now}
		}, blocked, tokensv1alpha1.ReasonRecordOrphaned},
		"record of one deleted":        {func(s *state) { s.record.Dead = now }, blocked, tokensv1alpha1.ReasonRecordDamaged},
		"delivered token edited":       {func(s *state) { s.delivered.entry = -1 }, blocked, tokensv1alpha1.ReasonDeliveryConflict},
		"delivered as another type":    {func(s *state) { s.delivered.basicAuth = false }, blocked, tokensv1alpha1.ReasonDeliveryConflict},
		"delivered Secret gone":        {func(s *state) { s.delivered = nil }, reissue, ""},
		"candidate not delivered":      {func(s *state) { s.delivered, s.record.Entries = nil, candidates(3, 0) }, reissue, ""},
		"too many candidates":          {func(s *state) { s.delivered, s.record.Entries = nil, candidates(4, candidateGrace-1) }, blocked, tokensv1alpha1.ReasonIssuePending},
		"too many, but old":            {func(s *state) { s.delivered, s.record.Entries = nil, candidates(4, candidateGrace) }, reissue, ""},
		"too many, one delivered":      {func(s *state) { s.record.Entries = candidates(4, 0) }, confirm, ""},
		"delivered, not confirmed":     {func(s *state) { s.record.Entries[0].State = record.Candidate }, confirm, ""},
		"older secret not dropped":     {func(s *state) { s.record.Entries = append(s.record.Entries, s.record.Entries[0]) }, confirm, ""},
		"user name edited":             {func(s *state) { s.delivered.username = "root" }, repair, ""},
		"base URL changed":             {func(s *state) { s.site.Spec.BaseURL = "https://new.example" }, repair, ""},
		"the namespace is not allowed": {func(s *state) { s.namespaceErr = errors.New("it is open to `Same`") }, blocked, tokensv1alpha1.ReasonNamespaceNotAllowed},
		"new, and not allowed": {func(s *state) {
			s.namespaceErr, s.record, s.delivered = errors.New("it is open to `Same`"), nil, nil
		}, blocked, tokensv1alpha1.ReasonNamespaceNotAllowed},
		"created with a token of a closed namespace": {func(s *state) {
			s.parentErr = errors.New("it is open to `Same`")
		}, blocked, tokensv1alpha1.ReasonNamespaceNotAllowed},
		"blocked by name":     {func(s *state) { s.site.Spec.BlockedUsers = []tokensv1alpha1.BlockedUser{{Key: "x"}, {Name: "Alice"}} }, blocked, tokensv1alpha1.ReasonUserBlocked},
		"another one blocked": {func(s *state) { s.site.Spec.BlockedUsers = []tokensv1alpha1.BlockedUser{{Key: "x"}, {Name: "bob"}} }, settled, tokensv1alpha1.ReasonIssued},
		"blocked by key": {func(s *state) {
			s.record.UserKey, s.site.Spec.BlockedUsers = "x", []tokensv1alpha1.BlockedUser{{Key: "x"}}
		}, blocked, tokensv1alpha1.ReasonUserBlocked},
		"blocked by the key of today": {func(s *state) {
			s.pat.userKey, s.record.UserKey, s.site.Spec.BlockedUsers = "x", "y", []tokensv1alpha1.BlockedUser{{Key: "x"}}
		}, blocked, tokensv1alpha1.ReasonUserBlocked},
		"the owner is known":          {func(s *state) { s.pat.userKey, s.pat.name, s.pat.named = "x", "alice", now }, learn, ""},
		"the owner was known":         {func(s *state) { s.pat.userKey, s.record.UserKey = "x", "x" }, settled, tokensv1alpha1.ReasonIssued},
		"the owner is no more known":  {func(s *state) { s.record.UserKey = "x" }, settled, tokensv1alpha1.ReasonIssued},
		"another user of this name":   {func(s *state) { s.pat.userKey, s.record.UserKey = "y", "x" }, blocked, tokensv1alpha1.ReasonOwnerChanged},
		"another one, Secret gone":    {func(s *state) { s.pat.userKey, s.record.UserKey, s.delivered = "y", "x", nil }, blocked, tokensv1alpha1.ReasonOwnerChanged},
		"the owner of an ended PAT":   {func(s *state) { s.pat = pat{ended: true, userKey: "x"} }, blocked, tokensv1alpha1.ReasonUpstreamCredentialMissing},
		"new, and the owner is known": {func(s *state) { s.record, s.delivered, s.pat.userKey = nil, nil, "x" }, issue, ""},
		"by header, an unknown owner": {func(s *state) { s.pat.userKey, s.site.Spec.Handoff.Type = "x", "IdentityHeader" }, settled, tokensv1alpha1.ReasonIssued},
		"new, and blocked": {func(s *state) {
			s.record, s.delivered, s.site.Spec.BlockedUsers = nil, nil, []tokensv1alpha1.BlockedUser{{Name: "alice"}}
		}, blocked, tokensv1alpha1.ReasonUserBlocked},
		"suspended": {func(s *state) { s.token.Spec.State = tokensv1alpha1.StateSuspended }, blocked, tokensv1alpha1.ReasonSuspended},
		"new, and suspended": {func(s *state) {
			s.token.Spec.State, s.record, s.delivered = tokensv1alpha1.StateSuspended, nil, nil
		}, blocked, tokensv1alpha1.ReasonSuspended},
		"suspended, and the Secret gone": {func(s *state) { s.token.Spec.State, s.delivered = tokensv1alpha1.StateSuspended, nil }, blocked, tokensv1alpha1.ReasonSuspended},
		"in another state":               {func(s *state) { s.token.Spec.State = "Frozen" }, blocked, tokensv1alpha1.ReasonSuspended},
		"unguarded, nothing to issue":    {func(s *state) { s.guard = guard{reason: "Missing", message: "x"} }, settled, tokensv1alpha1.ReasonIssued},
		"no upstream credential":         {func(s *state) { s.pat = pat{} }, blocked, tokensv1alpha1.ReasonUpstreamCredentialMissing},
		"by header, without a PAT":       {func(s *state) { s.pat, s.site.Spec.Handoff.Type = pat{}, "IdentityHeader" }, settled, tokensv1alpha1.ReasonIssued},
		"by header, with an ended one":   {func(s *state) { s.pat, s.site.Spec.Handoff.Type = pat{ended: true}, "IdentityHeader" }, settled, tokensv1alpha1.ReasonIssued},
		"by header, another user": {func(s *state) {
			s.pat.userKey, s.record.UserKey, s.site.Spec.Handoff.Type = "y", "x", "IdentityHeader"
		}, blocked, tokensv1alpha1.ReasonOwnerChanged},
		"by header, a name beyond ASCII": {func(s *state) {
			s.token.Spec.User, s.record.User, s.delivered.username, s.site.Spec.Handoff.Type = "d\u00f6rte", "d\u00f6rte", "d\u00f6rte", "IdentityHeader"
		}, blocked, tokensv1alpha1.ReasonIdentityNotRepresentable},
		"by PAT, a name beyond ASCII": {func(s *state) {
			s.token.Spec.User, s.record.User, s.delivered.username = "d\u00f6rte", "d\u00f6rte", "d\u00f6rte"
		}, settled, tokensv1alpha1.ReasonIssued},
		"new, no upstream":           {func(s *state) { s.record, s.delivered, s.pat = nil, nil, pat{} }, issue, ""},
		"status forged":              {func(s *state) { s.token.Status.TokenID = "asp_forged" }, settled, tokensv1alpha1.ReasonIssued},
		"status says issued already": {func(s *state) { s.record, s.delivered, s.token.Status.TokenID = nil, nil, "asp_forged" }, issue, ""},
	} {
		s := ready()
		tc.change(&s)
		d := decide(s)
		if d.step != tc.step || d.reason != tc.reason {
			t.Errorf("%s: step %s, reason %q; want %s, %q", name, d.step, d.reason, tc.step, tc.reason)
		}
		if d.step == blocked && (len(d.message) < 40 || !strings.HasSuffix(d.message, ".")) {
			t.Errorf("%s: the message does not say what to do: %q", name, d.message)
		}
	}
}

// An imported secret belongs to somebody else: no message says to delete it because of a record of ours.
func TestDamagedRecordOfAnImport(t *testing.T) {
	for name, damage := range map[string]func(*state){
		"unreadable": func(s *state) { s.record, s.recordErr = nil, errors.New("decoding a record: why") },
		"of another": func(s *state) { s.record.User = "bob" },
	} {
		for _, imported := range []bool{false, true} {
			s := ready()
			if imported {
				s.source = &importSource{}
				s.token.Spec.Delivery = tokensv1alpha1.Delivery{}
				s.token.Spec.Credential.Imported = &tokensv1alpha1.ImportedCredential{SecretName: "ci-token", Key: "password"}
			}
			damage(&s)
			d := decide(s)
			if d.reason != tokensv1alpha1.ReasonRecordDamaged || strings.Contains(d.message, "'ci-token'") == imported || strings.Contains(d.message, "decoding") {
				t.Errorf("%s, imported: %v: %s: %s", name, imported, d.reason, d.message)
			}
		}
	}
}

// Logs name steps.
func TestStepsHaveNames(t *testing.T) {
	seen := map[string]bool{}
	for s := none; s <= remove; s++ {
		if seen[s.String()] || s.String() == "" {
			t.Errorf("step %d is named %q", s, s)
		}
		seen[s.String()] = true
	}
}
