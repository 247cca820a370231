package apitoken

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	testclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

func TestExpiryMetrics(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := tokensv1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	build := fake.NewClientBuilder().WithScheme(scheme)
	add := func(namespace, name string, expires, rotates time.Duration) {
		token := &tokensv1alpha1.APIToken{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
		token.Spec.SiteRef = tokensv1alpha1.SiteReference{Name: "main", Namespace: "jira"}
		if expires != 0 {
			token.Status.ExpirationTime = metav1.NewTime(now.Add(expires))
		}
		if rotates != 0 {
			token.Status.NextRotationTime = metav1.NewTime(now.Add(rotates))
		}
		build.WithObjects(token)
	}
	add("jira", "never", 0, 0)
	add("jira", "later", 8*day, 0)
	add("jira", "soon", 7*day, 0)
	add("ci", "very-soon", day, 0)
	add("ci", "rotated-before", day, time.Hour)
	add("ci", "rotated-after", day, 2*day)
	add("ci", "expired", -1*day, 0)
	e := &Expiry{Client: build.Build(), Clock: testclock.NewFakePassiveClock(now), Notices: []time.Duration{7 * day, day}}
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
