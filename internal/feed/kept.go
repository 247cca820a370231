package feed

import (
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"
	"unique"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/username"
)

// keptToken is what the portal shows of an APIToken, in a fifth of its memory. There may be very many.
type keptToken struct {
	name, uid, user, label string
	// common is what many APITokens have in common.
	common unique.Handle[common]
	// created and used are Unix times in seconds. used is 0 if the token was never used.
	created, used int64
	usedFrom      string
	// spec is the whole of it if it says more, else nil.
	spec *tokensv1alpha1.APITokenSpec
}

// common is the part of APITokens that is the same in many.
type common struct {
	namespace string
	siteRef   tokensv1alpha1.SiteReference
	kind      tokensv1alpha1.CredentialType
	access    tokensv1alpha1.Access
	state     tokensv1alpha1.State
	// ready is the reason of the Ready condition, or empty if there is none.
	ready string
}

func newKeptToken(t *tokensv1alpha1.APIToken) *keptToken {
	c := common{
		namespace: t.Namespace, siteRef: t.Spec.SiteRef, kind: t.Spec.Credential.Type, access: t.Spec.Access, state: t.Spec.State,
	}
	if ready := apimeta.FindStatusCondition(t.Status.Conditions, tokensv1alpha1.ConditionReady); ready != nil {
		c.ready = ready.Reason
	}
	k := &keptToken{
		name: t.Name, uid: string(t.UID), user: t.Spec.User, label: t.Spec.Label, common: unique.Make(c),
		created: t.CreationTimestamp.Unix(), usedFrom: t.Status.LastAccessedFrom,
	}
	if used := t.Status.LastAccessedTime; !used.IsZero() {
		k.used = used.Unix()
	}
	shown := Shown(t.Spec)
	if usual := k.usualSpec(); !reflect.DeepEqual(shown, usual) {
		k.spec = &shown
	}
	return k
}

// Shown returns the parts of a spec that the portal keeps. The others say where a token is delivered and how it comes about, and nothing
// about what it may do.
func Shown(spec tokensv1alpha1.APITokenSpec) tokensv1alpha1.APITokenSpec {
	spec.Delivery, spec.Credential.Imported, spec.Rotation = tokensv1alpha1.Delivery{}, nil, tokensv1alpha1.Rotation{}
	return spec
}

// usualSpec is the spec of an APIToken that says no more than a keptToken.
func (k *keptToken) usualSpec() tokensv1alpha1.APITokenSpec {
	c := k.common.Value()
	return tokensv1alpha1.APITokenSpec{
		SiteRef: c.siteRef, User: k.user, Label: k.label, Credential: tokensv1alpha1.Credential{Type: c.kind}, Access: c.access, State: c.state,
	}
}

// apiToken returns the APIToken, without the parts that the portal does not show. It returns nil for nil.
func (k *keptToken) apiToken() *tokensv1alpha1.APIToken {
	if k == nil {
		return nil
	}
	t := &tokensv1alpha1.APIToken{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: k.common.Value().namespace, Name: k.name, UID: types.UID(k.uid), CreationTimestamp: metav1.NewTime(time.Unix(k.created, 0)),
		},
		Status: tokensv1alpha1.APITokenStatus{LastAccessedFrom: k.usedFrom},
	}
	if t.Spec = k.usualSpec(); k.spec != nil {
		t.Spec = *k.spec
	}
	if k.used != 0 {
		t.Status.LastAccessedTime = metav1.NewTime(time.Unix(k.used, 0))
	}
	if ready := k.common.Value().ready; ready != "" {
		t.Status.Conditions = []metav1.Condition{{Type: tokensv1alpha1.ConditionReady, Reason: ready}}
	}
	return t
}

func (k *keptToken) namespacedName() types.NamespacedName {
	return types.NamespacedName{Namespace: k.common.Value().namespace, Name: k.name}
}

