package portal_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/record"
)

// unreadable makes the record of an APIToken unreadable once the APIToken is deleted: the next times, or for good if times is negative.
func (a *apiServer) unreadable(uid string, times int) {
	deleted := false
	a.intercept(func(r *http.Request) lossKind {
		switch {
		case r.Method == http.MethodDelete && strings.Contains(r.URL.Path, "/apitokens/"):
			deleted = true
		case deleted && times != 0 && r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/secrets/"+uid):
			times--
			return allLost
		}
		return nothingLost
	})
}

// Every deletion of a token has one audit line, whatever fails at it or after it, whichever way it was asked for.
func TestEveryDeletionIsAccountedFor(t *testing.T) {
	for way, revoke := range waysToRevoke {
		for fault, breaks := range map[string]struct {
			with func(t *testing.T, uid string) (mend func())
			away bool
		}{
			"the answer is lost": {func(t *testing.T, _ string) func() { return api.lose(t, "DELETE", "/apitokens", false) }, false},
			"the answer is lost, and then there is none": {
				func(t *testing.T, _ string) func() { return api.lose(t, "DELETE", "/apitokens", true) }, true,
			},
			"the record cannot be read afterwards": {func(_ *testing.T, uid string) func() {
				api.unreadable(uid, 1)
				return func() { api.intercept(nil) }
			}, false},
		} {
			t.Run(way+", "+fault, func(t *testing.T) {
				w := env.Jira(t)
				api.hold(t, record.SecretType)
				object, id, text := issue(t, w, "unseen", ofPortal)
				mend := breaks.with(t, string(object.UID))
				got, want := revoke(t, w, id, text)
				mend()
				if got != want && got != http.StatusServiceUnavailable || got == want && breaks.away {
					t.Errorf("answered %d", got)
				}
				if err := env.Admin.Get(t.Context(), client.ObjectKeyFromObject(object), object); !apierrors.IsNotFound(err) {
					t.Errorf("the APIToken is still there: %v", err)
				}
				kubetest.Eventually(t, func() error {
					if lines := strings.Count(env.Audit(), "revoked API Token ("+id+")"); lines != 1 {
						return fmt.Errorf("the audit log has %d lines", lines)
					}
					return nil
				})
			})
		}
	}
}

// If the record of a deleted APIToken stays unreadable, there is a line of its owner, without an id.
func TestDeletionOfAnUnknownID(t *testing.T) {
	w := env.Jira(t)
	api.hold(t, record.SecretType)
	object, id, text := issue(t, w, "unseen", ofPortal)
	api.unreadable(string(object.UID), -1)
	defer api.intercept(nil)
	if got, _ := waysToRevoke["all by an administrator"](t, w, id, text); got != http.StatusServiceUnavailable {
		t.Errorf("answered %d", got)
	}
	kubetest.Eventually(t, func() error {
		for line := range strings.Lines(env.Audit()) {
			if strings.Contains(line, `carol has revoked API Token ()`) && strings.Contains(line, `"site":"`+w.Site.Namespace+`/main"`) && strings.Contains(line, `"user":"alice"`) {
				return nil
			}
		}
		return errors.New("the audit log has no line")
	})
}
