package gateway

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/csaupgrade"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/internal/apierror"
	"apitokens.dev/operator/internal/record"
)

// owns reports whether the labels of an object say that the operator wrote it for the site.
func (s Site) owns(o *unstructured.Unstructured) bool {
	labels := o.GetLabels()
	for key, value := range s.labels() {
		if labels[key] != value {
			return false
		}
	}
	return true
}

// made reports whether the operator made an object for the site. An Ingress that it only annotated has the site's labels too.
func (s Site) made(o *unstructured.Unstructured) bool {
	return s.owns(o) && o.GetLabels()[managedBy] == operator
}

// asks reports whether an Ingress has an auth URL of the site, whatever its labels say.
func (s Site) asks(o *unstructured.Unstructured) bool {
	return slices.ContainsFunc([]string{nginxPrefix, haproxyPrefix}, func(prefix string) bool {
		return strings.HasSuffix(o.GetAnnotations()[prefix+"auth-url"], "/"+s.String())
	})
}

// labelled reports whether it was the operator who wrote the labels of an object, in their present form. Everybody can write labels.
func labelled(o *unstructured.Unstructured) bool {
	return slices.ContainsFunc(o.GetManagedFields(), func(e metav1.ManagedFieldsEntry) bool {
		return e.Manager == Manager && e.FieldsV1 != nil && strings.Contains(e.FieldsV1.GetRawString(), `"f:`+record.LabelSite+`"`)
	})
}

// read reads an object, nil if there is none.
func (k Keeper) read(ctx context.Context, ref Ref) (*unstructured.Unstructured, error) {
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(ref.kind())
	err := k.Live.Get(ctx, client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name}, o)
	switch {
	case err == nil:
		return o, nil
	case apierrors.IsNotFound(err) && !isUnknownKind(err):
		return nil, nil
	default:
		return nil, fmt.Errorf("reading %s %s/%s: %w", ref.Kind, ref.Namespace, ref.Name, err)
	}
}

// create creates an object. Applying it would write into one that another person creates at the same moment.
func (k Keeper) create(ctx context.Context, want *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	created := want.DeepCopy()
	if err := k.Client.Create(ctx, created, client.FieldOwner(Manager)); err != nil {
		return nil, fmt.Errorf("creating %s %s/%s: %w", want.GetKind(), want.GetNamespace(), want.GetName(), err)
	}
	return created, nil
}

// mend applies an object over the one that was read. What the operator wrote by creating it becomes part of what it applies, so
// that a field that is no longer wanted goes. Fields of others stay.
func (k Keeper) mend(ctx context.Context, live, want *unstructured.Unstructured) error {
	doing := fmt.Sprintf("applying %s %s/%s", want.GetKind(), want.GetNamespace(), want.GetName())
	patch, err := csaupgrade.UpgradeManagedFieldsPatch(live, sets.New(Manager), Manager)
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	if len(patch) > 0 {
		if err := k.Client.Patch(ctx, live, client.RawPatch(types.JSONPatchType, patch), client.FieldOwner(Manager)); err != nil {
			return fmt.Errorf("%s: %w", doing, err)
		}
	}
	if err := k.apply(ctx, live, want, client.ForceOwnership); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return nil
}

// apply applies an object over one that was read, and over no other.
func (k Keeper) apply(ctx context.Context, live, want *unstructured.Unstructured, options ...client.ApplyOption) error {
	applied := want.DeepCopy()
	applied.SetUID(live.GetUID())
	applied.SetResourceVersion(live.GetResourceVersion())
	return k.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(applied), append(options, client.FieldOwner(Manager))...)
}

// annotate sets annotations of an Ingress. An annotation that another manager set to something else is left alone, unless the operator
// annotated the Ingress for this site before: its labels say so, and the operator wrote them, or it has an auth URL of the site, as
// an Ingress has that was restored.
func (k Keeper) annotate(ctx context.Context, s Site, want, live *unstructured.Unstructured) (*Problem, error) {
	ref := refOf(want)
	var options []client.ApplyOption
	switch other := live.GetLabels(); {
	case s.owns(live) && (labelled(live) || s.asks(live)):
		options = append(options, client.ForceOwnership)
	case !s.owns(live) && hasAny(other, s.labels()):
		return &Problem{tokensv1alpha1.ReasonGatewayConflict, fmt.Sprintf("%s is wired for another AtlassianSite, as its labels say: '%s/%s'. "+
			"Name another Ingress, or remove the entry of the other site. If it has none, remove the labels `%s` and `%s`.",
			ref.in(s.Namespace), other[record.LabelSiteNamespace], other[record.LabelSite], record.LabelSiteNamespace, record.LabelSite)}, nil
	}
	err := k.apply(ctx, live, want, options...)
	if apierrors.IsConflict(err) && !apierror.IsRace(err) {
		return &Problem{tokensv1alpha1.ReasonGatewayConflict, fmt.Sprintf(
			"%s has annotations that somebody else set, and they are left alone: %s. Remove them where they are written.", ref.in(s.Namespace),
			apierror.Words(err))}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("annotating %s %s/%s: %w", ref.Kind, ref.Namespace, ref.Name, err)
	}
	k.Watch.use(ref)
	return nil, nil
}

func hasAny(labels, keys map[string]string) bool {
	for key := range maps.Keys(keys) {
		if _, found := labels[key]; found {
			return true
		}
	}
	return false
}

// remove removes an object that the operator made for the site, or takes back what it set in an Ingress. What is not the
// operator's is left alone.
func (k Keeper) remove(ctx context.Context, s Site, ref Ref) error {
	live, err := k.read(ctx, ref)
	if err == nil && live != nil && isShared(live) {
		return k.leave(ctx, s, live)
	}
	if isUnknownKind(err) || err == nil && live == nil {
		return nil
	}
	if err != nil {
		return err
	}
	if ref.annotated() {
		return k.unannotate(ctx, s, live)
	}
	if !s.made(live) {
		return nil
	}
	return k.delete(ctx, live)
}

// unannotate takes back what the operator set in an Ingress for the site, also if somebody took its labels off. What others set stays,
// as does everything that the operator set for another site.
func (k Keeper) unannotate(ctx context.Context, s Site, live *unstructured.Unstructured) error {
	if !s.asks(live) && (!s.owns(live) || !labelled(live)) {
		return nil
	}
	ref, nothing := refOf(live), &unstructured.Unstructured{Object: map[string]any{}}
	nothing.SetGroupVersionKind(ref.kind())
	nothing.SetNamespace(ref.Namespace)
	nothing.SetName(ref.Name)
	if err := k.apply(ctx, live, nothing); err != nil {
		return fmt.Errorf("taking back annotations of %s %s/%s: %w", ref.Kind, ref.Namespace, ref.Name, err)
	}
	return nil
}

// delete deletes an object as it was read.
func (k Keeper) delete(ctx context.Context, live *unstructured.Unstructured) error {
	uid, version := live.GetUID(), live.GetResourceVersion()
	if err := k.Client.Delete(ctx, live, client.Preconditions{UID: &uid, ResourceVersion: &version}); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("removing %s %s/%s: %w", live.GetKind(), live.GetNamespace(), live.GetName(), err)
	}
	return nil
}
