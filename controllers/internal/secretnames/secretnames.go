// Package secretnames watches which Secrets change where people work. The API server sends their metadata and not their data, and the
// cache keeps their names and versions.
package secretnames

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"apitokens.dev/operator/controllers/internal/watch"
)

// Cache has the names and versions of Secrets.
type Cache struct{ cache cache.Cache }

// AddTo adds a cache of the Secrets in some namespaces to a manager, or nil for all, but for those in the operator's own.
func AddTo(mgr manager.Manager, namespaces map[string]cache.Config, own ...string) (*Cache, error) {
	names, err := cache.New(mgr.GetConfig(), cache.Options{
		HTTPClient: mgr.GetHTTPClient(), Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(),
		ByObject: map[client.Object]cache.ByObject{kind(): {Namespaces: namespaces, Field: others(own), Transform: nameOf}},
	})
	if err == nil {
		err = mgr.Add(names)
	}
	if err != nil {
		return nil, fmt.Errorf("setting up the watch of Secrets: %w", err)
	}
	return &Cache{names}, nil
}

// Changes has a controller reconcile what a Secret that was created, changed or deleted maps to.
func (c *Cache) Changes(to handler.EventHandler) source.Source {
	return source.Kind[client.Object](c.cache, kind(), to, watch.AfterStart(), watch.VersionChanged())
}

// Lacks reports whether there is no Secret with a name among those that are watched. A nil cache knows nothing.
func (c *Cache) Lacks(ctx context.Context, name client.ObjectKey) bool {
	return c != nil && apierrors.IsNotFound(c.cache.Get(ctx, name, kind()))
}

func kind() *metav1.PartialObjectMetadata {
	o := &metav1.PartialObjectMetadata{}
	o.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	return o
}

// others selects the Secrets of others. It leaves out two types of which a cluster has many, and which nobody imports from.
func others(own []string) fields.Selector {
	all := []fields.Selector{
		fields.OneTermNotEqualSelector("type", string(corev1.SecretTypeServiceAccountToken)),
		fields.OneTermNotEqualSelector("type", "helm.sh/release.v1"),
	}
	for _, namespace := range own {
		all = append(all, fields.OneTermNotEqualSelector("metadata.namespace", namespace))
	}
	return fields.AndSelectors(all...)
}

// nameOf keeps what tells one version of a Secret from another.
func nameOf(o any) (any, error) {
	if m, ok := o.(*metav1.PartialObjectMetadata); ok {
		m.ObjectMeta = metav1.ObjectMeta{Namespace: m.Namespace, Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion}
	}
	return o, nil // what is no metadata is the mark of a deletion that was missed
}
