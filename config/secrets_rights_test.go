package config_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// reasons says why an account has each of its rights on Secrets, by where it has them.
type reasons map[string]map[string]string

const everywhere = "everywhere"

var (
	controllerReads = map[string]string{
		"list":  "the cache of its own objects is filled by a list",
		"watch": "the cache follows changes",
	}
	controllerWrites = map[string]string{
		"get":    "it reads the PATs, licences and authorities that a site names, and reads records live before it issues",
		"create": "delivered tokens, auth URLs and the certificate of webhook and portal are new Secrets",
		"update": "rotation changes a delivered token, a new caller key the auth URLs, renewal the certificate",
		"delete": "a delivered token and the auth URLs go with their object",
	}
	webhookReads = map[string]string{
		"list":  "the index is filled by a list",
		"watch": "the index follows changes: a revocation counts at once",
	}
)

// withReads returns the controller's rights in one of its own namespaces, besides those that it has everywhere.
func withReads(more map[string]string) map[string]string {
	all := maps.Clone(controllerReads)
	maps.Copy(all, more)
	return all
}

// Every verb on Secrets has a reason, in each kind of installation.
func TestRightsOnSecrets(t *testing.T) {
	webhookRights := reasons{systemNamespace: webhookReads, credentialsNamespace: webhookReads}
	portalRights := reasons{
		systemNamespace: {
			"list":   "the index of the tokens that it shows is filled by a list",
			"watch":  "the index follows changes",
			"get":    "it reads a record live before it changes it",
			"create": "a token that it creates has a record",
			"update": "rotation and revocation change the record",
		},
		intakeNamespace: {"create": "it hands over a PAT, and can read none"},
	}
	inEach := reasons{
		everywhere: controllerWrites, systemNamespace: controllerReads, credentialsNamespace: controllerReads, intakeNamespace: controllerReads,
	}
	where := reasons{
		systemNamespace: withReads(controllerWrites), credentialsNamespace: withReads(controllerWrites),
		intakeNamespace: withReads(map[string]string{
			"get":    "it reads a PAT that was handed over, and the authorities of its certificate",
			"create": "it makes the authorities of its certificate",
			"update": "it makes their successors",
			"delete": "it removes a PAT that was moved",
		}),
		teamNamespace: controllerWrites,
	}
	for _, name := range installations {
		_, all := build(t, name)
		ofController := inEach
		base, component, _ := strings.Cut(name, "+")
		if base == "namespaced" {
			ofController = where
			for _, object := range mustBuild(t, "access") {
				object.SetNamespace(teamNamespace)
				all = append(all, object)
			}
		}
		if component == "watch-secrets" {
			ofController = withNames(ofController, base)
		}
		for account, want := range map[string]reasons{
			"apitoken-controller": ofController, "apitoken-webhook": webhookRights, "apitoken-portal": portalRights, "apitoken-operator": {},
		} {
			if diff := cmp.Diff(verbs(want), onSecrets(t, all, account)); diff != "" {
				t.Errorf("%s: %s has other rights on Secrets than have a reason (-want +got):\n%s", name, account, diff)
			}
		}
	}
}

// withNames returns rights of the controller with those of the component watch-secrets, where the account has others.
func withNames(rights reasons, base string) reasons {
	where := everywhere
	if base == "namespaced" {
		where = teamNamespace
	}
	with := maps.Clone(rights)
	with[where] = maps.Clone(with[where])
	maps.Copy(with[where], map[string]string{
		"list":  "the cache of names, which --watch-secrets asks for, is filled by a list",
		"watch": "it sees a changed token at once",
	})
	return with
}

func verbs(of reasons) map[string]string {
	found := map[string]string{}
	for namespace, reason := range of {
		found[namespace] = strings.Join(slices.Sorted(maps.Keys(reason)), ",")
	}
	return found
}

// onSecrets returns the verbs that an account has on Secrets, by the namespace of the binding.
func onSecrets(t *testing.T, all manifests, account string) map[string]string {
	t.Helper()
	rules := map[string][]rbacv1.PolicyRule{}
	roles := objectsOf[rbacv1.ClusterRole](t, all, "ClusterRole")
	for _, r := range roles {
		rules["ClusterRole/"+r.Name] = append(r.Rules, aggregated(t, r, roles)...)
	}
	for _, r := range objectsOf[rbacv1.Role](t, all, "Role") {
		rules["Role/"+r.Namespace+"/"+r.Name] = r.Rules
	}
	found := map[string]map[string]bool{}
	bind := func(where, role string, subjects []rbacv1.Subject) {
		if _, there := rules[role]; !there {
			t.Errorf("a binding is for %s, which is not there", role)
		}
		for _, rule := range rules[role] {
			if !slices.ContainsFunc(subjects, func(s rbacv1.Subject) bool { return s.Name == account }) || !matches(rule.APIGroups, "") || !matches(rule.Resources, "secrets") {
				continue
			}
			for _, verb := range rule.Verbs {
				if found[where] == nil {
					found[where] = map[string]bool{}
				}
				found[where][verb] = true
			}
		}
	}
	for _, b := range objectsOf[rbacv1.ClusterRoleBinding](t, all, "ClusterRoleBinding") {
		bind(everywhere, "ClusterRole/"+b.RoleRef.Name, b.Subjects)
	}
	for _, b := range objectsOf[rbacv1.RoleBinding](t, all, "RoleBinding") {
		role := "ClusterRole/" + b.RoleRef.Name
		if b.RoleRef.Kind == "Role" {
			role = "Role/" + b.Namespace + "/" + b.RoleRef.Name
		}
		bind(b.Namespace, role, b.Subjects)
	}
	rights := map[string]string{}
	for where, verbs := range found {
		rights[where] = strings.Join(slices.Sorted(maps.Keys(verbs)), ",")
	}
	return rights
}

// aggregated returns the rules that a ClusterRole has by the labels of others.
func aggregated(t *testing.T, to rbacv1.ClusterRole, roles []rbacv1.ClusterRole) (rules []rbacv1.PolicyRule) {
	t.Helper()
	if to.AggregationRule == nil {
		return nil
	}
	for i := range to.AggregationRule.ClusterRoleSelectors {
		selector, err := metav1.LabelSelectorAsSelector(&to.AggregationRule.ClusterRoleSelectors[i])
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range roles {
			if selector.Matches(labels.Set(r.Labels)) {
				rules = append(rules, r.Rules...)
			}
		}
	}
	return rules
}

func matches(list []string, one string) bool {
	return slices.Contains(list, one) || slices.Contains(list, "*")
}
