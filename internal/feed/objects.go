package feed

import (
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/projection"
	"apitokens.dev/operator/internal/username"
)

// Objects are the objects that the portal shows: APITokens, AtlassianSites and the projections of sites. The feed keeps them
// beside the index, also those that the index cannot read, and none that is being deleted. The methods may run at the same time.
// The caller must not change what they return.
type Objects struct {
	apiTokens, sites, projections cache.Indexer
	loaded                        atomic.Bool
}

// Names of the indices of APITokens.
const (
	bySite  = "site"
	byOwner = "owner"
)

// NewObjects returns a store without objects.
func NewObjects() *Objects {
	return &Objects{
		sites: cache.NewIndexer(cache.MetaNamespaceKeyFunc, nil), projections: cache.NewIndexer(cache.MetaNamespaceKeyFunc, nil),
		apiTokens: cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{
			bySite:  indexedBy(func(t *tokensv1alpha1.APIToken) string { return siteOf(t).String() }),
			byOwner: indexedBy(func(t *tokensv1alpha1.APIToken) string { return ownerKey(siteOf(t), username.Fold(t.Spec.User)) }),
		}),
	}
}

func siteOf(t *tokensv1alpha1.APIToken) authn.SiteName {
	return authn.SiteName{Namespace: t.SiteNamespace(), Name: t.Spec.SiteRef.Name}
}

func ownerKey(site authn.SiteName, user string) string { return site.String() + "/" + user }

func indexedBy(key func(*tokensv1alpha1.APIToken) string) cache.IndexFunc {
	return func(o any) ([]string, error) {
		t, ok := o.(*tokensv1alpha1.APIToken)
		if !ok {
			return nil, nil
		}
		return []string{key(t)}, nil
	}
}

// Loaded reports whether the whole initial list has been seen.
func (o *Objects) Loaded() bool { return o.loaded.Load() }

// Site returns an AtlassianSite. It returns nil if there is none.
func (o *Objects) Site(name types.NamespacedName) *tokensv1alpha1.AtlassianSite {
	return named[*tokensv1alpha1.AtlassianSite](o.sites, name)
}

// APIToken returns an APIToken. It returns nil if there is none.
func (o *Objects) APIToken(name types.NamespacedName) *tokensv1alpha1.APIToken {
	return named[*tokensv1alpha1.APIToken](o.apiTokens, name)
}

// Projection returns the Secret in the operator's namespace that holds the projection of a site. It returns nil if there is none.
func (o *Objects) Projection(namespace string, site types.NamespacedName) *corev1.Secret {
	return named[*corev1.Secret](o.projections, types.NamespacedName{Namespace: namespace, Name: projection.SecretName(site.Namespace, site.Name)})
}

func named[T client.Object](from cache.Indexer, name types.NamespacedName) (found T) {
	if stored, exists, err := from.GetByKey(name.String()); err == nil && exists {
		found, _ = stored.(T)
	}
	return found
}

// OfSite returns the APITokens of a site, in no order.
func (o *Objects) OfSite(site authn.SiteName) []*tokensv1alpha1.APIToken {
	return o.indexed(bySite, site.String())
}

// OwnedBy returns the APITokens of a user at a site, in no order. user is folded.
func (o *Objects) OwnedBy(site authn.SiteName, user string) []*tokensv1alpha1.APIToken {
	return o.indexed(byOwner, ownerKey(site, user))
}

func (o *Objects) indexed(index, value string) []*tokensv1alpha1.APIToken {
	stored, err := o.apiTokens.ByIndex(index, value)
	if err != nil {
		return nil // there is no such index, so this never happens
	}
	found := make([]*tokensv1alpha1.APIToken, 0, len(stored))
	for _, one := range stored {
		if t, ok := one.(*tokensv1alpha1.APIToken); ok {
			found = append(found, t)
		}
	}
	return found
}

// keeping is a store that also keeps the objects. What authenticates is kept: an object is kept before the index has it, and
// forgotten after.
type keeping struct {
	store

	kept cache.Indexer
}

func (k keeping) put(o client.Object) error {
	if !o.GetDeletionTimestamp().IsZero() {
		k.remove(keyOf(o))
		return nil
	}
	o.SetManagedFields(nil)
	if err := k.kept.Add(o); err != nil {
		return err
	}
	return k.store.put(o)
}

func (k keeping) remove(gone key) {
	k.store.remove(gone)
	if o := named[client.Object](k.kept, gone.NamespacedName); o != nil && o.GetUID() == gone.uid {
		_ = k.kept.Delete(o) // fails only for objects without a name
	}
}

func (k keeping) keys() []key {
	var all []key
	for _, stored := range k.kept.List() {
		if o, ok := stored.(client.Object); ok {
			all = append(all, keyOf(o))
		}
	}
	return all
}
