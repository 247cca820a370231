package config_test

import (
	"context"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	tokensac "apitokens.dev/operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
)

// An issueRequest is one way to create or to change an APIToken.
type issueRequest struct {
	name string
	send func(ctx context.Context, c client.Client, token *tokensv1alpha1.APIToken) error
}

// issues are the ways to create an APIToken.
var issues = []issueRequest{
	{"create", func(ctx context.Context, c client.Client, token *tokensv1alpha1.APIToken) error {
		return c.Create(ctx, token)
	}},
	{"dry-run create", func(ctx context.Context, c client.Client, token *tokensv1alpha1.APIToken) error {
		return c.Create(ctx, token, client.DryRunAll)
	}},
	{"create with generateName", func(ctx context.Context, c client.Client, token *tokensv1alpha1.APIToken) error {
		token.GenerateName, token.Name = token.Name, ""
		return c.Create(ctx, token)
	}},
	{"apply", applyToken},
}

// changes are the ways to change an APIToken.
var changes = []issueRequest{
	{"update", func(ctx context.Context, c client.Client, token *tokensv1alpha1.APIToken) error {
		token.Spec.Label = "updated"
		return c.Update(ctx, token)
	}},
	{"dry-run update", func(ctx context.Context, c client.Client, token *tokensv1alpha1.APIToken) error {
		token.Spec.Label = "updated"
		return c.Update(ctx, token, client.DryRunAll)
	}},
	{"merge patch", func(ctx context.Context, c client.Client, token *tokensv1alpha1.APIToken) error {
		return c.Patch(ctx, token, mergePatch(`{"spec":{"label":"patched"}}`))
	}},
	{"JSON patch", func(ctx context.Context, c client.Client, token *tokensv1alpha1.APIToken) error {
		return c.Patch(ctx, token, client.RawPatch("application/json-patch+json", []byte(`[{"op":"replace","path":"/spec/label","value":"patched"}]`)))
	}},
	{"apply over", applyToken},
}

func applyToken(ctx context.Context, c client.Client, token *tokensv1alpha1.APIToken) error {
	return c.Apply(ctx, tokensac.APIToken(token.Name, token.Namespace).WithSpec(tokensac.APITokenSpec().
		WithSiteRef(tokensac.SiteReference().WithName(token.Spec.SiteRef.Name)).
		WithUser(token.Spec.User).
		WithLabel("applied").
		WithDelivery(tokensac.Delivery().WithSecretName(token.Spec.Delivery.SecretName)),
	), client.FieldOwner("test"), client.ForceOwnership)
}

func newToken(namespace, name, user string) *tokensv1alpha1.APIToken {
	return &tokensv1alpha1.APIToken{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: tokensv1alpha1.APITokenSpec{
			SiteRef:  tokensv1alpha1.SiteReference{Name: "jira"},
			User:     user,
			Label:    "nightly export",
			Delivery: tokensv1alpha1.Delivery{SecretName: name},
		},
	}
}

// create creates an object as the cluster administrator, and deletes it at the end of the test.
func create(t *testing.T, object client.Object) {
	t.Helper()
	if err := clients[clusterAdmin].Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	remove(t, object)
}

// remove deletes an object at the end of the test, if it exists then.
func remove(t *testing.T, object client.Object) {
	t.Cleanup(func() {
		if object.GetName() == "" {
			return // The object has no name: its creation with generateName was refused.
		}
		if err := clients[clusterAdmin].Delete(context.Background(), object); client.IgnoreNotFound(err) != nil {
			t.Error(err)
		}
	})
}

