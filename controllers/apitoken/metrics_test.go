package apitoken

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	testclock "k8s.io/utils/clock/testing"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

func TestExpiryMetrics(t *testing.T) {
	e := NewExpiry(testclock.NewFakePassiveClock(now), []time.Duration{7 * day, day})
	token := func(namespace, name string, expires, rotates time.Duration) *tokensv1alpha1.APIToken {
		token := &tokensv1alpha1.APIToken{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
		token.Spec.SiteRef = tokensv1alpha1.SiteReference{Name: "main", Namespace: "jira"}
		if expires != 0 {
			token.Status.ExpirationTime = metav1.NewTime(now.Add(expires))
		}
		if rotates != 0 {
			token.Status.NextRotationTime = metav1.NewTime(now.Add(rotates))
		}
		return token
	}
	add := func(namespace, name string, expires, rotates time.Duration) {
		e.OnAdd(token(namespace, name, expires, rotates), false)
	}
	add("jira", "never", 0, 0)
	add("jira", "later", 8*day, 0)
	add("jira", "soon", 7*day, 0)
	add("ci", "very-soon", day, 0)
	add("ci", "rotated-before", day, time.Hour)
	add("ci", "rotated-after", day, 2*day)
	add("ci", "expired", -1*day, 0)
	e.OnAdd(token("ci", "extended", -1*day, 0), true)
	e.OnUpdate(token("ci", "extended", -1*day, 0), token("ci", "extended", 80*day, 0))
	for _, name := range []string{"gone", "gone-unseen"} {
		e.OnAdd(token("ci", name, -1*day, 0), true)
	}
	e.OnDelete(token("ci", "gone", -1*day, 0))
	e.OnDelete(cache.DeletedFinalStateUnknown{Obj: token("ci", "gone-unseen", -1*day, 0)})
	const want = `
# HELP apitoken_tokens_expired Expired APITokens of a site that still exist.
# TYPE apitoken_tokens_expired gauge
apitoken_tokens_expired{site="jira/main"} 1
# HELP apitoken_tokens_expiring APITokens of a site that expire within within_days days and are not rotated before. A token counts under every number of days that it is within.
# TYPE apitoken_tokens_expiring gauge
apitoken_tokens_expiring{site="jira/main",within_days="1"} 2
apitoken_tokens_expiring{site="jira/main",within_days="7"} 3
`
	if err := testutil.CollectAndCompare(e, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}

// A site without APITokens has no metrics.
func TestExpiryForgetsSites(t *testing.T) {
	e := NewExpiry(testclock.NewFakePassiveClock(now), []time.Duration{day})
	token := &tokensv1alpha1.APIToken{ObjectMeta: metav1.ObjectMeta{Namespace: "jira", Name: "a"}}
	e.OnAdd(token, false)
	if n := testutil.CollectAndCount(e); n != 2 {
		t.Errorf("a site with an APIToken has %d metrics", n)
	}
	e.OnDelete(token)
	if n := testutil.CollectAndCount(e); n != 0 || len(e.sites)+len(e.ends) != 0 {
		t.Errorf("a site without an APIToken has %d metrics", n)
	}
}
