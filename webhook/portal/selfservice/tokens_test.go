package selfservice

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/authn"
)

// A token that the product or the gateway refuses is not Active.
func TestState(t *testing.T) {
	free, licensed := authn.NewIndex(time.Now), authn.NewIndex(time.Now)
	licensed.RequireLicenses()
	licensed.PutSite(authn.Site{Name: authn.SiteName{Namespace: "jira", Name: "main"}})
	for name, tc := range map[string]struct {
		index  *authn.Index
		reason authn.Reason
		ready  string
		want   State
	}{
		"works":                        {free, "", "", Active},
		"issued":                       {free, "", tokensv1alpha1.ReasonIssued, Active},
		"no personal access token":     {free, "", tokensv1alpha1.ReasonUpstreamCredentialMissing, StateNotEnrolled},
		"no licence":                   {licensed, "", tokensv1alpha1.ReasonUpstreamCredentialMissing, Unlicensed},
		"suspended":                    {licensed, authn.ReasonSuspended, tokensv1alpha1.ReasonUpstreamCredentialMissing, Suspended},
		"expired":                      {free, authn.ReasonExpired, "", Expired},
		"replaced":                     {free, authn.ReasonReplaced, "", Expired},
		"issued before the epoch":      {free, authn.ReasonRevokedByEpoch, "", Revoked},
		"namespace not allowed":        {free, authn.ReasonNamespaceNotAllowed, "", NotAllowed},
		"user blocked":                 {licensed, authn.ReasonUserBlocked, "", Blocked},
		"name of another user":         {free, "", "OwnerChanged", OwnerChanged},
		"anything else is not working": {free, authn.ReasonUnknownToken, "", Damaged},
	} {
		object := &tokensv1alpha1.APIToken{ObjectMeta: metav1.ObjectMeta{Namespace: "jira"}}
		object.Spec.SiteRef.Name = "main"
		if tc.ready != "" {
			object.Status.Conditions = []metav1.Condition{{Type: tokensv1alpha1.ConditionReady, Reason: tc.ready}}
		}
		if got := (&Service{Index: tc.index}).state(object, tc.reason); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}
