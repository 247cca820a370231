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

// TestRights lists all rights of the operator's accounts, so that a new right needs a change here.
func TestRights(t *testing.T) {
	const policies = "issue.apitokens.dev secrets.apitokens.dev status.apitokens.dev metadata.apitokens.dev installation.apitokens.dev"
	controllerEverywhere := []string{
		"create apitokens.dev/apitokens",
		"delete apitokens.dev/apitokens",
		"get,list,watch /namespaces",
		"get admissionregistration.k8s.io/validatingadmissionpolicies " + policies,
		"get admissionregistration.k8s.io/validatingadmissionpolicybindings " + policies,
		"get apiextensions.k8s.io/customresourcedefinitions apitokens.apitokens.dev atlassiansites.apitokens.dev",
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
	portalEverywhere := []string{
		"create,delete,issue,list,patch,watch apitokens.dev/apitokens", "list,watch apitokens.dev/atlassiansites", "list,watch /namespaces",
		"create events.k8s.io/events",
	}
	tests := []struct {
		who, namespace string
		want           []string
	}{
		{controller, teamNamespace, controllerEverywhere},
		{controller, credentialsNamespace, append([]string{"list,watch /secrets"}, controllerEverywhere...)},
		{controller, intakeNamespace, append([]string{"list,watch /secrets"}, controllerEverywhere...)},
		{controller, systemNamespace, append([]string{
			"list,watch /secrets", "create,get,update coordination.k8s.io/leases", "create /events",
		}, controllerEverywhere...)},
		{webhook, teamNamespace, webhookEverywhere},
		{webhook, credentialsNamespace, append([]string{"list,watch /secrets"}, webhookEverywhere...)},
		{webhook, systemNamespace, append([]string{"list,watch /secrets", "list,watch coordination.k8s.io/leases"}, webhookEverywhere...)},
		{portal, teamNamespace, portalEverywhere},
		{webhook, intakeNamespace, webhookEverywhere},
		{portal, credentialsNamespace, portalEverywhere},
		{portal, intakeNamespace, append([]string{"create /secrets"}, portalEverywhere...)},
		{portal, systemNamespace, append([]string{
			"create,get,list,update,watch /secrets", "get coordination.k8s.io/leases apitoken-controller",
		}, portalEverywhere...)},
		// The restore role has only the last right. The test itself grants the rights on Secrets.
		{"restorer", systemNamespace, []string{"create,delete,get,patch,update /secrets", "restore apitokens.dev/records"}},
		{"restorer", teamNamespace, []string{"create,delete,get,patch,update /secrets"}},
	}
	for _, test := range tests {
		t.Run(test.who+" in "+test.namespace, func(t *testing.T) {
			got := rights(t, test.who, test.namespace)
			for right := range rights(t, bystander, test.namespace) {
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

// TestRequests sends allowed and forbidden requests with the credentials of each account.
func TestRequests(t *testing.T) {
	token, site := newToken(teamNamespace, "existing", "alice"), newSite(teamNamespace, "existing")
	delivered := newSecret(teamNamespace, "delivered", corev1.SecretTypeBasicAuth)
	record := newSecret(systemNamespace, "record", "apitokens.dev/hash")
	personal := newSecret(credentialsNamespace, "personal", "apitokens.dev/upstream-credential")
	keys := newSecret(credentialsNamespace, "keys", "apitokens.dev/caller-keys")
	intake := newSecret(intakeNamespace, "intake", "apitokens.dev/intake")
	state := newSecret(systemNamespace, "state", "apitokens.dev/enrolment")
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: "apitoken-controller"}}
	for _, object := range []client.Object{token, site, delivered, record, personal, keys, intake, state, lease} {
		create(t, object)
	}
	apiTokens, sites, secrets := &tokensv1alpha1.APITokenList{}, &tokensv1alpha1.AtlassianSiteList{}, &corev1.SecretList{}
	const everywhere, no = "", refusedByRBAC
	tests := []struct {
		name                        string
		send                        request
		controller, webhook, portal outcome
	}{
		{"get an APIToken", getting(token), allowed, no, no},
		{"list APITokens", listing(apiTokens, everywhere), allowed, allowed, allowed},
		{"watch APITokens", watching(apiTokens, everywhere), allowed, allowed, allowed},
		{"update an APIToken", updating(token), no, no, no},
		{"patch an APIToken", patching(token), no, no, allowed},
		{"delete an APIToken", deleting(token), allowed, no, allowed},
		{"delete all APITokens", deletingAll(&tokensv1alpha1.APIToken{}, teamNamespace), no, no, no},
		{"create an APIToken for alice", creating(newToken(teamNamespace, "new", "alice")), refusedByIssuePolicy, no, allowed},
		{"get an AtlassianSite", getting(site), allowed, no, no},
		{"list AtlassianSites", listing(sites, everywhere), allowed, allowed, allowed},
		{"watch AtlassianSites", watching(sites, everywhere), allowed, allowed, allowed},
		{"create an AtlassianSite", creating(newSite(teamNamespace, "new")), no, no, no},
		{"update an AtlassianSite", updating(site), no, no, no},
		{"patch an AtlassianSite", patching(site), no, no, no},
		{"delete an AtlassianSite", deleting(site), no, no, no},

		{"get a delivered Secret", getting(delivered), allowed, no, no},
		{"get a record", getting(record), allowed, no, allowed},
		{"get a personal access token", getting(personal), allowed, no, no},
		{"list all Secrets", listing(secrets, everywhere), no, no, no},
		{"list Secrets where people work", listing(secrets, teamNamespace), no, no, no},
		{"list records", listing(secrets, systemNamespace), allowed, allowed, allowed},
		{"list personal access tokens", listing(secrets, credentialsNamespace), allowed, allowed, no},
		{"watch all Secrets", watching(secrets, everywhere), no, no, no},
		{"watch Secrets where people work", watching(secrets, teamNamespace), no, no, no},
		{"watch records", watching(secrets, systemNamespace), allowed, allowed, allowed},
		{"watch personal access tokens", watching(secrets, credentialsNamespace), allowed, allowed, no},
		{"create a delivered Secret", creating(newSecret(teamNamespace, "new", delivered.Type)), allowed, no, no},
		{"create a record", creating(newSecret(systemNamespace, "new", record.Type)), allowed, no, allowed},
		{"get caller keys", getting(keys), allowed, no, no},
		{"get an intake", getting(intake), allowed, no, no},
		{"list intakes", listing(secrets, intakeNamespace), allowed, no, no},
		{"watch intakes", watching(secrets, intakeNamespace), allowed, no, no},
		{"get an enrolment", getting(state), allowed, no, allowed},
		{"create a personal access token", creating(newSecret(credentialsNamespace, "new", personal.Type)), allowed, no, no},
		{"create an ordinary Secret beside it", creating(newSecret(credentialsNamespace, "new", corev1.SecretTypeOpaque)), refusedAsForeignType, no, no},
		{"create an intake", creating(newSecret(intakeNamespace, "new", intake.Type)), refusedAsForeignType, no, allowed},
		{"create an intake elsewhere", creating(newSecret(systemNamespace, "new", intake.Type)), refusedAsForeignType, no, refusedAsOperatorsType},
		{"create an ordinary Secret among intakes", creating(newSecret(intakeNamespace, "new", corev1.SecretTypeOpaque)), refusedAsForeignType, no, refusedAsForeignType},
		{"create a personal access token among intakes", creating(newSecret(intakeNamespace, "new", personal.Type)), allowed, no, refusedAsOperatorsType},
		{"create an enrolment", creating(newSecret(systemNamespace, "new", state.Type)), allowed, no, refusedAsOperatorsType},
		{"update an enrolment", updating(state), allowed, no, allowed},
		{"update an intake", updating(intake), allowed, no, no},
		{"patch an intake", patching(intake), no, no, no},
		{"delete an intake", deleting(intake), allowed, no, no},
		{"update a delivered Secret", updating(delivered), allowed, no, no},
		{"update a record", updating(record), allowed, no, allowed},
		{"update a personal access token", updating(personal), allowed, no, no},
		{"patch a record", patching(record), no, no, no},
		{"patch a personal access token", patching(personal), no, no, no},
		{"delete a delivered Secret", deleting(delivered), allowed, no, no},
		{"delete a record", deleting(record), allowed, no, no},
		{"delete a personal access token", deleting(personal), allowed, no, no},
		{"delete all records", deletingAll(&corev1.Secret{}, systemNamespace), no, no, no},

		{"get the lease", getting(lease), allowed, no, allowed},
		{"create a lease", creating(&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: "new"}}), allowed, no, no},
		{"create a lease elsewhere", creating(&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: teamNamespace, Name: "new"}}), no, no, no},
		{"update the lease", updating(lease), allowed, no, no},
		{"delete the lease", deleting(lease), no, no, no},
		{"create an event", creating(newEvent(teamNamespace)), allowed, no, allowed},
		{"create a RoleBinding", creating(newRoleBinding(teamNamespace)), no, no, no},
	}
	for _, test := range tests {
		for who, want := range map[string]outcome{controller: test.controller, webhook: test.webhook, portal: test.portal} {
			t.Run(test.name+"/"+who, func(t *testing.T) {
				if err := want.check(test.send(t.Context(), clients[who])); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// A request that writes is a dry run. RBAC and policies treat it like any other.
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

// copyOf returns a copy, because a client writes the API server's answer into the object.
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
