package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/plugin/session"
	"apitokens.dev/operator/internal/prerequisites"
	"apitokens.dev/operator/internal/storedjson"
)

// applyManifests mends what is missing or changed of the manifests.
const applyManifests = "kubectl apply --server-side -k config/core (or: helm upgrade), from the version that is installed"

// resourceOf names the resource of an object that an installation needs.
func resourceOf(o client.Object) string {
	switch o.(type) {
	case *admissionv1.ValidatingAdmissionPolicy:
		return "validatingadmissionpolicies"
	case *admissionv1.ValidatingAdmissionPolicyBinding:
		return "validatingadmissionpolicybindings"
	}
	return "customresourcedefinitions"
}

// checkPolicies compares CRDs, admission policies and bindings with those of this version, as the controller does when it starts.
func (e *exam) checkPolicies(ctx context.Context) error {
	needed, err := prerequisites.Needed(e.system, e.credentials, e.intake)
	if err != nil {
		return err
	}
	for _, want := range needed {
		kind := want.GetObjectKind().GroupVersionKind().Kind
		f := finding{Severity: problem, Object: kind + " " + want.GetName(), Do: applyManifests}
		got, _ := want.DeepCopyObject().(client.Object)
		switch err := e.api.Get(ctx, client.ObjectKeyFromObject(want), got); {
		case apierrors.IsNotFound(err):
			f.Reason, f.Found = reasonMissing, "It is missing. Without the admission policies nothing is issued."
		case err != nil:
			if err = e.unless(err, checkPolicies, "get", resourceOf(want), ""); err != nil {
				return session.Doing("reading the "+f.Object, err)
			}
			continue
		case prerequisites.Revision(got) < prerequisites.Revision(want):
			f.Severity, f.Reason, f.Do = warning, reasonOlder, "upgrade the operator to the version of the plugin: docs/how-to/upgrade.md"
			f.Found = "It is older than this version of the plugin: " + prerequisites.Problem(want, got) + "."
		default:
			f.Reason, f.Found = reasonChanged, prerequisites.Problem(want, got)
			if f.Found == "" {
				e.made(checkPolicies)
				continue
			}
		}
		e.made(checkPolicies, f)
	}
	return nil
}

// The operator's pods and Deployments have this label.
var ours = client.MatchingLabels{"app.kubernetes.io/name": "apitoken-operator"}

// checkDeployments looks whether the operator's processes run, are of one version, and are as many as an outage of one needs.
func (e *exam) checkDeployments(ctx context.Context) error {
	var all appsv1.DeploymentList
	if err := e.api.List(ctx, &all, client.InNamespace(e.system), ours); err != nil {
		return session.Doing("listing Deployments", e.unless(err, checkDeployments, "list", "deployments", e.system))
	}
	if len(all.Items) == 0 {
		e.missed(checkDeployments, "There is no Deployment of the operator in the namespace "+e.system+".",
			"name the namespace with --operator-namespace; or see that the operator is installed: docs/how-to/install.md")
		return nil
	}
	e.deployments = all.Items
	images := map[string]string{}
	for i := range all.Items {
		e.made(checkDeployments, ofDeployment(&all.Items[i])...)
		for _, c := range all.Items[i].Spec.Template.Spec.Containers {
			images[c.Image] = all.Items[i].Name
		}
	}
	if len(images) > 1 {
		e.made(checkDeployments, finding{
			Severity: warning, Object: "Deployment " + e.system + "/" + all.Items[0].Name, Reason: reasonVersionsDiffer,
			Found: "The Deployments have different images: " + strings.Join(sorted(images), ", ") + ". An upgrade is under way, or was left half done.",
			Do:    "kubectl -n " + e.system + " rollout status deployment, and finish the upgrade: docs/how-to/upgrade.md",
		})
	}
	return nil
}

