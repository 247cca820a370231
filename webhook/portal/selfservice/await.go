package selfservice

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// pollPeriod is how often awaitFeed looks.
const pollPeriod = 2 * time.Millisecond

// awaitFeed waits until done returns true, which it does once the portal's feed has seen a write, or until ctx is done.
// Other replicas follow within milliseconds.
func awaitFeed(ctx context.Context, done func() bool) error {
	err := wait.PollUntilContextCancel(ctx, pollPeriod, true, func(context.Context) (bool, error) { return done(), nil })
	if err != nil {
		return errUnseen
	}
	return nil
}

var errUnseen error = problem(Unavailable, "Kubernetes accepted the change, but the portal cannot see it yet. Check whether it is there before you try again.")

// awaitDeleted waits until the portal lists none of the APITokens. The feed forgets how to authenticate a token before that.
func (s *Service) awaitDeleted(ctx context.Context, deleted deletions) error {
	return awaitFeed(ctx, func() bool {
		for uid, name := range deleted {
			if t := s.Objects.APIToken(name); t != nil && t.UID == uid {
				return false
			}
			delete(deleted, uid)
		}
		return true
	})
}
