package outage_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/kubetest"
)

// lastAccess reads when a token was last used.
func (s *scene) lastAccess(token *kubetest.IssuedToken) time.Time {
	s.Helper()
	var now tokensv1alpha1.APIToken
	must(s.T, env.Admin.Get(s.Context(), client.ObjectKeyFromObject(token.APIToken), &now))
	return now.Status.LastAccessedTime.Time
}

// awaitNextSecond waits for the next second, so that a use differs from earlier ones.
func (s *scene) awaitNextSecond() {
	s.Helper()
	before := time.Now().Unix()
	s.eventually(2*time.Second, func() error {
		if time.Now().Unix() == before {
			return errors.New("it is the same second still")
		}
		return nil
	})
}

// awaitLastAccess waits until the status has a use at or after this second.
func (s *scene) awaitLastAccess(token *kubetest.IssuedToken, since time.Time, patience time.Duration) {
	s.Helper()
	s.eventually(patience, func() error {
		if last := s.lastAccess(token); last.Before(since.Truncate(time.Second)) {
			return fmt.Errorf("the token %s was last accessed %s, want %s or later", token.Name, last, since)
		}
		return nil
	})
}

// The first use is written at once. The next one is written a minute later, or when the webhook is stopped.
func TestLastAccessIsWrittenAtTheEnd(t *testing.T) {
	t.Parallel()
	begun := time.Now()
	s := newScene(t, kubeconfig(t, apiServer(t)), 1)
	tokens := []*kubetest.IssuedToken{s.live, s.revoked, s.during, s.after}
	for _, token := range tokens {
		s.awaitLastAccess(token, begun, recovery)
	}
	s.awaitNextSecond()
	again := time.Now()
	for _, token := range tokens {
		s.expect(s.replicas[0], token, http.StatusOK)
		if last := s.lastAccess(token); !last.Before(again.Truncate(time.Second)) {
			t.Errorf("the token %s was written twice within a minute", token.Name)
		}
	}
	must(t, s.replicas[0].Stop())
	for _, token := range tokens {
		if last := s.lastAccess(token); last.Before(again.Truncate(time.Second)) {
			t.Errorf("the token %s was last accessed %s, want %s", token.Name, last, again)
		}
	}
}

// Uses while the API server is away are kept, and written when it is back.
func TestLastAccessOutlivesAnOutage(t *testing.T) {
	t.Parallel()
	line := newLine(t, apiServer(t))
	s := newScene(t, kubeconfig(t, line.Address()), 1)
	line.Refuse()
	s.awaitNextSecond()
	during := time.Now()
	s.expect(s.replicas[0], s.live, http.StatusOK)
	must(t, line.Pass())
	must(t, s.replicas[0].Stop())
	s.awaitLastAccess(s.live, during, recovery)
}
