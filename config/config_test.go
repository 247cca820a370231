// Package config_test tests the manifests in this folder on a real API server: RBAC, admission policies and CRDs.
package config_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/controlplane"
	"apitokens.dev/operator/hack/lib/kubetest"
)

// Two namespaces of teams, and the operator's own two.
const (
	teamNamespace        = "jira"
	otherNamespace       = "other"
	systemNamespace      = "apitoken-system"
	credentialsNamespace = "apitoken-credentials"
	intakeNamespace      = "apitoken-intake"
)

// The accounts that config/core creates, and the one of the cluster administrator.
const (
	serviceAccountPrefix = "system:serviceaccount:"
	controller           = serviceAccountPrefix + "apitoken-system:apitoken-controller"
	webhook              = serviceAccountPrefix + "apitoken-system:apitoken-webhook"
	portal               = serviceAccountPrefix + "apitoken-system:apitoken-portal"
	clusterAdmin         = "cluster-admin"
	// bystander has only the rights that every service account has.
	bystander = serviceAccountPrefix + teamNamespace + ":bystander"
)

// A grant is a right of a user, by RBAC.
type grant struct {
	who       string
	namespace string // empty: in all of them
	group     string
	resources []string
	verbs     []string
	names     []string
	// clusterRole is a role of config/core to bind. If it is empty, a role with the rights above is created and bound.
	clusterRole string
}

var (
	scheme      = runtime.NewScheme()
	adminConfig *rest.Config
	cluster     *controlplane.ControlPlane
	clients     = map[string]client.WithWatch{}
)

func TestMain(m *testing.M) { os.Exit(kubetest.Run(m, prepare)) }

func prepare(cp *controlplane.ControlPlane) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), tokensv1alpha1.AddToScheme(scheme), cp.Install("config/core")); err != nil {
		return err
	}
	adminConfig, cluster = cp.Admin(), cp
	for _, who := range accounts() {
		config, err := cp.User(who, groupsOf(who)...)
		if err != nil {
			return err
		}
		if clients[who], err = connect(config); err != nil {
			return err
		}
	}
	for _, namespace := range []string{teamNamespace, otherNamespace} {
		if err := clients[clusterAdmin].Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); err != nil {
			return err
		}
	}
	if err := giveGrants(ctx); err != nil {
		return err
	}
	return waitForPolicies(ctx)
}

func accounts() []string {
	who := []string{clusterAdmin, controller, webhook, portal, bystander}
	for _, grant := range grants {
		who = append(who, grant.who)
	}
	return who
}

func groupsOf(who string) []string {
	if who == clusterAdmin {
		return []string{"system:masters"}
	}
	if account, found := strings.CutPrefix(who, serviceAccountPrefix); found {
		namespace, _, _ := strings.Cut(account, ":")
		return []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace}
	}
	return nil
}

func connect(config *rest.Config) (client.WithWatch, error) {
	config.QPS = -1
	return client.NewWithWatch(config, client.Options{Scheme: scheme})
}