func (k *keptToken) owner() owner {
	c := k.common.Value()
	site := authn.SiteName{Namespace: c.siteRef.Namespace, Name: c.siteRef.Name}
	if site.Namespace == "" {
		site.Namespace = c.namespace
	}
	return owner{site, username.Fold(k.user)}
}

// Summary is what an APIToken is searched by.
type Summary struct {
	types.NamespacedName

	UID         string
	User, Label string
	Created     time.Time
}

// keptTokens are the APITokens of the portal, by what requests are about.
type keptTokens struct {
	mu      sync.RWMutex
	byName  map[types.NamespacedName]*keptToken
	byUID   map[string]*keptToken
	byOwner map[owner][]*keptToken
	bySite  map[authn.SiteName]map[*keptToken]struct{}
}

func newKeptTokens() *keptTokens {
	return &keptTokens{
		byName: map[types.NamespacedName]*keptToken{}, byUID: map[string]*keptToken{}, byOwner: map[owner][]*keptToken{},
		bySite: map[authn.SiteName]map[*keptToken]struct{}{},
	}
}

// put adds or replaces an APIToken.
func (a *keptTokens) put(t *keptToken) {
	a.mu.Lock()
	defer a.mu.Unlock()
	name, of := t.namespacedName(), t.owner()
	a.forget(a.byName[name])
	a.byName[name], a.byUID[t.uid] = t, t
	a.byOwner[of] = append(a.byOwner[of], t)
	if a.bySite[of.site] == nil {
		a.bySite[of.site] = map[*keptToken]struct{}{}
	}
	a.bySite[of.site][t] = struct{}{}
}

// remove removes an APIToken, unless another one has its name by now.
func (a *keptTokens) remove(gone key) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if t := a.byName[gone.NamespacedName]; t != nil && t.uid == string(gone.uid) {
		a.forget(t)
	}
}

// forget removes an APIToken, which may be nil. The caller holds the lock.
func (a *keptTokens) forget(t *keptToken) {
	if t == nil {
		return
	}
	of := t.owner()
	delete(a.byName, t.namespacedName())
	if a.byUID[t.uid] == t {
		delete(a.byUID, t.uid)
	}
	if a.byOwner[of] = slices.DeleteFunc(a.byOwner[of], func(other *keptToken) bool { return other == t }); len(a.byOwner[of]) == 0 {
		delete(a.byOwner, of)
	}
	if delete(a.bySite[of.site], t); len(a.bySite[of.site]) == 0 {
		delete(a.bySite, of.site)
	}
}

func (a *keptTokens) named(name types.NamespacedName) *keptToken {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.byName[name]
}

func (a *keptTokens) withUID(uid string) *keptToken {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.byUID[uid]
}

func (a *keptTokens) ownedBy(o owner) []*tokensv1alpha1.APIToken {
	a.mu.RLock()
	defer a.mu.RUnlock()
	found := make([]*tokensv1alpha1.APIToken, 0, len(a.byOwner[o]))
	for _, t := range a.byOwner[o] {
		found = append(found, t.apiToken())
	}
	return found
}

// ofSite holds the lock only to list the tokens, which never change: nothing waits while yield looks at very many.
func (a *keptTokens) ofSite(site authn.SiteName, yield func(Summary) bool) {
	a.mu.RLock()
	all := slices.AppendSeq(make([]*keptToken, 0, len(a.bySite[site])), maps.Keys(a.bySite[site]))
	a.mu.RUnlock()
	for _, t := range all {
		if !yield(Summary{NamespacedName: t.namespacedName(), UID: t.uid, User: t.user, Label: t.label, Created: time.Unix(t.created, 0)}) {
			return
		}
	}
}

// keys returns the keys of the APITokens of a namespace, or of all.
func (a *keptTokens) keys(namespace string) (all []key) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	for name, t := range a.byName {
		if namespace == "" || name.Namespace == namespace {
			all = append(all, key{name, types.UID(t.uid)})
		}
	}
	return all
}
