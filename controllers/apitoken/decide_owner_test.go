package apitoken

import (
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

// A token gets its owner from the personal access token if the product named the user of the APIToken once it existed, and from
// nothing else. Until then it is not ready, and the product is asked; with another name the condition says what to do.
func TestOwnerIsNamed(t *testing.T) {
	created := guarded.Add(500 * time.Millisecond) // the API server cuts this
	for _, belongs := range []string{"", "K1", "K2"} {
		for _, key := range []string{"", "K1"} {
			for _, name := range []string{"", "alice", "alice.old"} {
				for _, when := range []time.Time{{}, guarded, created, guarded.Add(time.Second - 1), guarded.Add(time.Second), now, now.Add(time.Second)} {
					for _, recorded := range []bool{false, true} {
						s := ready()
						s.token.CreationTimestamp = metav1.NewTime(created).Rfc3339Copy()
						if s.record.UserKey = belongs; !recorded {
							s.record, s.delivered = nil, nil
						}
						for _, confirmed := range []bool{false, name == "alice"} {
							s.pat = pat{held: true, userKey: key, name: name, named: when, confirmed: confirmed}
							checkOwner(t, s, belongs, key, confirmed || name != "" && when.Sub(guarded) >= time.Second && !when.After(now))
						}
					}
				}
			}
		}
	}
}

// checkOwner checks the decision about a token. answered says that the product named somebody since the APIToken exists.
func checkOwner(t *testing.T, s state, belongs, key string, answered bool) {
	t.Helper()
	what := fmt.Sprintf("record %v of %q, PAT %+v", s.record != nil, belongs, s.pat)
	open := key != "" && (s.record == nil || belongs == "")
	owner := ""
	if open && answered && s.pat.name == "alice" {
		owner = key
	}
	if got := s.owner(); got != owner {
		t.Errorf("%s: the owner is %q, want %q", what, got, owner)
	}
	if asks := s.asksSince(); asks.IsZero() != (!open || answered) || !asks.IsZero() && !asks.Equal(guarded.Add(time.Second)) {
		t.Errorf("%s: the product is asked since %s", what, asks)
	}
	want := decision{settled, tokensv1alpha1.ReasonIssued, ""}
	switch {
	case s.record == nil:
		want = decision{issue, "", ""}
	case key != "" && belongs != "" && belongs != key:
		want = decision{blocked, tokensv1alpha1.ReasonOwnerChanged, "Delete this APIToken. "}
	case owner != "":
		want = decision{learn, "", ""}
	case open && answered:
		want = decision{blocked, tokensv1alpha1.ReasonOwnerChanged, "The present 'alice' can sign in, open https://jira.example/plugins/servlet/api-tokens"}
	case open:
		want = decision{blocked, tokensv1alpha1.ReasonIssuePending, "is still that of 'alice'. It is asked at once."}
	}
	if got := decide(s); got.step != want.step || got.reason != want.reason || !strings.Contains(got.message, want.message) {
		t.Errorf("%s: %+v, want %+v", what, got, want)
	}
}

// A token whose owner cannot be noted does not work, and says so.
func TestOwnerCannotBeNoted(t *testing.T) {
	s := ready()
	s.pat = pat{held: true, userKey: "K1", name: "alice", named: now}
	s.refused = map[step]string{learn: "The API server refuses."}
	if d := decide(s); d.step != blocked || d.reason != tokensv1alpha1.ReasonWriteRefused || d.message != s.refused[learn] {
		t.Errorf("decided %+v", d)
	}
}