// impersonate returns a client of the cluster administrator that impersonates who.
func impersonate(t *testing.T, who string) client.Client {
	t.Helper()
	config := rest.CopyConfig(adminConfig)
	config.Impersonate = rest.ImpersonationConfig{UserName: who, Groups: groupsOf(who)}
	c, err := connect(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// giveGrants creates the roles and waits until the API server applies them. It sees roles in the order of their creation,
// so the roles of config/core are then applied too.
func giveGrants(ctx context.Context) error {
	for i, grant := range grants {
		if err := grant.give(ctx, fmt.Sprintf("test-%d", i)); err != nil {
			return err
		}
	}
	for _, grant := range grants {
		err := eventually(ctx, fmt.Sprintf("the grant %+v", grant), func() error {
			allowed, err := can(ctx, grant.who, grant.attributes())
			if err == nil && !allowed {
				err = errors.New("not allowed")
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (g grant) give(ctx context.Context, name string) error {
	admin := clients[clusterAdmin]
	meta := metav1.ObjectMeta{Name: name, Namespace: g.namespace}
	rules := []rbacv1.PolicyRule{{APIGroups: []string{g.group}, Resources: g.resources, Verbs: g.verbs, ResourceNames: g.names}}
	subjects := []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: g.who}}
	ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}
	var role client.Object = &rbacv1.ClusterRole{ObjectMeta: meta, Rules: rules}
	if g.namespace != "" && g.clusterRole == "" {
		ref.Kind = "Role"
		role = &rbacv1.Role{ObjectMeta: meta, Rules: rules}
	}
	var binding client.Object = &rbacv1.RoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: subjects}
	switch {
	case g.clusterRole != "":
		binding.(*rbacv1.RoleBinding).RoleRef.Name = g.clusterRole
		return admin.Create(ctx, binding)
	case g.namespace == "":
		binding = &rbacv1.ClusterRoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: subjects}
	}
	return errors.Join(admin.Create(ctx, role), admin.Create(ctx, binding))
}

// attributes returns the attributes of one request that the grant allows.
func (g grant) attributes() authorizationv1.ResourceAttributes {
	resource, subresource, _ := strings.Cut(g.resources[0], "/")
	attributes := authorizationv1.ResourceAttributes{
		Namespace: g.namespace, Group: g.group, Resource: resource, Subresource: subresource, Verb: g.verbs[0],
	}
	if len(g.names) > 0 {
		attributes.Name = g.names[0]
	}
	return attributes
}

// can reports whether who is allowed to send a request, like `kubectl auth can-i`.
func can(ctx context.Context, who string, attributes authorizationv1.ResourceAttributes) (bool, error) {
	review := &authorizationv1.SelfSubjectAccessReview{
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &attributes},
	}
	err := clients[who].Create(ctx, review)
	return review.Status.Allowed, err
}

// waitForPolicies waits until each policy refuses a request: the API server applies a policy some time after it has
// stored it.
func waitForPolicies(ctx context.Context) error {
	token := newToken(teamNamespace, "probe", "alice")
	admin := clients[clusterAdmin]
	if err := admin.Create(ctx, token); err != nil {
		return err
	}
	probes := map[outcome]func() error{
		refusedByIssuePolicy: func() error {
			return clients["writer"].Create(ctx, newToken(teamNamespace, "another", "alice"), client.DryRunAll)
		},
		refusedByStatusPolicy: func() error {
			return admin.Status().Patch(ctx, token, mergePatch(`{"status":{"tokenID":"x"}}`), client.DryRunAll)
		},
		refusedAsOperatorsType: func() error {
			return clients["secret-writer"].Create(ctx, newSecret(teamNamespace, "probe", "apitokens.dev/hash"), client.DryRunAll)
		},
	}
	labelled := newSite(teamNamespace, "probe")
	labelled.Labels = numbered(maxLabels + 1)
	tooManyLabels := func() error {
		if err := admin.Create(ctx, labelled.DeepCopy(), client.DryRunAll); err == nil || !strings.Contains(err.Error(), "labels are allowed") {
			return fmt.Errorf("many labels: %w", errors.Join(err, errors.ErrUnsupported))
		}
		return nil
	}
	if err := eventually(ctx, "the policy of metadata", tooManyLabels); err != nil {
		return err
	}
	for want, probe := range probes {
		if err := eventually(ctx, string(want), func() error { return want.check(probe()) }); err != nil {
			return err
		}
	}
	return admin.Delete(ctx, token)
}

func eventually(ctx context.Context, what string, try func() error) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, 30*time.Second, true, func(context.Context) (bool, error) {
		last = try()
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("waiting for %s: %w", what, errors.Join(err, last))
	}
	return nil
}

// An outcome is the expected answer to a request: empty if the request is allowed, and else a part of the message of the
// refusal. The message of a policy includes its own text, so a policy that failed to evaluate does not match.
type outcome string

const (
	allowed               outcome = ""
	refusedByRBAC         outcome = `" cannot `
	refusedByIssuePolicy  outcome = `'issue.apitokens.dev' with binding 'issue.apitokens.dev' denied request: may not issue tokens for the product user '`
	refusedByStatusPolicy outcome = `'status.apitokens.dev' with binding 'status.apitokens.dev' denied request: only the operator may write status`
	// Each of the two accounts that write status may write only its own part.
	refusedByLastAccessPolicy outcome = `'status.apitokens.dev' with binding 'status.apitokens.dev' denied request: the webhook may write only the last access of APITokens`
	refusedAsWebhooks         outcome = `'status.apitokens.dev' with binding 'status.apitokens.dev' denied request: only the webhook may write the last access of APITokens`

	refusedAsOperatorsType outcome = `'secrets.apitokens.dev' with binding 'secrets.apitokens.dev' denied request: only the API token operator may write Secrets of type 'apitokens.dev/`
	refusedAsForeignType   outcome = `'secrets.apitokens.dev' with binding 'secrets.apitokens.dev' denied request: the API token operator's accounts may write only`
)

func (want outcome) check(err error) error {
	switch {
	case want == allowed && err != nil:
		return fmt.Errorf("refused: %w", err)
	case want != allowed && err == nil:
		return fmt.Errorf("allowed, want: %s", want)
	case want != allowed && (!apierrors.IsForbidden(err) || !strings.Contains(err.Error(), string(want))):
		return fmt.Errorf("refused: %w, want: %s", err, want)
	}
	return nil
}

func mergePatch(text string) client.Patch {
	return client.RawPatch("application/merge-patch+json", []byte(text))
}
