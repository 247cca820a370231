package doctor

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// maxSkew is how much clocks may differ. The Date of an answer has whole seconds, and the answer takes time.
const maxSkew = 3 * time.Second

// The names of clocks begin so, but for those of the API server and of replicas.
const productClock, ingressClock = "product of ", "ingress of "

// noteClock notes how far a clock was ahead of this machine's, from a time in an answer to a request that was sent at before.
func (e *exam) noteClock(name, text, layout string, before time.Time) {
	at, err := time.Parse(layout, text)
	if err != nil {
		return
	}
	after := time.Now()
	between := before.Add(after.Sub(before) / 2)
	e.clocks[name] = at.Add(500 * time.Millisecond).Sub(between) // a time in whole seconds is half a second too early on average
}

// checkClocks compares the clocks with the one in their middle: that of this machine counts for nothing.
func (e *exam) checkClocks() {
	if len(e.clocks) < 2 {
		e.missed(checkClocks, "There are not two clocks to compare.", "let doctor reach the ingress and the metrics of the replicas")
		return
	}
	e.made(checkClocks)
	names := sorted(e.clocks)
	middle := e.middle()
	for _, name := range names {
		ahead := e.clocks[name] - middle
		if ahead.Abs() <= maxSkew {
			continue
		}
		word := "ahead of"
		if ahead < 0 {
			word = "behind"
		}
		others := slices.DeleteFunc(slices.Clone(names), func(other string) bool { return other == name })
		e.made(checkClocks, finding{
			Severity: problem, Object: name, Reason: reasonClockSkew,
			Found: fmt.Sprintf("Its clock is %s %s the others (%s). Tokens end early or late, and ends of personal access tokens are wrong.",
				ahead.Abs().Round(time.Second), word, strings.Join(others[:min(3, len(others))], ", ")),
			Do: "set the clock there, such as by chronyc tracking and chronyc makestep: docs/how-to/runbooks/clock-wrong.md",
		})
	}
}

// middle is the offset in the middle of the clocks of the API server and the replicas: those of products are of others. Without two of
// them it is that of all.
func (e *exam) middle() time.Duration {
	var cluster, all []time.Duration
	for name, offset := range e.clocks {
		if all = append(all, offset); !strings.HasPrefix(name, productClock) && !strings.HasPrefix(name, ingressClock) {
			cluster = append(cluster, offset)
		}
	}
	if len(cluster) == 0 {
		cluster = all
	}
	slices.Sort(cluster)
	return cluster[len(cluster)/2]
}
