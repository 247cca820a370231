package config_test

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

// TestRights lists all that the operator's accounts may do, so that no right comes unseen.
func TestRights(t *testing.T) {
	controllerEverywhere := []string{
		"create apitokens.dev/apitokens",
		"delete apitokens.dev/apitokens",
		"get,list,watch /namespaces",
		"create,delete,get,update /secrets",
		"create,patch events.k8s.io/events",
		"get,list,watch apitokens.dev/apitokens",
		"get,list,watch apitokens.dev/atlassiansites",
		"patch apitokens.dev/apitokens/status",
		"patch apitokens.dev/atlassiansites/status",
	}
	webhookEverywhere := []string{
		"list,watch apitokens.dev/apitokens", "list,watch apitokens.dev/atlassiansites", "list,watch /namespaces",
		"patch apitokens.dev/apitokens/status",
	}
	tests := []struct {
		who, namespace string
		want           []string
	}{
		{controller, teamNamespace, controllerEverywhere},
		{controller, credentialsNamespace, append([]string{"list,watch /secrets"}, controllerEverywhere...)},
		{controller, systemNamespace, append([]string{
			"list,watch /secrets", "create,get,update coordination.k8s.io/leases",
		}, controllerEverywhere...)},
		{webhook, teamNamespace, webhookEverywhere},
		{webhook, credentialsNamespace, append([]string{"list,watch /secrets"}, webhookEverywhere...)},
		{webhook, systemNamespace, append([]string{"list,watch /secrets", "list,watch coordination.k8s.io/leases"}, webhookEverywhere...)},
		// The restore role is the one right and no more: what is on Secrets comes from the test's own grant.
		{"restorer", systemNamespace, []string{"create,delete,get,patch,update /secrets", "restore apitokens.dev/records"}},
		{"restorer", teamNamespace, []string{"create,delete,get,patch,update /secrets"}},
	}
	for _, test := range tests {
		t.Run(test.who+" in "+test.namespace, func(t *testing.T) {
			got := rights(t, test.who, test.namespace)
			for right := range rights(t, nobody, test.namespace) {
				delete(got, right)
			}
			if diff := cmp.Diff(slices.Sorted(slices.Values(test.want)), slices.Sorted(maps.Keys(got))); diff != "" {
				t.Errorf("rights (-want +got):\n%s", diff)
			}
		})
	}
}

func rights(t *testing.T, who, namespace string) map[string]bool {
	t.Helper()
	review := &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: namespace}}
	if err := clients[who].Create(t.Context(), review); err != nil {
		t.Fatal(err)
	}
	if review.Status.Incomplete {
		t.Errorf("the rights of %s are incomplete: %s", who, review.Status.EvaluationError)
	}
	found := map[string]bool{}
	for _, rule := range review.Status.ResourceRules {
		slices.Sort(rule.Verbs)
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				right := []string{strings.Join(rule.Verbs, ","), group + "/" + resource}
				found[strings.Join(append(right, rule.ResourceNames...), " ")] = true
			}
		}
	}
	return found
}

