package config_test

import (
	"context"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	tokensac "apitokens.dev/operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
)

func newSite(namespace, name string) *tokensv1alpha1.AtlassianSite {
	return &tokensv1alpha1.AtlassianSite{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: tokensv1alpha1.AtlassianSiteSpec{
			Product:     tokensv1alpha1.ProductJira,
			BaseURL:     "https://example.com/jira",
			UpstreamURL: "http://jira.atlassian.svc:8080/jira",
		},
	}
}

func TestStatusPolicy(t *testing.T) {
	type request struct {
		name string
		send func(ctx context.Context, c client.Client) error
	}
	token, site := newToken(teamNamespace, "existing", "alice"), newSite(teamNamespace, "existing")
	create(t, token)
	create(t, site)
	patches := []request{
		{"APIToken apply", func(ctx context.Context, c client.Client) error {
			return c.Status().Apply(ctx, tokensac.APIToken(token.Name, token.Namespace).
				WithStatus(tokensac.APITokenStatus().WithTokenID("asp_DquJoZLwlsNJm6gU")), client.FieldOwner("test"), client.ForceOwnership)
		}},
		{"APIToken merge patch", func(ctx context.Context, c client.Client) error {
			return c.Status().Patch(ctx, token.DeepCopy(), mergePatch(`{"status":{"tokenID":"asp_DquJoZLwlsNJm6gU"}}`))
		}},
		{"APIToken merge patch of nothing", func(ctx context.Context, c client.Client) error {
			return c.Status().Patch(ctx, token.DeepCopy(), mergePatch(`{}`))
		}},
		{"AtlassianSite apply", func(ctx context.Context, c client.Client) error {
			return c.Status().Apply(ctx, tokensac.AtlassianSite(site.Name, site.Namespace).
				WithStatus(tokensac.AtlassianSiteStatus().WithAuthURLSecretName("jira-auth-urls")), client.FieldOwner("test"), client.ForceOwnership)
		}},
		{"AtlassianSite merge patch", func(ctx context.Context, c client.Client) error {
			return c.Status().Patch(ctx, site.DeepCopy(), mergePatch(`{"status":{"authURLSecretName":"jira-auth-urls"}}`))
		}},
	}
	updates := []request{
		{"APIToken update", func(ctx context.Context, c client.Client) error {
			changed := token.DeepCopy()
			changed.Status.TokenID = "asp_DquJoZLwlsNJm6gU"
			return c.Status().Update(ctx, changed, client.DryRunAll)
		}},
		{"AtlassianSite update", func(ctx context.Context, c client.Client) error {
			changed := site.DeepCopy()
			changed.Status.AuthURLSecretName = "jira-auth-urls"
			return c.Status().Update(ctx, changed, client.DryRunAll)
		}},
	}
	tests := []struct {
		who           string
		update, patch outcome
	}{
		// Refused users come first, so that no update conflicts with an allowed one.
		{"status-writer", refusedByStatusPolicy, refusedByStatusPolicy},
		{clusterAdmin, refusedByStatusPolicy, refusedByStatusPolicy},
		{"owner", refusedByRBAC, refusedByRBAC},
		{controller, refusedByRBAC, allowed},
	}
	for _, test := range tests {
		check := func(request request, want outcome) {
			t.Run(test.who+"/"+request.name, func(t *testing.T) {
				if err := want.check(request.send(t.Context(), clients[test.who])); err != nil {
					t.Error(err)
				}
			})
		}
		for _, request := range updates {
			check(request, test.update)
		}
		for _, request := range patches {
			check(request, test.patch)
		}
	}
}

// The status of an object that no pass has seen yet has a generation that no object has.
func TestStatusDefault(t *testing.T) {
	token, site := newToken(teamNamespace, "existing", "alice"), newSite(teamNamespace, "existing")
	create(t, token)
	create(t, site)
	if got := []int64{token.Status.ObservedGeneration, site.Status.ObservedGeneration}; got[0] != -1 || got[1] != -1 {
		t.Errorf("observedGeneration is %v", got)
	}
}

// The policy checks only the subresource, so requests without the subresource must not change the status.
func TestStatusIsNotWrittenWithTheSpec(t *testing.T) {
	admin := clients[clusterAdmin]
	token := newToken(teamNamespace, "existing", "alice")
	token.Status.TokenID = "asp_created"
	create(t, token)
	if token.Status.TokenID != "" {
		t.Errorf("create wrote the status %+v", token.Status)
	}
	token.Status.TokenID = "asp_updated"
	if err := admin.Update(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	if token.Status.TokenID != "" {
		t.Errorf("update wrote the status %+v", token.Status)
	}
	if err := admin.Patch(t.Context(), token, mergePatch(`{"status":{"tokenID":"asp_patched"}}`)); err != nil {
		t.Fatal(err)
	}
	if token.Status.TokenID != "" {
		t.Errorf("patch wrote the status %+v", token.Status)
	}
}
