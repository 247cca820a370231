package feed

import (
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
	// records has the UIDs of APITokens by what their records say.
	records recordIndex
	loaded  atomic.Bool
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
		records: recordIndex{byKey: map[siteKey][]string{}, byID: map[string][]string{}, of: map[string]recordKeys{}},
		sites:   cache.NewIndexer(cache.MetaNamespaceKeyFunc, nil), projections: cache.NewIndexer(cache.MetaNamespaceKeyFunc, nil),
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
func (o *Objects) OfKey(site authn.SiteName, key string) []*tokensv1alpha1.APIToken {
	return o.withUIDs(o.records.ofKey(siteKey{site, key}))
}

// OfTokenID returns the APITokens whose records have this token id, in no order.
func (o *Objects) OfTokenID(id string) []*tokensv1alpha1.APIToken {
	return o.withUIDs(o.records.ofID(id))
}

func (o *Objects) withUIDs(uids []string) (found []*tokensv1alpha1.APIToken) {
	for _, uid := range uids {
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
	// namespace is where the objects come from; empty means everywhere.
	namespace string
}

func (k keeping) put(o client.Object) error {
	if !o.GetDeletionTimestamp().IsZero() {
		k.remove(keyOf(o))
		return nil
	}
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
		if o, ok := stored.(client.Object); ok && (k.namespace == "" || o.GetNamespace() == k.namespace) {
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

// recordKeys is what a record is found by. A record without a user key has no siteKey.
type recordKeys struct {
	siteKey

	id string
}

// recordIndex has the UIDs of APITokens by user key and by token id.
type recordIndex struct {
	mu    sync.RWMutex
	byKey map[siteKey][]string
	byID  map[string][]string
	of    map[string]recordKeys
}

func (x *recordIndex) ofKey(k siteKey) []string {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return slices.Clone(x.byKey[k])
}

func (x *recordIndex) ofID(id string) []string {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return slices.Clone(x.byID[id])
}

// set replaces what is known of the record of an APIToken. The zero value forgets it.
func (x *recordIndex) set(uid string, to recordKeys) {
	x.mu.Lock()
	defer x.mu.Unlock()
	old := x.of[uid]
	if old == to {
		return
	}
	move(x.byKey, uid, old.siteKey, to.siteKey)
	move(x.byID, uid, old.id, to.id)
	if x.of[uid] = to; to == (recordKeys{}) {
		delete(x.of, uid)
	}
}

// move moves a UID from one key to another. There is nothing under the zero key.
func move[K comparable](by map[K][]string, uid string, from, to K) {
	var none K
	if from == to {
		return
	}
	if left := slices.DeleteFunc(by[from], func(other string) bool { return other == uid }); len(left) > 0 {
		by[from] = left
	} else {
		delete(by, from)
	}
	if to != none {
		by[to] = append(by[to], uid)
	}
}

// keyed is the store of records that also keeps what they are found by.
type keyed struct {
	store

	index *authn.Index
	found *recordIndex
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
	var to recordKeys
	if r := k.index.Record(uid); r != nil {
		if to.id = r.TokenID; r.UserKey != "" {
			to.siteKey = siteKey{authn.SiteName(r.Site), r.UserKey}
		}
	}
	k.found.set(uid, to)
}
