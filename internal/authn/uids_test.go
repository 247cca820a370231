package authn

import (
	"slices"
	"testing"
	"time"

	"apitokens.dev/operator/internal/record"
)

// The index knows what is in it, whether or not it is linked.
func TestUIDs(t *testing.T) {
	ix := NewIndex(time.Now)
	token := func(uid, namespace string) Token {
		return Token{UID: uid, Namespace: namespace, Name: uid, User: "alice", Site: SiteName{Namespace: "jira", Name: "main"}, Portal: true}
	}
	stored := func(uid, namespace string) *record.Record {
		return &record.Record{
			TokenID: "id-" + uid, User: "alice", Portal: true, Site: record.Ref{Namespace: "jira", Name: "main"},
			APIToken: record.Ref{Namespace: namespace, Name: uid}, Entries: []record.Entry{{State: record.Delivered}},
		}
	}
	ix.PutToken(token("linked", "a"))
	ix.PutRecord("linked", stored("linked", "a"))
	ix.PutToken(token("alone", "b"))
	ix.PutRecord("orphan", stored("orphan", "a"))
	ix.PutToken(token("other", "a"))
	ix.PutRecord("other", stored("another", "a"))
	buried := stored("buried", "b")
	buried.Kill(time.Now())
	ix.PutToken(token("buried", "b"))
	ix.PutRecord("buried", buried)
	for name, tc := range map[string]struct{ got, want []string }{
		"APITokens":           {ix.TokenUIDs(""), []string{"alone", "buried", "linked", "other"}},
		"APITokens of a":      {ix.TokenUIDs("a"), []string{"linked", "other"}},
		"APITokens of b":      {ix.TokenUIDs("b"), []string{"alone", "buried"}},
		"APITokens elsewhere": {ix.TokenUIDs("c"), nil},
		"records":             {ix.RecordUIDs(), []string{"buried", "linked", "orphan", "other"}},
	} {
		if slices.Sort(tc.got); !slices.Equal(tc.got, tc.want) {
			t.Errorf("%s: %q, want %q", name, tc.got, tc.want)
		}
	}
}