func TestIssuePolicy(t *testing.T) {
	const refused = refusedByIssuePolicy
	tests := []struct {
		who       string
		namespace string
		user      string
		create    outcome
		change    outcome // of update and patch, also of a patch that creates
	}{
		{"writer", teamNamespace, "alice", refused, refused},
		{"writer", teamNamespace, "writer", refused, refused}, // A name in Kubernetes is not a name in the product.
		{"issuer-for-alice", teamNamespace, "alice", allowed, allowed},
		{"issuer-for-alice", teamNamespace, "Alice", allowed, allowed},
		{"issuer-for-alice", teamNamespace, "bob", refused, refused},
		{"issuer-for-alice", teamNamespace, "alice2", refused, refused},
		{"issuer-for-alice", teamNamespace, "*", refused, refused},
		{"issuer-for-all", teamNamespace, "alice", allowed, allowed},
		{"issuer-for-all", teamNamespace, `EXAMPLE\Bob@example.com`, allowed, allowed},
		{"issuer-elsewhere", teamNamespace, "alice", refused, refused},
		{"issuer-elsewhere", otherNamespace, "alice", allowed, allowed},
		{"issuer-everywhere", otherNamespace, "alice", allowed, allowed},
		{"issuer-everywhere", otherNamespace, "bob", refused, refused},
		{"owner", teamNamespace, "bob", allowed, allowed},
		{clusterAdmin, otherNamespace, "bob", allowed, allowed},
		{controller, teamNamespace, "alice", refused, refusedByRBAC},
		{controller, systemNamespace, "alice", refused, refusedByRBAC},
		{webhook, teamNamespace, "alice", refusedByRBAC, refusedByRBAC},
	}
	for _, test := range tests {
		name := strings.Join([]string{test.who, test.namespace, test.user}, " ")
		as := map[string]client.Client{"own": clients[test.who], "impersonated": impersonate(t, test.who)}
		for way, c := range as {
			for _, request := range issues {
				t.Run(name+"/"+way+" "+request.name, func(t *testing.T) {
					token := newToken(test.namespace, "new", test.user)
					remove(t, token)
					want := test.create
					if request.name == "apply" {
						want = test.change
					}
					if err := want.check(request.send(t.Context(), c, token)); err != nil {
						t.Error(err)
					}
				})
			}
			for _, request := range changes {
				t.Run(name+"/"+way+" "+request.name, func(t *testing.T) {
					token := newToken(test.namespace, "existing", test.user)
					create(t, token)
					if err := test.change.check(request.send(t.Context(), c, token)); err != nil {
						t.Error(err)
					}
				})
			}
		}
		t.Run(name+"/can-i", func(t *testing.T) {
			got, err := can(t.Context(), test.who, authorizationv1.ResourceAttributes{
				Namespace: test.namespace, Group: group, Resource: "apitokens", Verb: "issue", Name: strings.ToLower(test.user),
			})
			if err != nil {
				t.Fatal(err)
			}
			if want := test.create == allowed; got != want {
				t.Errorf("kubectl auth can-i issue answers %t, and the policy %t", got, want)
			}
		})
	}
}

// The policy checks the right in the namespace of the site, not of the APIToken. The site need not exist.
func TestIssuePolicyAsksInTheNamespaceOfTheSite(t *testing.T) {
	const refused = refusedByIssuePolicy
	for _, test := range []struct {
		who, namespace, site string
		want                 outcome
	}{
		{"issuer-for-all", teamNamespace, "", allowed},
		{"issuer-for-all", teamNamespace, teamNamespace, allowed},
		{"issuer-for-all", teamNamespace, otherNamespace, refused},
		{"issuer-elsewhere", teamNamespace, "", refused},
		{"issuer-elsewhere", teamNamespace, otherNamespace, allowed},
		{"issuer-elsewhere", otherNamespace, teamNamespace, refused},
		{"issuer-elsewhere", teamNamespace, "not-there", refused},
	} {
		token := newToken(test.namespace, "new", "alice")
		token.Spec.SiteRef.Namespace = test.site
		if err := test.want.check(clients[test.who].Create(t.Context(), token, client.DryRunAll)); err != nil {
			t.Errorf("%s in %s for a site in %q: %v", test.who, test.namespace, test.site, err)
		}
	}
}

