package contract

import (
	"net/http"
	"testing"

	"apitokens.dev/operator/internal/authn"
)

// discard is a ResponseWriter whose header has room.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

// An answer allocates the values of its headers together.
func TestAnswerAllocates(t *testing.T) {
	w := discard{http.Header{}}
	for name, tc := range map[string]struct {
		decision authn.Decision
		want     float64
	}{
		"valid":   {authn.Decision{Verdict: authn.Allow, User: "alice", TokenID: "asp_DquJoZLwlsNJm6gU", Authorization: "Bearer pat", Target: "/rest/"}, 1},
		"refused": {authn.Decision{Verdict: authn.Unauthorized}, 1},
	} {
		if got := testing.AllocsPerRun(100, func() {
			answer := AnswerTo(&tc.decision)
			answer.write(w, false, nil)
		}); got != tc.want {
			t.Errorf("%s: an answer takes %v allocations, want %v", name, got, tc.want)
		}
	}
}
