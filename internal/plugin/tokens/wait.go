package tokens

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/plugin/exit"
	"apitokens.dev/operator/internal/plugin/session"
)

// pollInterval is how often an APIToken is read while a command waits: to read takes a right that everybody has who may change it.
const pollInterval = 500 * time.Millisecond

// waiting are the flags --wait and --timeout.
type waiting struct {
	wait    bool
	timeout time.Duration
}

func (w *waiting) addTo(cmd *cobra.Command, what string) {
	cmd.Flags().BoolVar(&w.wait, "wait", true, "wait until "+what)
	cmd.Flags().DurationVar(&w.timeout, "timeout", time.Minute, "how long to wait for each token")
}

// await reads an APIToken into t until it is done. It says what the operator waits for, each time that changes. It ends early if a
// person has to change something first.
func (w *waiting) await(ctx context.Context, s *session.Session, api client.Client, t *tokensv1alpha1.APIToken, done func() bool) error {
	said, key := "", client.ObjectKeyFromObject(t)
	uid, generation := t.UID, t.Generation
	err := wait.PollUntilContextTimeout(ctx, pollInterval, w.timeout, true, func(ctx context.Context) (bool, error) {
		if err := api.Get(ctx, key, t); err != nil {
			return false, session.Doing("waiting for the APIToken "+key.String(), err)
		}
		if t.UID != uid {
			return false, fmt.Errorf("waiting for the APIToken %s: it was deleted and created again meanwhile", key)
		}
		if t.Status.ObservedGeneration >= generation {
			if done() {
				return true, nil
			}
			if stalled := apimeta.FindStatusCondition(t.Status.Conditions, tokensv1alpha1.ConditionStalled); stalled != nil {
				return false, fmt.Errorf("%s: %s: %s", key, stalled.Reason, stalled.Message)
			}
		}
		if now := statusLine(t); now != said {
			said = now
			fmt.Fprintf(s.ErrOut, "Waiting for %s: %s\n", key, now)
		}
		return false, nil
	})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return exit.With(exit.TimedOut, fmt.Errorf("%s: not done after %s: %s", key, w.timeout, statusLine(t)))
	}
	return err
}

func statusLine(t *tokensv1alpha1.APIToken) string {
	ready := readyOf(t)
	return ready.Reason + ": " + ready.Message
}