// Suspending a token needs only the right to update it. Activating it, or changing anything else, needs the right to issue.
func TestSuspendingNeedsNoIssue(t *testing.T) {
	suspended := func(token *tokensv1alpha1.APIToken) { token.Spec.State = tokensv1alpha1.StateSuspended }
	limited := func(token *tokensv1alpha1.APIToken) { token.Spec.LifetimeDays = new(int32(1)) }
	const refused = refusedByIssuePolicy
	for name, test := range map[string]struct {
		before, change func(*tokensv1alpha1.APIToken)
		want           outcome
	}{
		"suspend":                   {nil, suspended, allowed},
		"stay suspended":            {suspended, suspended, allowed},
		"activate":                  {suspended, func(token *tokensv1alpha1.APIToken) { token.Spec.State = tokensv1alpha1.StateActive }, refused},
		"activate by default":       {suspended, func(token *tokensv1alpha1.APIToken) { token.Spec.State = "" }, refused},
		"suspend, and limit":        {nil, func(token *tokensv1alpha1.APIToken) { suspended(token); limited(token) }, refused},
		"suspend, and unlimit":      {limited, func(token *tokensv1alpha1.APIToken) { suspended(token); token.Spec.LifetimeDays = nil }, refused},
		"suspend, and rename":       {nil, func(token *tokensv1alpha1.APIToken) { suspended(token); token.Spec.Label = "weekly export" }, refused},
		"suspended, and rename":     {suspended, func(token *tokensv1alpha1.APIToken) { token.Spec.Label = "weekly export" }, refused},
		"suspend, and let it write": {func(token *tokensv1alpha1.APIToken) { token.Spec.Access = tokensv1alpha1.AccessReadOnly }, func(token *tokensv1alpha1.APIToken) { suspended(token); token.Spec.Access = "" }, refused},
		"suspend, and hide it":      {nil, func(token *tokensv1alpha1.APIToken) { suspended(token); mark(token) }, refused},
		"suspend, and show it":      {mark, func(token *tokensv1alpha1.APIToken) { suspended(token); token.Annotations = nil }, refused},
		"suspend, and open it": {
			func(token *tokensv1alpha1.APIToken) { token.Spec.AllowedSources = []string{"10.0.0.0/8"} },
			func(token *tokensv1alpha1.APIToken) { suspended(token); token.Spec.AllowedSources = nil }, refused,
		},
	} {
		t.Run(name, func(t *testing.T) {
			token := newToken(teamNamespace, "existing", "alice")
			if test.before != nil {
				test.before(token)
			}
			create(t, token)
			test.change(token)
			if err := test.want.check(clients["writer"].Update(t.Context(), token, client.DryRunAll)); err != nil {
				t.Error(err)
			}
			if err := allowed.check(clients["issuer-for-alice"].Update(t.Context(), token, client.DryRunAll)); err != nil {
				t.Errorf("who may issue: %v", err)
			}
		})
	}
}

// The message names the missing right, so that a user can ask an administrator for it.
func TestIssuePolicySaysWhatIsMissing(t *testing.T) {
	err := clients["writer"].Create(t.Context(), newToken(teamNamespace, "new", "CI-Bot"))
	const want outcome = "may not issue tokens for the product user 'ci-bot': needs the verb 'issue' on apitokens 'ci-bot' in the namespace 'jira'"
	if err := want.check(err); err != nil {
		t.Error(err)
	}
}

// Changing the metadata of a token needs no right to issue.
func TestIssuePolicyLeavesMetadataAlone(t *testing.T) {
	tests := []struct {
		name   string
		change func(*tokensv1alpha1.APIToken)
		want   outcome
	}{
		{"nothing", func(*tokensv1alpha1.APIToken) {}, allowed},
		{"label", func(token *tokensv1alpha1.APIToken) { token.Labels = map[string]string{"team": "a"} }, allowed},
		{"annotation", func(token *tokensv1alpha1.APIToken) { token.Annotations = map[string]string{"note": "a"} }, allowed},
		{"marked as pending", mark, refusedByIssuePolicy},
		{"marked as pending, without a value", func(token *tokensv1alpha1.APIToken) {
			token.Annotations = map[string]string{tokensv1alpha1.AnnotationPending: ""}
		}, refusedByIssuePolicy},
		{"annotation beside the mark", func(token *tokensv1alpha1.APIToken) {
			token.Annotations = map[string]string{"apitokens.dev/pending2": "a"}
		}, allowed},
		{"finalizer added", func(token *tokensv1alpha1.APIToken) { token.Finalizers = append(token.Finalizers, "example.com/b") }, allowed},
		{"finalizer removed", func(token *tokensv1alpha1.APIToken) { token.Finalizers = nil }, allowed},
		{"default left out", func(token *tokensv1alpha1.APIToken) { token.Spec.Credential = tokensv1alpha1.Credential{} }, allowed},
		{"spec", func(token *tokensv1alpha1.APIToken) { token.Spec.Label = "weekly export" }, refusedByIssuePolicy},
		{"label and spec", func(token *tokensv1alpha1.APIToken) {
			token.Labels = map[string]string{"team": "a"}
			token.Spec.Label = "weekly export"
		}, refusedByIssuePolicy},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			token := newToken(teamNamespace, "existing", "alice")
			token.Finalizers = []string{"example.com/a"}
			create(t, token)
			t.Cleanup(func() { dropFinalizers(t, token) })

			updated := token.DeepCopy()
			test.change(updated)
			if err := test.want.check(clients["writer"].Update(t.Context(), updated, client.DryRunAll)); err != nil {
				t.Errorf("update: %v", err)
			}
			patched := token.DeepCopy()
			test.change(patched)
			if err := test.want.check(clients["writer"].Patch(t.Context(), patched, client.MergeFrom(token))); err != nil {
				t.Errorf("patch: %v", err)
			}
		})
	}
}

