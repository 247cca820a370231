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
)

// Objects are the objects that the portal shows: APITokens, AtlassianSites and the projections of sites. The feed keeps them
// beside the index, also those that the index cannot read, and none that is being deleted. The methods may run at the same time.
// The caller must not change what they return.
type Objects struct {
	apiTokens          *keptTokens
	sites, projections cache.Indexer
	// records has the UIDs of APITokens by what their records say.
	records recordIndex
	loaded  atomic.Bool
}

// NewObjects returns a store without objects.
func NewObjects() *Objects {
	return &Objects{
		apiTokens: newKeptTokens(), records: recordIndex{byKey: map[siteKey][]string{}, byID: map[string][]string{}},
		sites: cache.NewIndexer(cache.MetaNamespaceKeyFunc, nil), projections: cache.NewIndexer(cache.MetaNamespaceKeyFunc, nil),
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
	return o.apiTokens.named(name).apiToken()
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

// Summaries calls yield for each APIToken of a site, in no order, until that returns false.
func (o *Objects) Summaries(site authn.SiteName, yield func(Summary) bool) {
	o.apiTokens.ofSite(site, yield)
}

// OwnedBy returns the APITokens of a user at a site, in no order. user is folded.
func (o *Objects) OwnedBy(site authn.SiteName, user string) []*tokensv1alpha1.APIToken {
	return o.apiTokens.ownedBy(owner{site, user})
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
		if t := o.apiTokens.withUID(uid); t != nil {
			found = append(found, t.apiToken())
		}
	}
	return found
}

// keeping is a store that also keeps the objects as they are. What authenticates is kept: an object is kept before the index has
// it, and forgotten after.
type keeping struct {
	store

	kept cache.Indexer
	// namespace is where the objects come from; empty means everywhere.
	namespace string
}

func (k keeping) parse(o client.Object) parsed {
	gone := keyOf(o)
	if !o.GetDeletionTimestamp().IsZero() {
		return parsed{gone, func() { k.remove(gone) }, nil}
	}
	p := k.store.parse(o)
	put := p.apply
	p.apply = func() {
		_ = k.kept.Add(o) // fails only for objects without a name
		put()
	}
	return p
}

func (k keeping) remove(gone key) {
	k.store.remove(gone)
	if o := named[client.Object](k.kept, gone.NamespacedName); o != nil && o.GetUID() == gone.uid {
		_ = k.kept.Delete(o) // fails only for objects without a name
	}
}

func (k keeping) retain(list map[mark]bool) {
	k.store.retain(list)
	for _, stored := range k.kept.List() {
		if o, ok := stored.(client.Object); ok && (k.namespace == "" || o.GetNamespace() == k.namespace) && !list[k.mark(keyOf(o))] {
			k.remove(keyOf(o))
		}
	}
}

// keepingTokens is a store of APITokens that also keeps those parts of them that the portal shows, in the same order as keeping.
type keepingTokens struct {
	store

	kept *keptTokens
	// namespace is where the APITokens come from; empty means everywhere.
	namespace string
}

func (k keepingTokens) parse(o client.Object) parsed {
	gone := keyOf(o)
	t, ok := o.(*tokensv1alpha1.APIToken)
	if ok && !o.GetDeletionTimestamp().IsZero() {
		return parsed{gone, func() { k.remove(gone) }, nil}
	}
	p := k.store.parse(o)
	if !ok {
		return p
	}
	kept, put := newKeptToken(t), p.apply
	p.apply = func() {
		k.kept.put(kept)
		put()
	}
	return p
}

func (k keepingTokens) remove(gone key) {
	k.store.remove(gone)
	k.kept.remove(gone)
}

func (k keepingTokens) retain(list map[mark]bool) {
	k.store.retain(list)
	for _, kept := range k.kept.keys(k.namespace) {
		if !list[k.mark(kept)] {
			k.remove(kept)
		}
	}
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

// set replaces what is known of the record of an APIToken. The zero value stands for no record.
func (x *recordIndex) set(uid string, old, to recordKeys) {
	if old == to {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	move(x.byKey, uid, old.siteKey, to.siteKey)
	move(x.byID, uid, old.id, to.id)
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

func newKeyed(ix *authn.Index, found *recordIndex) keyed {
	k, records := keyed{index: ix, found: found}, newRecords(ix)
	records.forget = func(uid string) { k.learn(uid, func() { ix.DeleteRecord(uid) }) }
	k.store = records
	return k
}

func (k keyed) parse(o client.Object) parsed {
	p := k.store.parse(o)
	put := p.apply
	p.apply = func() { k.learn(p.Name, put) }
	return p
}

// learn notes how a change of the index changes the record of an APIToken.
func (k keyed) learn(uid string, change func()) {
	before := k.keysOf(uid)
	change()
	k.found.set(uid, before, k.keysOf(uid))
}

func (k keyed) keysOf(uid string) (found recordKeys) {
	if r := k.index.Record(uid); r != nil {
		if found.id = r.TokenID; r.UserKey != "" {
			found.siteKey = siteKey{authn.SiteName(r.Site), r.UserKey}
		}
	}
	return found
}
