package lifecycle_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

// tally counts the operations and states in all sequences, to prove that the sequences reach the interesting ones.
type tally struct {
	sync.Mutex
	counts map[string]int
}

// enough lists what must happen at least once in a run of all sequences.
var enough = []string{
	"sequence", "answer", "answer at a boundary", "delivery", "rotation with an overlap", "reissue", "removal", "call that failed", "kill", "overtaking",
	"pass with an old APIToken",
	tokensv1alpha1.ReasonIssued, tokensv1alpha1.ReasonSiteNotFound, tokensv1alpha1.ReasonNamespaceNotAllowed, tokensv1alpha1.ReasonDeliveryConflict,
	tokensv1alpha1.ReasonExpired, tokensv1alpha1.ReasonSuspended, tokensv1alpha1.ReasonPolicyViolation, tokensv1alpha1.ReasonEpochPending,
	tokensv1alpha1.ReasonUpstreamCredentialMissing,
}

func (y *tally) count(what string) {
	y.Lock()
	defer y.Unlock()
	y.counts[what]++
}

// report logs the counts, and fails for everything on the list that did not happen.
func (y *tally) report(t *testing.T, sequences int) {
	var all []string
	for _, what := range slices.Sorted(maps.Keys(y.counts)) {
		all = append(all, fmt.Sprintf("%s %d", what, y.counts[what]))
	}
	t.Log(strings.Join(all, ", "))
	if t.Failed() || y.counts["sequence"] < sequences {
		return // those that were chosen prove something of themselves alone
	}
	for _, what := range enough {
		if y.counts[what] == 0 {
			t.Errorf("there was no %s", what)
		}
	}
}