// mark marks a token as one that the portal is still creating.
func mark(token *tokensv1alpha1.APIToken) {
	token.Annotations = map[string]string{tokensv1alpha1.AnnotationPending: "true"}
}

// The mark of a token that the portal is still creating is not added, removed or changed without the right to issue.
func TestIssuePolicyGuardsTheMark(t *testing.T) {
	unmarked := func(token *tokensv1alpha1.APIToken) { token.Annotations = nil }
	for name, change := range map[string]struct {
		before, after func(*tokensv1alpha1.APIToken)
	}{
		"added":   {unmarked, mark},
		"removed": {mark, unmarked},
		"changed": {mark, func(token *tokensv1alpha1.APIToken) { token.Annotations[tokensv1alpha1.AnnotationPending] = "false" }},
	} {
		token := newToken(teamNamespace, "existing", "alice")
		change.before(token)
		create(t, token)
		change.after(token)
		if err := refusedByIssuePolicy.check(clients["writer"].Update(t.Context(), token, client.DryRunAll)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, who := range []string{"issuer-for-alice", portal} {
			if err := allowed.check(clients[who].Patch(t.Context(), token, client.RawPatch(types.MergePatchType,
				[]byte(`{"metadata":{"annotations":{"apitokens.dev/pending":null}}}`)), client.DryRunAll)); err != nil {
				t.Errorf("%s, by %s: %v", name, who, err)
			}
		}
		if err := client.IgnoreNotFound(clients[clusterAdmin].Delete(t.Context(), token)); err != nil {
			t.Fatal(err)
		}
	}
}

// The portal says which token created a token. Nobody else does, but to restore one from a backup.
func TestCreatedByIsThePortals(t *testing.T) {
	const refused outcome = "only the portal may set `createdBy`"
	child := func() *tokensv1alpha1.APIToken {
		token := newToken(teamNamespace, "child", "alice")
		token.Spec.Credential.Type, token.Spec.Delivery = tokensv1alpha1.CredentialPortal, tokensv1alpha1.Delivery{}
		token.Spec.CreatedBy = tokensv1alpha1.CreatedBy{UID: "7c9e6679", TokenID: "asp_DquJoZLwlsNJm6gU", Namespace: otherNamespace}
		return token
	}
	for who, want := range map[string]outcome{
		portal: allowed, clusterAdmin: allowed, "issuer-for-alice": refused, "issuer-for-all": refused, "owner": refused, "writer": refusedByIssuePolicy,
	} {
		if err := want.check(clients[who].Create(t.Context(), child(), client.DryRunAll)); err != nil {
			t.Errorf("created by %s: %v", who, err)
		}
	}
	token := child()
	create(t, token)
	token.Spec.Label = "weekly export"
	if err := allowed.check(clients["issuer-for-alice"].Update(t.Context(), token, client.DryRunAll)); err != nil {
		t.Errorf("another change: %v", err)
	}
}

func dropFinalizers(t *testing.T, token *tokensv1alpha1.APIToken) {
	t.Helper()
	if err := clients[clusterAdmin].Patch(context.Background(), token, mergePatch(`{"metadata":{"finalizers":null}}`)); err != nil {
		t.Error(err)
	}
}

// Deleting a token needs no right to issue.
func TestDeletingNeedsNoIssue(t *testing.T) {
	c := clients["deleter"]
	one := newToken(teamNamespace, "one", "alice")
	create(t, one)
	if err := c.Delete(t.Context(), one); err != nil {
		t.Errorf("delete: %v", err)
	}
	create(t, newToken(teamNamespace, "two", "bob"))
	if err := c.DeleteAllOf(t.Context(), &tokensv1alpha1.APIToken{}, client.InNamespace(teamNamespace)); err != nil {
		t.Errorf("deletecollection: %v", err)
	}
	left := &tokensv1alpha1.APITokenList{}
	if err := clients[clusterAdmin].List(t.Context(), left, client.InNamespace(teamNamespace)); err != nil {
		t.Fatal(err)
	}
	if len(left.Items) != 0 {
		t.Errorf("%d tokens are left", len(left.Items))
	}
	if err := refusedByRBAC.check(c.Create(t.Context(), one)); err != nil {
		t.Errorf("create: %v", err)
	}
}
