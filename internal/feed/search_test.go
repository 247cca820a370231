package feed

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/authn"
)

// However long a search looks at the APITokens of a site, a stop does not wait for it, nor does a request about another APIToken.
func TestStopsDoNotWaitForSearches(t *testing.T) {
	ix, objects := authn.NewIndex(time.Now), NewObjects()
	tokens := keepingTokens{newTokens(ix, ""), objects.apiTokens, ""}
	object := &tokensv1alpha1.APIToken{ObjectMeta: metav1.ObjectMeta{Namespace: "jira", Name: "ci", UID: "1"}}
	object.Spec.SiteRef.Name, object.Spec.User = "main", "alice"
	tokens.parse(object).apply()
	suspended := object.DeepCopy()
	suspended.Spec.State = tokensv1alpha1.StateSuspended
	seen := 0
	objects.Summaries(authn.SiteName{Namespace: "jira", Name: "main"}, func(Summary) bool {
		seen++
		stopped := make(chan struct{})
		go func() {
			tokens.parse(suspended).apply()
			close(stopped)
		}()
		select {
		case <-stopped:
		case <-time.After(time.Second):
			t.Error("the suspension waits until the search ends")
		}
		return true
	})
	if seen != 1 {
		t.Errorf("%d seen", seen)
	}
}