// TestRequests does with each account's own credentials what the account is there for, and what it must not do.
func TestRequests(t *testing.T) {
	token, site := newToken(teamNamespace, "existing", "alice"), newSite(teamNamespace, "existing")
	delivered := newSecret(teamNamespace, "delivered", corev1.SecretTypeBasicAuth)
	record := newSecret(systemNamespace, "record", "apitokens.dev/hash")
	personal := newSecret(credentialsNamespace, "personal", "apitokens.dev/upstream-credential")
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: "existing"}}
	for _, object := range []client.Object{token, site, delivered, record, personal, lease} {
		create(t, object)
	}
	apiTokens, sites, secrets := &tokensv1alpha1.APITokenList{}, &tokensv1alpha1.AtlassianSiteList{}, &corev1.SecretList{}
	const everywhere, no = "", refusedByRBAC
	tests := []struct {
		name                string
		send                request
		controller, webhook outcome
	}{
		{"get an APIToken", getting(token), allowed, no},
		{"list APITokens", listing(apiTokens, everywhere), allowed, allowed},
		{"watch APITokens", watching(apiTokens, everywhere), allowed, allowed},
		{"update an APIToken", updating(token), no, no},
		{"patch an APIToken", patching(token), no, no},
		{"delete an APIToken", deleting(token), allowed, no},
		{"delete all APITokens", deletingAll(&tokensv1alpha1.APIToken{}, teamNamespace), no, no},
		{"get an AtlassianSite", getting(site), allowed, no},
		{"list AtlassianSites", listing(sites, everywhere), allowed, allowed},
		{"watch AtlassianSites", watching(sites, everywhere), allowed, allowed},
		{"create an AtlassianSite", creating(newSite(teamNamespace, "new")), no, no},
		{"update an AtlassianSite", updating(site), no, no},
		{"patch an AtlassianSite", patching(site), no, no},
		{"delete an AtlassianSite", deleting(site), no, no},

		{"get a delivered Secret", getting(delivered), allowed, no},
		{"get a record", getting(record), allowed, no},
		{"get a personal access token", getting(personal), allowed, no},
		{"list all Secrets", listing(secrets, everywhere), no, no},
		{"list Secrets where people work", listing(secrets, teamNamespace), no, no},
		{"list records", listing(secrets, systemNamespace), allowed, allowed},
		{"list personal access tokens", listing(secrets, credentialsNamespace), allowed, allowed},
		{"watch all Secrets", watching(secrets, everywhere), no, no},
		{"watch Secrets where people work", watching(secrets, teamNamespace), no, no},
		{"watch records", watching(secrets, systemNamespace), allowed, allowed},
		{"watch personal access tokens", watching(secrets, credentialsNamespace), allowed, allowed},
		{"create a delivered Secret", creating(newSecret(teamNamespace, "new", delivered.Type)), allowed, no},
		{"create a record", creating(newSecret(systemNamespace, "new", record.Type)), allowed, no},
		{"create a personal access token", creating(newSecret(credentialsNamespace, "new", personal.Type)), allowed, no},
		{"update a delivered Secret", updating(delivered), allowed, no},
		{"update a record", updating(record), allowed, no},
		{"update a personal access token", updating(personal), allowed, no},
		{"patch a record", patching(record), no, no},
		{"delete a delivered Secret", deleting(delivered), allowed, no},
		{"delete a record", deleting(record), allowed, no},
		{"delete a personal access token", deleting(personal), allowed, no},
		{"delete all records", deletingAll(&corev1.Secret{}, systemNamespace), no, no},

		{"get the lease", getting(lease), allowed, no},
		{"create a lease", creating(&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: "new"}}), allowed, no},
		{"create a lease elsewhere", creating(&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: teamNamespace, Name: "new"}}), no, no},
		{"update the lease", updating(lease), allowed, no},
		{"delete the lease", deleting(lease), no, no},
		{"create an event", creating(newEvent(teamNamespace)), allowed, no},
		{"create a RoleBinding", creating(newRoleBinding(teamNamespace)), no, no},
	}
	for _, test := range tests {
		for who, want := range map[string]outcome{controller: test.controller, webhook: test.webhook} {
			t.Run(test.name+"/"+who, func(t *testing.T) {
				if err := want.check(test.send(t.Context(), clients[who])); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// A request is a real one where it only reads, and a dry run where it writes: RBAC and policies see no difference.
type request func(ctx context.Context, c client.WithWatch) error

func getting(object client.Object) request {
	return func(ctx context.Context, c client.WithWatch) error {
		return c.Get(ctx, client.ObjectKeyFromObject(object), copyOf(object))
	}
}

func listing(list client.ObjectList, namespace string) request {
	return func(ctx context.Context, c client.WithWatch) error {
		return c.List(ctx, list, client.InNamespace(namespace))
	}
}

func watching(list client.ObjectList, namespace string) request {
	return func(ctx context.Context, c client.WithWatch) error {
		watch, err := c.Watch(ctx, list, client.InNamespace(namespace))
		if err == nil {
			watch.Stop()
		}
		return err
	}
}

func creating(object client.Object) request {
	return func(ctx context.Context, c client.WithWatch) error {
		return c.Create(ctx, copyOf(object), client.DryRunAll)
	}
}

func updating(object client.Object) request {
	return func(ctx context.Context, c client.WithWatch) error {
		return c.Update(ctx, copyOf(object), client.DryRunAll)
	}
}

func patching(object client.Object) request {
	return func(ctx context.Context, c client.WithWatch) error {
		return c.Patch(ctx, copyOf(object), mergePatch(`{"metadata":{"labels":{"a":"b"}}}`), client.DryRunAll)
	}
}

func deleting(object client.Object) request {
	return func(ctx context.Context, c client.WithWatch) error {
		return c.Delete(ctx, copyOf(object), client.DryRunAll)
	}
}

func deletingAll(object client.Object, namespace string) request {
	return func(ctx context.Context, c client.WithWatch) error {
		return c.DeleteAllOf(ctx, copyOf(object), client.InNamespace(namespace), client.DryRunAll)
	}
}

// copyOf keeps what the API server answers out of an object that more than one request is made of.
func copyOf(object client.Object) client.Object { return object.DeepCopyObject().(client.Object) }

func newEvent(namespace string) *eventsv1.Event {
	return &eventsv1.Event{
		ObjectMeta:          metav1.ObjectMeta{Namespace: namespace, Name: "new"},
		EventTime:           metav1.NowMicro(),
		Type:                corev1.EventTypeNormal,
		Reason:              "Issued",
		Action:              "Issue",
		ReportingController: "apitokens.dev/controller",
		ReportingInstance:   "test",
		Regarding:           corev1.ObjectReference{Namespace: namespace, Name: "existing", Kind: "APIToken"},
	}
}

func newRoleBinding(namespace string) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "new"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "apitoken-restore"},
	}
}
