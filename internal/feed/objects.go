package feed

import (
	"maps"
	"slices"
	"sync"
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
	keys                          userKeys
	loaded                        atomic.Bool
}

// Names of the indices of APITokens.
const (
	bySite  = "site"
	byOwner = "owner"
	byUID   = "uid"
)

// NewObjects returns a store without objects.
func NewObjects() *Objects {
	return &Objects{
		keys:  userKeys{uidsOf: map[siteKey]map[string]bool{}, of: map[string]siteKey{}},
		sites: cache.NewIndexer(cache.MetaNamespaceKeyFunc, nil), projections: cache.NewIndexer(cache.MetaNamespaceKeyFunc, nil),
		apiTokens: cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{
			bySite:  indexedBy(func(t *tokensv1alpha1.APIToken) string { return siteOf(t).String() }),
			byUID:   indexedBy(func(t *tokensv1alpha1.APIToken) string { return string(t.UID) }),
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

// OfKey returns the APITokens whose records name this user key at the site, in no order.
func (o *Objects) OfKey(site authn.SiteName, key string) (found []*tokensv1alpha1.APIToken) {
	for _, uid := range o.keys.uids(siteKey{site, key}) {
		found = append(found, o.indexed(byUID, uid)...)
	}
	return found
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

// siteKey is a user key at a site.
type siteKey struct {
	site authn.SiteName
	key  string
}

// userKeys has the UIDs of the APITokens whose records name a user key.
type userKeys struct {
	mu     sync.RWMutex
	uidsOf map[siteKey]map[string]bool
	of     map[string]siteKey
}

func (k *userKeys) uids(of siteKey) []string {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return slices.Collect(maps.Keys(k.uidsOf[of]))
}

// set replaces what is known of an APIToken. An empty key forgets it.
func (k *userKeys) set(uid string, to siteKey) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if old, known := k.of[uid]; known {
		delete(k.of, uid)
		if delete(k.uidsOf[old], uid); len(k.uidsOf[old]) == 0 {
			delete(k.uidsOf, old)
		}
	}
	if to.key == "" {
		return
	}
	if k.of[uid] = to; k.uidsOf[to] == nil {
		k.uidsOf[to] = map[string]bool{}
	}
	k.uidsOf[to][uid] = true
}

// keyed is the store of records that also keeps their user keys.
type keyed struct {
	store

	index *authn.Index
	owned *userKeys
}

func (k keyed) put(o client.Object) error {
	err := k.store.put(o)
	k.learn(o.GetName())
	return err
}

func (k keyed) remove(gone key) {
	k.store.remove(gone)
	k.learn(gone.Name)
}

func (k keyed) learn(uid string) {
	var to siteKey
	if r := k.index.Record(uid); r != nil {
		to = siteKey{authn.SiteName(r.Site), r.UserKey}
	}
	k.owned.set(uid, to)
}