func ofDeployment(d *appsv1.Deployment) (found []finding) {
	object, wanted := named(d, "Deployment"), int32(1)
	if d.Spec.Replicas != nil {
		wanted = *d.Spec.Replicas
	}
	component := d.Spec.Template.Labels["app.kubernetes.io/component"]
	if d.Status.AvailableReplicas < max(wanted, 1) {
		found = append(found, finding{
			Severity: problem, Object: object, Reason: reasonUnavailable,
			Found: fmt.Sprintf("%d of %s are available.", d.Status.AvailableReplicas, amount(int(wanted), "replica")),
			Do:    fmt.Sprintf("kubectl -n %s describe pods -l app.kubernetes.io/component=%s", d.Namespace, component),
		})
	}
	if component == "webhook" && wanted == 1 {
		found = append(found, finding{
			Severity: warning, Object: object, Reason: reasonSingleReplica,
			Found: "The webhook has one replica. While it restarts, the gateways get no verdict and refuse every token.",
			Do:    fmt.Sprintf("kubectl -n %s scale deployment %s --replicas=2", d.Namespace, d.Name),
		})
	}
	return found
}

// secretTypes begins the types of the operator's Secrets.
const secretTypes = "apitokens.dev/"

// checkForms looks for objects in a stored form that this version does not write.
func (e *exam) checkForms(ctx context.Context) error {
	if err := e.checkStoredVersions(ctx); err != nil {
		return err
	}
	var secrets corev1.SecretList
	if err := e.api.List(ctx, &secrets, client.InNamespace(e.system)); err != nil {
		return session.Doing("listing Secrets", e.unless(err, checkForms, "list", "secrets", e.system))
	}
	e.made(checkForms)
	for i := range secrets.Items {
		s := &secrets.Items[i]
		if version := formOf(s); version != "" && version != storedjson.Version {
			e.made(checkForms, finding{
				Severity: problem, Object: named(s, "Secret"), Reason: reasonFormUnknown,
				Found: fmt.Sprintf("Its form has the version %s, and this version of the plugin knows %s. "+
					"A process that does not know it either ignores the Secret, and what is in it is dead.", version, storedjson.Version),
				Do: "have the operator and the plugin of one version: kubectl apitoken version; docs/how-to/upgrade.md",
			})
		}
	}
	return nil
}

// formOf returns the version of what is stored in a Secret of the operator. It returns nothing of others, and nothing of its content.
func formOf(s *corev1.Secret) string {
	if !strings.HasPrefix(string(s.Type), secretTypes) {
		return ""
	}
	for _, key := range sorted(s.Data) {
		var form struct {
			Version json.RawMessage `json:"version"`
		}
		if json.Unmarshal(s.Data[key], &form) == nil && form.Version != nil {
			return strings.Trim(string(form.Version), `"`)
		}
	}
	return ""
}

// checkStoredVersions looks for versions of the API in which objects may still be stored and that are not the present one.
func (e *exam) checkStoredVersions(ctx context.Context) error {
	for _, plural := range []string{"apitokens", "atlassiansites"} {
		crd := &unstructured.Unstructured{}
		crd.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
		name := plural + "." + tokensv1alpha1.GroupVersion.Group
		switch err := e.api.Get(ctx, client.ObjectKey{Name: name}, crd); {
		case apierrors.IsNotFound(err):
			continue // checkPolicies says so
		case err != nil:
			if err = e.unless(err, checkForms, "get", "customresourcedefinitions", ""); err != nil {
				return session.Doing("reading the CRD "+name, err)
			}
			continue
		}
		stored, _, _ := unstructured.NestedStringSlice(crd.Object, "status", "storedVersions")
		if old := slices.DeleteFunc(stored, func(v string) bool { return v == tokensv1alpha1.GroupVersion.Version }); len(old) > 0 {
			e.made(checkForms, finding{
				Severity: warning, Object: "CustomResourceDefinition " + name, Reason: reasonOldVersionStored,
				Found: fmt.Sprintf("Objects may be stored in the version %s, which a later release may no longer read.", strings.Join(old, ", ")),
				Do: fmt.Sprintf("kubectl get %s -A -o json | kubectl replace -f - ; then kubectl patch crd %s --subresource=status --type=merge "+
					"-p '{\"status\":{\"storedVersions\":[\"%s\"]}}'", plural, name, tokensv1alpha1.GroupVersion.Version),
			})
		}
	}
	return nil
}

// sorted returns the keys of a map.
func sorted[V any](m map[string]V) (keys []string) {
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
