package page_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/enrolment"
)

const day = 24 * time.Hour

// The list shows the state, the expiry, the last use and the origin of every token.
func TestList(t *testing.T) {
	alice := signedIn(t, env.Jira(t), "alice")
	alice.create("made here")
	now := time.Now()
	used := now.Add(-2 * time.Hour).Truncate(time.Second)
	ids := map[string]string{}
	for name, tc := range map[string]struct {
		age time.Duration
		mod func(*tokensv1alpha1.APIToken)
	}{
		"used": {day, func(a *tokensv1alpha1.APIToken) {
			a.Status.LastAccessedTime, a.Status.LastAccessedFrom = metav1.NewTime(used), "192.0.2.44"
		}},
		"ending":    {day, func(a *tokensv1alpha1.APIToken) { a.Spec.LifetimeDays = new(int32(5)) }},
		"ended":     {10 * day, func(a *tokensv1alpha1.APIToken) { a.Spec.LifetimeDays = new(int32(5)) }},
		"suspended": {day, func(a *tokensv1alpha1.APIToken) { a.Spec.State = tokensv1alpha1.StateSuspended }},
	} {
		ids[name] = declare(t, alice.World, name, now.Add(-tc.age), func(a *tokensv1alpha1.APIToken) { a.Spec.Label = "label of " + name }, tc.mod)
	}
	var list answer
	kubetest.Eventually(t, func() error { // the cache of the portal follows later
		list = alice.get(http.StatusOK, "")
		return complete(list, ids)
	})
	list.shows("made here", "!label of made")
	for name, want := range map[string]string{
		"used": used.UTC().Format("2 Jan 2006, 15:04") + " UTC from 192.0.2.44", "ending": "expires in 4 days", "ended": "Expired", "suspended": "Suspended",
	} {
		row := alice.row(list, "label of "+name)
		row.shows(want, ids[name], "Declared in Kubernetes: "+alice.Site.Namespace+"/"+name, "!Rotate")
		alice.get(http.StatusOK, "?dialog=rotate&id="+ids[name]).shows("declared in Kubernetes, as APIToken "+alice.Site.Namespace+"/"+name, "!Its id")
		alice.get(http.StatusOK, "?dialog=revoke&id="+ids[name]).shows("comes back with a new secret")
	}
	if !strings.Contains(list.body, `<time datetime="`+used.UTC().Format(time.RFC3339)+`">`) {
		t.Errorf("there is no datetime in %s", list.body)
	}
	alice.row(list, "made here").shows("Active", "Rotate", "Revoke", "!Declared")
	alice.get(http.StatusOK, "?dialog=revoke&id="+ids["used"]).shows("It was last used on", "from 192.0.2.44")
}

func complete(list answer, ids map[string]string) error {
	for name, id := range ids {
		if !strings.Contains(list.body, id) || name == "used" && !strings.Contains(list.body, "192.0.2.44") {
			return fmt.Errorf("%s is not shown yet", id)
		}
	}
	return nil
}

// row returns the row of a token in the list.
func (b browser) row(list answer, label string) answer {
	b.t.Helper()
	for row := range strings.SplitSeq(list.body, "<tr") {
		if strings.Contains(row, ">"+label+"<") {
			list.body = row
			return list
		}
	}
	b.t.Fatalf("there is no %q in\n%s", label, list.body)
	return list
}

// The form offers only what the site allows. The list shows access that the site forces.
func TestPolicyOfTheSite(t *testing.T) {
	alice := signedIn(t, env.Jira(t, func(s *site) {
		s.Spec.TokenPolicy.MaxLifetimeDays, s.Spec.TokenPolicy.Access = new(int32(60)), tokensv1alpha1.AccessReadOnly
	}), "alice")
	alice.get(http.StatusOK, "?dialog=create").shows("60 days (default of this site)", "30 days", "!90 days", "!No expiry", "API tokens of this site are read-only", "!Read-write")
	alice.create("CI")
	alice.get(http.StatusOK, "").shows("Read-only", "!Read-write")
}

