package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"apitokens.dev/operator/internal/record"
)

// sitePrefix begins the annotations of a shared object that name the sites that need it. The rest is a hash of the name, which
// itself is too long for an annotation's.
const sitePrefix = "site.apitokens.dev/"

// shared reports whether all sites share the object: it says the same for each of them, and a gateway accepts one alone.
func (r Ref) shared() bool { return r.Kind == tlsPolicyKind }

// sharedObject returns an object that all sites share. Its annotation says that this site needs it.
func (s Site) sharedObject(apiVersion, kind, name string, spec map[string]any) *unstructured.Unstructured {
	o := s.object(apiVersion, kind, name, spec)
	o.SetAnnotations(map[string]string{s.mark(): s.String()})
	return o
}

// mark is the annotation of a shared object that the site needs.
func (s Site) mark() string {
	sum := sha256.Sum256([]byte(s.String()))
	return sitePrefix + hex.EncodeToString(sum[:16])
}

// marks returns the annotations of a shared object that name sites.
func marks(o *unstructured.Unstructured) map[string]string {
	found := maps.Clone(o.GetAnnotations())
	maps.DeleteFunc(found, func(key, _ string) bool { return !strings.HasPrefix(key, sitePrefix) })
	return found
}

// join returns a shared object as all sites need it: with the marks of the others, and with the labels of the site that it has
// already, so that no two sites write it in turn.
func (s Site) join(live, want *unstructured.Unstructured) *unstructured.Unstructured {
	joined, all := want.DeepCopy(), marks(live)
	maps.Copy(all, marks(want))
	joined.SetAnnotations(all)
	labelled := live.GetLabels()[record.LabelSiteNamespace] + "/" + live.GetLabels()[record.LabelSite]
	if slices.Contains(slices.Collect(maps.Values(all)), labelled) {
		joined.SetLabels(labelsFor(labelled))
	}
	return joined
}

// labelsFor returns the labels of an object that the operator made for a site, by its name and namespace.
func labelsFor(site string) map[string]string {
	namespace, name, _ := strings.Cut(site, "/")
	return map[string]string{managedBy: operator, record.LabelSiteNamespace: namespace, record.LabelSite: name}
}

// isShared reports whether the operator made the object for sites to share.
func isShared(o *unstructured.Unstructured) bool {
	return refOf(o).shared() && o.GetLabels()[managedBy] == operator && len(marks(o)) > 0
}

// leave removes the site's mark from a shared object, and the object with the last mark.
func (k Keeper) leave(ctx context.Context, s Site, live *unstructured.Unstructured) error {
	left := marks(live)
	if _, marked := left[s.mark()]; !marked {
		return nil
	}
	delete(left, s.mark())
	if len(left) == 0 {
		return k.delete(ctx, live)
	}
	without := live.DeepCopy()
	annotations := without.GetAnnotations()
	delete(annotations, s.mark())
	without.SetAnnotations(annotations)
	if s.owns(live) { // the next site is told of changes
		labels := without.GetLabels()
		maps.Copy(labels, labelsFor(left[slices.Min(slices.Collect(maps.Keys(left)))]))
		without.SetLabels(labels)
	}
	patch := client.MergeFromWithOptions(live, client.MergeFromWithOptimisticLock{})
	if err := k.Client.Patch(ctx, without, patch, client.FieldOwner(Manager)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("leaving %s %s/%s to other sites: %w", live.GetKind(), live.GetNamespace(), live.GetName(), err)
	}
	return nil
}
