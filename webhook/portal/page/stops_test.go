package page_test

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/kubetest"
)

// descend declares a token that was created with another one.
func (b browser) descend(name, parent string) {
	b.t.Helper()
	var all tokensv1alpha1.APITokenList
	must(b.t, env.Admin.List(b.t.Context(), &all, client.InNamespace(b.Site.Namespace)))
	var by tokensv1alpha1.CreatedBy
	for _, t := range all.Items {
		if t.Spec.Label == parent {
			by = tokensv1alpha1.CreatedBy{UID: string(t.UID), TokenID: "asp_ParentsId0123456", Namespace: t.Namespace}
		}
	}
	id := declare(b.t, b.World, name, time.Now(), func(a *tokensv1alpha1.APIToken) {
		a.Spec.Label, a.Spec.CreatedBy, a.Spec.Credential = name, by, tokensv1alpha1.Credential{Type: tokensv1alpha1.CredentialPortal}
		a.Spec.Delivery = tokensv1alpha1.Delivery{}
	})
	kubetest.Eventually(b.t, func() error { return complete(b.get(http.StatusOK, ""), map[string]string{"": id}) })
}

// Who revokes a token with which others were created is asked whether those end too, and decides.
func TestRevokeAsksAboutDescendants(t *testing.T) {
	alice := signedIn(t, env.Jira(t), "alice")
	for choice, left := range map[string]string{"keep": "child", "revoke": "other"} {
		parent := alice.create("parent")
		alice.descend("child", "parent")
		alice.descend("grandchild", "child")
		other := alice.create("other")
		alice.row(alice.get(http.StatusOK, ""), "child").shows("Created with asp_ParentsId0123456")
		alice.get(http.StatusOK, "?dialog=revoke&id="+parent).shows("2 other API tokens were created with it", "Keep those", "Revoke those too")
		alice.get(http.StatusOK, "?dialog=revoke&id="+other).shows("!created with it")
		for _, none := range []string{"", "yes", "true"} {
			alice.post(http.StatusBadRequest, "/revoke", url.Values{"id": {parent}, "descendants": {none}}).
				shows("There is a problem", "Choose whether the API tokens that were created with it are revoked too.")
		}
		alice.leads("/revoke", url.Values{"id": {parent}, "descendants": {choice}}, "?note=revoked")
		list := alice.get(http.StatusOK, "")
		list.shows("!parent", left)
		if choice == "revoke" {
			list.shows("!child")
		}
		alice.leads("/revoke-all", url.Values{"count": {map[string]string{"keep": "3", "revoke": "1"}[choice]}}, "?note=revoked-all")
	}
}

// While the epoch lies ahead, the page says from when on tokens can be created, and offers none.
func TestEpochAhead(t *testing.T) {
	alice := signedIn(t, env.Jira(t), "alice")
	id, form := alice.create("before"), alice.filled("too early")
	until := time.Now().Add(time.Hour).Truncate(time.Second)
	before := alice.Site.DeepCopy()
	alice.Site.Spec.IssuedAfter = metav1.NewTime(until)
	must(t, env.Admin.Patch(t.Context(), alice.Site, client.MergeFrom(before)))
	kubetest.Eventually(t, func() error {
		if !strings.Contains(alice.get(http.StatusOK, "").body, "has ended all API tokens") {
			return errors.New("nothing is said")
		}
		return nil
	})
	alice.get(http.StatusOK, "").shows("created from "+until.UTC().Format("2 Jan 2006, 15:04:05 UTC"), "Revoked", "Revoke all", "!Create API token", "!Rotate")
	alice.post(http.StatusBadRequest, "/create", form).shows("issues no API tokens before")
	alice.leads("/revoke", url.Values{"id": {id}}, "?note=revoked")
	alice.get(http.StatusOK, "").shows("You have no API tokens yet", "!Create API token")
}

// The page says when a replaced secret ends, even if its token's lifetime ends before the overlap.
func TestReplacedSecretEndsWithItsLifetime(t *testing.T) {
	alice := signedIn(t, env.Jira(t), "alice")
	id := alice.post(http.StatusOK, "/create", alice.filled("CI", "lifetimeDays", "7")).secret()[:20]
	dialog := alice.get(http.StatusOK, "?dialog=rotate&id="+id)
	dialog.shows("works as before, but can no longer create or rotate API tokens")
	form := url.Values{"id": {id}, "issued": {dialog.field("issued")}, "overlapHours": {"720"}}
	week := time.Now().Add(7 * day).UTC().Format("2 Jan 2006")
	alice.post(http.StatusOK, "/rotate", form).shows("Previous secret works until "+week, "can no longer create or rotate API tokens")
	alice.row(alice.get(http.StatusOK, ""), "CI").shows("1 older secret works until " + week)
}

// The page tells users whom the site blocks, by name or by key. They can only revoke. Others do not see it.
func TestBlockedUser(t *testing.T) {
	for name, user := range map[string]tokensv1alpha1.BlockedUser{"by name": {Name: "Alice"}, "by key": {Key: "JIRAUSER10001"}} {
		t.Run(name, func(t *testing.T) {
			alice := signedIn(t, env.Jira(t), "alice")
			alice.create("CI")
			before := alice.Site.DeepCopy()
			alice.Site.Spec.BlockedUsers = []tokensv1alpha1.BlockedUser{user}
			must(t, env.Admin.Patch(t.Context(), alice.Site, client.MergeFrom(before)))
			kubetest.Eventually(t, func() error {
				if !strings.Contains(alice.get(http.StatusOK, "").body, "You are blocked here") {
					return errors.New("nothing is said")
				}
				return nil
			})
			list := alice.get(http.StatusOK, "")
			list.shows("You can still revoke them", "!Create API token", "!Rotate", "!personal access token")
			if user.Name != "" { // the record gets the key from the controller
				list.shows("Blocked")
			}
			alice.leads("/revoke-all", url.Values{"count": {"1"}}, "?note=revoked-all")
			signedIn(t, alice.World, "bob").get(http.StatusOK, "").shows("!blocked", "Create API token")
		})
	}
}