// The page shows the state of the enrolment.
func TestEnrolments(t *testing.T) {
	t.Run("given by the administrator", func(t *testing.T) {
		alice := signedIn(t, env.Jira(t, func(s *site) {
			s.Spec.UpstreamCredentials = []tokensv1alpha1.UpstreamCredential{{User: "alice", SecretName: "alice"}}
		}), "alice")
		alice.get(http.StatusOK, "").shows("Your API tokens do not work.", "administrator of this site provided for them is not in use", "Ask the administrator", "!dialog=paste")
		alice.get(http.StatusOK, "?dialog=create").shows("!consent")
		for state, shows := range map[enrolment.State][]string{
			enrolment.Given: {"that the administrator of this site provided", "!do not work", "!Replace it"},
			enrolment.Ended: {"Your API tokens do not work.", "Ask the administrator", "!Enrol again"},
		} {
			alice.Publish(t, "alice", state)
			alice.get(http.StatusOK, "").shows(shows...)
			alice.get(http.StatusOK, "?dialog=create").shows("!consent")
		}
	})
	t.Run("none, but there are tokens", func(t *testing.T) {
		alice := signedIn(t, env.Jira(t), "alice")
		alice.get(http.StatusOK, "").shows("!do not work")
		id := declare(t, alice.World, "early", time.Now())
		kubetest.Eventually(t, func() error { return complete(alice.get(http.StatusOK, ""), map[string]string{"": id}) })
		alice.get(http.StatusOK, "").shows("Your API tokens do not work yet", "Does not work", "!Active", "paste a personal access token")
	})
	t.Run("ended", func(t *testing.T) {
		alice := signedIn(t, env.Jira(t), "alice")
		alice.create("CI")
		alice.End(t, "alice")
		alice.refuse(t)
		kubetest.Eventually(t, func() error {
			if !strings.Contains(alice.get(http.StatusOK, "").body, "no longer accepts the personal access token") {
				return errors.New("nothing is said")
			}
			return nil
		})
		alice.get(http.StatusOK, "").shows("Your API tokens do not work.", "Enrol again by creating an API token", "Does not work")
		form := alice.filled("again", "consent", "")
		alice.post(http.StatusBadRequest, "/create", form).shows("Tick this box")
		form.Set("consent", "yes")
		alice.post(http.StatusOK, "/create", form).secret()
		if made := alice.Product.PersonalAccessTokens("alice"); len(made) != 2 {
			t.Errorf("the product made %+v, want another one", made)
		}
	})
}

// The page says what to do with a token of a name that is another user's now.
func TestOwnerChanged(t *testing.T) {
	alice := signedIn(t, env.Jira(t), "alice")
	alice.create("CI")
	alice.ready(t, "OwnerChanged")
	kubetest.Eventually(t, func() error {
		if !strings.Contains(alice.get(http.StatusOK, "").body, "belongs to somebody else now") {
			return errors.New("nothing is said")
		}
		return nil
	})
	alice.row(alice.get(http.StatusOK, ""), "CI").shows("Does not work", "Revoke it, and create another one.", "!Active")
}

// refuse sets the condition UpstreamCredentialMissing on all tokens, as the controller would.
func (b browser) refuse(t *testing.T) {
	t.Helper()
	b.ready(t, tokensv1alpha1.ReasonUpstreamCredentialMissing)
}

// ready sets the reason why no token is ready, as the controller would.
func (b browser) ready(t *testing.T, reason string) {
	t.Helper()
	var all tokensv1alpha1.APITokenList
	must(t, env.Admin.List(t.Context(), &all, client.InNamespace(b.Site.Namespace)))
	for i := range all.Items {
		before := all.Items[i].DeepCopy()
		all.Items[i].Status.Conditions = []metav1.Condition{{
			Type: tokensv1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: reason,
			Message: "for a test", LastTransitionTime: metav1.Now(),
		}}
		must(t, b.Controller.Status().Patch(t.Context(), &all.Items[i], client.MergeFrom(before)))
	}
}
