package doctor

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/plugin/session"
)

// right is what somebody may do, or may not.
type right struct {
	// account is an account of the operator. Without one it is everybody who is signed in.
	account                string
	verb, group, resource  string
	subresource, namespace string
	// dangerous means that nobody else shall have the right.
	dangerous bool
	// mend says what to do, if that is not what it is for most rights.
	mend string
}

// everybody is the group of all who are signed in.
const everybody = "system:authenticated"

// rights are those without which the operator does not work in the namespace of a site, and those that would make it worthless. They
// are not all: each process names on standard error the one that it lacks.
func (e *exam) rights(site string) []right {
	group := tokensv1alpha1.GroupVersion.Group
	return append(e.toWatch(site), []right{
		{account: "apitoken-controller", verb: "list", group: group, resource: "apitokens", namespace: site},
		{account: "apitoken-controller", verb: "patch", group: group, resource: "apitokens", subresource: "status", namespace: site},
		{account: "apitoken-controller", verb: "patch", group: group, resource: "atlassiansites", subresource: "status", namespace: site},
		{account: "apitoken-controller", verb: "create", resource: "secrets", namespace: site},
		{account: "apitoken-controller", verb: "list", resource: "secrets", namespace: e.system},
		{account: "apitoken-controller", verb: "list", resource: "secrets", namespace: e.credentials},
		{account: "apitoken-webhook", verb: "watch", group: group, resource: "apitokens", namespace: site},
		{account: "apitoken-webhook", verb: "watch", group: group, resource: "atlassiansites", namespace: site},
		{account: "apitoken-webhook", verb: "patch", group: group, resource: "apitokens", subresource: "status", namespace: site},
		{account: "apitoken-webhook", verb: "watch", resource: "secrets", namespace: e.system},
		{account: "apitoken-webhook", verb: "watch", resource: "secrets", namespace: e.credentials},
		{account: "apitoken-portal", verb: "create", group: group, resource: "apitokens", namespace: site},
		{account: "apitoken-portal", verb: "issue", group: group, resource: "apitokens", namespace: site},
		{account: "apitoken-portal", verb: "create", resource: "secrets", namespace: e.intake},
		{account: "apitoken-portal", verb: "get", resource: "secrets", namespace: e.credentials, dangerous: true},
		{account: "apitoken-webhook", verb: "get", resource: "secrets", namespace: site, dangerous: true},
		{verb: "get", resource: "secrets", namespace: e.system, dangerous: true},
		{verb: "get", resource: "secrets", namespace: e.credentials, dangerous: true},
		{verb: "get", resource: "secrets", namespace: e.intake, dangerous: true},
		{verb: "issue", group: group, resource: "apitokens", namespace: site, dangerous: true},
		{verb: "update", group: group, resource: "atlassiansites", namespace: site, dangerous: true},
	}...)
}

// toWatch is the right to list Secrets. The controller shall have it with the flag that takes it, and not without.
func (e *exam) toWatch(site string) []right {
	for i := range e.deployments {
		template := &e.deployments[i].Spec.Template
		if component := template.Labels["app.kubernetes.io/component"]; component != "controller" && component != "single" {
			continue
		}
		r := right{account: "apitoken-controller", verb: "list", resource: "secrets", namespace: site}
		uses := func(c corev1.Container) bool { return slices.ContainsFunc(c.Args, isWatchFlag) }
		if slices.ContainsFunc(template.Spec.Containers, uses) {
			r.mend = "kubectl apply --server-side -f config/components/watch-secrets/role.yaml; docs/how-to/watch-secrets.md"
		} else {
			r.dangerous, r.mend = true, "kubectl delete clusterrole apitoken-watch-secrets, or turn on --watch-secrets: docs/how-to/watch-secrets.md"
		}
		return []right{r}
	}
	return nil
}

func isWatchFlag(arg string) bool { return arg == "--watch-secrets" || arg == "--watch-secrets=true" }

// checkRights asks the API server whether the operator's accounts have their rights, and whether others have too many.
func (e *exam) checkRights(ctx context.Context) error {
	asked := map[right]bool{}
	for i := range e.sites {
		for _, r := range e.rights(e.sites[i].Namespace) {
			if asked[r] {
				continue
			}
			asked[r] = true
			allowed, err := e.may(ctx, r)
			if err != nil {
				return session.Doing("asking for rights", e.unless(err, checkRights, "create", "subjectaccessreviews", ""))
			}
			e.made(checkRights, e.ofRight(r, allowed)...)
		}
	}
	return nil
}

func (e *exam) may(ctx context.Context, r right) (bool, error) {
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: "somebody", Groups: []string{everybody},
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: r.namespace, Verb: r.verb, Group: r.group, Resource: r.resource, Subresource: r.subresource,
		},
	}}
	if r.account != "" {
		review.Spec.User = "system:serviceaccount:" + e.system + ":" + r.account
		review.Spec.Groups = append(review.Spec.Groups, "system:serviceaccounts", "system:serviceaccounts:"+e.system)
	}
	err := e.api.Create(ctx, review)
	return review.Status.Allowed, err
}

func (e *exam) ofRight(r right, allowed bool) []finding {
	what := strings.TrimSuffix(r.resource+"/"+r.subresource, "/")
	f := finding{Severity: problem, Object: "Group " + everybody, Reason: reasonRightTooWide}
	as := "somebody --as-group " + everybody
	if r.account != "" {
		f.Object = "ServiceAccount " + e.system + "/" + r.account
		as = "system:serviceaccount:" + e.system + ":" + r.account
	}
	switch {
	case allowed && r.dangerous:
		f.Found = fmt.Sprintf("It may %s %s in the namespace %s. Nobody but the operator and administrators may.", r.verb, what, r.namespace)
		if r.account != "" {
			f.Found = fmt.Sprintf("It may %s %s in the namespace %s, and does not need to.", r.verb, what, r.namespace)
		}
		f.Do = fmt.Sprintf("find the binding and remove it: kubectl auth can-i %s %s -n %s --as %s; kubectl get clusterrolebindings,rolebindings -A -o wide",
			r.verb, what, r.namespace, as)
	case !allowed && !r.dangerous:
		f.Reason, f.Found = reasonRightMissing, fmt.Sprintf("It may not %s %s in the namespace %s.", r.verb, what, r.namespace)
		f.Do = applyManifests + "; with config/namespaced: kubectl -n " + r.namespace + " apply --server-side -k config/access"
	default:
		return nil
	}
	f.Do = cmp.Or(r.mend, f.Do)
	return []finding{f}
}
