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

// An answer allocates the list of its headers, their values together, and what the gateway has to remove.
func TestAnswerAllocates(t *testing.T) {
	w := discard{http.Header{}}
	for name, tc := range map[string]struct {
		decision authn.Decision
		want     float64
	}{
		"valid":   {authn.Decision{Verdict: authn.Allow, User: "alice", TokenID: "asp_DquJoZLwlsNJm6gU", Authorization: "Bearer pat", Target: "/rest/"}, 3},
		"refused": {authn.Decision{Verdict: authn.Unauthorized}, 2},
	} {
		if got := testing.AllocsPerRun(100, func() { AnswerTo(tc.decision).write(w, false, nil) }); got > tc.want {
			t.Errorf("%s: an answer takes %v allocations, want at most %v", name, got, tc.want)
		}
	}
}
