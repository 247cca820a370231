package apitoken

import (
	"cmp"
	"errors"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"apitokens.dev/operator/controllers/internal/watch"
	"apitokens.dev/operator/internal/upstream"
	"apitokens.dev/operator/internal/username"
)

// ownerWait is how long a new token waits for the product to name its owner. Then it is issued without one.
const ownerWait = 5 * time.Second

// askedPeriod is the shortest time for which an answer is remembered.
const askedPeriod = time.Hour

// errOwnerAsked means that a pass waits for the product.
var errOwnerAsked = errors.New("the product is asked whose the personal access token is")

// AskOwner asks the product whose a working copy is. It calls answer once with user key and folded name, or with nothing if there is no
// clear answer.
type AskOwner func(site types.NamespacedName, copyName string, answer func(userKey, name string))

// Owners has the product name the owner of each new token before it is issued, so that its record and its status are written once. The
// question begins after a pass has seen the APIToken. So the answer is newer than the APIToken, whatever the clocks say. The methods of a
// nil one ask nobody.
type Owners struct {
	ask AskOwner

	mu sync.Mutex
	// asked has the answers to questions since turned, and before has those of the period before it. Older ones are forgotten: an APIToken
	// may end without a record, and nobody may see its end.
	asked, before map[types.UID]*ownerAnswer
	turned        time.Time
	// calls are for passes over APITokens.
	calls watch.Calls
}

// ownerAnswer is what the product said. Before it is there, it is empty.
type ownerAnswer struct {
	since         time.Time
	there         bool
	userKey, name string
}

// NewOwners returns one that asks by ask.
func NewOwners(ask AskOwner) *Owners {
	return &Owners{ask: ask, asked: map[types.UID]*ownerAnswer{}}
}

// source has a controller look at APITokens for which there is an answer.
func (o *Owners) source() source.Source {
	if o == nil {
		return new(watch.Calls).Source()
	}
	return o.calls.Source()
}

// await reports whether to wait for the answer of the product before a first secret is made. It asks once for each APIToken.
func (o *Owners) await(s state) bool {
	if o == nil || s.record != nil || !s.ownerIsOpen() || s.isNamed() {
		return false
	}
	uid, name := s.token.UID, client.ObjectKeyFromObject(s.token)
	if a, known := o.get(uid, s.now); known {
		return !a.there && s.now.Sub(a.since) < ownerWait && !a.since.After(s.now)
	}
	site := types.NamespacedName{Namespace: s.site.Namespace, Name: s.site.Name}
	o.ask(site, upstream.SecretName(site.Namespace, site.Name, username.Fold(s.token.Spec.User)), func(userKey, owner string) {
		o.answer(uid, name, userKey, owner)
	})
	a, _ := o.get(uid, s.now) // it may be there at once
	return !a.there
}

// get returns the answer for an APIToken. If nobody has asked, it notes that the caller does, at a time.
func (o *Owners) get(uid types.UID, now time.Time) (a ownerAnswer, known bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if now.Sub(o.turned).Abs() >= askedPeriod { // the clock may step, and of two passes the later one may come first
		o.asked, o.before, o.turned = map[types.UID]*ownerAnswer{}, o.asked, now
	}
	if known := o.find(uid); known != nil {
		return *known, true
	}
	o.asked[uid] = &ownerAnswer{since: now}
	return ownerAnswer{}, false
}

// find returns nil if nobody has asked for an APIToken. The caller holds the lock.
func (o *Owners) find(uid types.UID) *ownerAnswer { return cmp.Or(o.asked[uid], o.before[uid]) }

// answer notes an answer for an APIToken, unless nobody waits for it any more.
func (o *Owners) answer(uid types.UID, name types.NamespacedName, userKey, owner string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if a := o.find(uid); a != nil {
		a.there, a.userKey, a.name = true, userKey, owner
		o.calls.For(name)
	}
}

// confirmed reports whether the product said, asked for an APIToken, that the user with a key has a folded name.
func (o *Owners) confirmed(uid types.UID, userKey, user string) bool {
	if o == nil {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	a := o.find(uid)
	return a != nil && a.there && a.userKey == userKey && a.name == user
}

// forget forgets the answer for an APIToken that has a record.
func (o *Owners) forget(uid types.UID) {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.asked, uid)
	delete(o.before, uid)
}
