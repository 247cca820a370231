package feed

import (
	"crypto/sha256"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/license"
	"apitokens.dev/operator/internal/probe"
	"apitokens.dev/operator/internal/projection"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/trust"
	"apitokens.dev/operator/internal/upstream"
)

// key identifies an object. A later object with the same name has another UID.
type key struct {
	types.NamespacedName
	uid types.UID
}

func keyOf(o client.Object) key {
	return key{types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}, o.GetUID()}
}

// mark stands for an object in a list, which may be very long. It takes 16 bytes, and no two objects of a store have the same.
type mark [16]byte

func markOf(text string) mark {
	sum := sha256.Sum256([]byte(text))
	return mark(sum[:len(mark{})])
}

func (k key) mark() mark { return markOf(k.String() + "/" + string(k.uid)) }

// store puts objects of one kind into the index.
type store interface {
	// parse reads an object. Nothing but what it returns keeps parts of the object.
	parse(client.Object) parsed
	mark(key) mark
	remove(key)
	// retain removes every object that is not in a list of all. Those of the list have been put in.
	retain(list map[mark]bool)
}

// parsed is what was read of an object.
type parsed struct {
	key

	// apply adds or replaces the object, or removes it if it cannot be read or does not count.
	apply func()
	// err says why the object, or a part of it, cannot be read.
	err error
}

// typed is a store of objects of type T. The index identifies each of them by an I.
type typed[T client.Object, I comparable] struct {
	// known has the objects in the index.
	known map[types.NamespacedName]known[I]
	// read returns the I of an object, and what puts it into the index. With an error, it returns an I only if a part is put in.
	read func(T) (I, func(), error)
	// forget removes it from the index.
	forget func(I)
}

// known is an object in the index, with its I.
type known[I comparable] struct {
	uid types.UID
	id  I
}

// errInactive says that an object exists but does not count.
var errInactive = errors.New("it does not count")

func (s *typed[T, I]) parse(o client.Object) parsed {
	k := keyOf(o)
	object, ok := o.(T)
	if !ok {
		return parsed{k, func() {}, fmt.Errorf("unexpected type %T", o)}
	}
	id, put, err := s.read(object)
	if errors.Is(err, errInactive) {
		err = nil
	}
	if put == nil {
		return parsed{k, func() { s.remove(k) }, err}
	}
	return parsed{k, func() {
		put()
		if old, ok := s.known[k.NamespacedName]; ok && old.id != id {
			s.forget(old.id)
		}
		s.known[k.NamespacedName] = known[I]{k.uid, id}
	}, err}
}

// remove removes an object, unless another one has its name by now.
func (s *typed[T, I]) remove(k key) {
	if old, ok := s.known[k.NamespacedName]; ok && old.uid == k.uid {
		delete(s.known, k.NamespacedName)
		s.forget(old.id)
	}
}

func (s *typed[T, I]) mark(k key) mark { return k.mark() }

func (s *typed[T, I]) retain(list map[mark]bool) {
	for name, o := range s.known {
		if k := (key{name, o.uid}); !list[s.mark(k)] {
			s.remove(k)
		}
	}
}

// many is a store of objects of which there may be very many. The index itself knows which it has, by a UID.
type many[T client.Object] struct {
	// read returns what puts an object into the index. With nil, the object is removed.
	read func(T) (func(), error)
	// uidOf returns the UID by which the index knows an object. uids returns those of all.
	uidOf func(key) string
	uids  func() []string
	// forget removes the object with a UID from the index.
	forget func(string)
}

func (s many[T]) parse(o client.Object) parsed {
	k := keyOf(o)
	object, ok := o.(T)
	if !ok {
		return parsed{k, func() {}, fmt.Errorf("unexpected type %T", o)}
	}
	put, err := s.read(object)
	if put == nil {
		put = func() { s.remove(k) }
	}
	return parsed{k, put, err}
}

func (s many[T]) remove(k key) { s.forget(s.uidOf(k)) }

func (s many[T]) mark(k key) mark { return markOf(s.uidOf(k)) }

func (s many[T]) retain(list map[mark]bool) {
	for _, uid := range s.uids() {
		if !list[markOf(uid)] {
			s.forget(uid)
		}
	}
}

// newTokens returns the store of the APITokens of a namespace, or of all.
func newTokens(ix *authn.Index, namespace string) store {
	return many[*tokensv1alpha1.APIToken]{
		uidOf:  func(k key) string { return string(k.uid) },
		uids:   func() []string { return ix.TokenUIDs(namespace) },
		forget: ix.DeleteToken,
		read: func(t *tokensv1alpha1.APIToken) (func(), error) {
			if !t.DeletionTimestamp.IsZero() {
				return nil, nil
			}
			token, err := ReadToken(t)
			if err != nil {
				// It agrees with no record. Without it, its record would seem to be that of a deleted APIToken.
				token = authn.Token{UID: string(t.UID), Namespace: t.Namespace}
			}
			return func() { ix.PutToken(token) }, err
		},
	}
}

func newSites(ix *authn.Index) store {
	return &typed[*tokensv1alpha1.AtlassianSite, authn.SiteName]{
		known:  map[types.NamespacedName]known[authn.SiteName]{},
		forget: ix.DeleteSite,
		read: func(s *tokensv1alpha1.AtlassianSite) (authn.SiteName, func(), error) {
			if !s.DeletionTimestamp.IsZero() {
				return authn.SiteName{}, nil, errInactive
			}
			site, err := ReadSite(s)
			if err != nil {
				return authn.SiteName{}, nil, err
			}
			return site.Name, func() { ix.PutSite(site) }, nil
		},
	}
}

func newNamespaces(ix *authn.Index) store {
	return &typed[*metav1.PartialObjectMetadata, string]{
		known:  map[types.NamespacedName]known[string]{},
		forget: ix.DeleteNamespace,
		read: func(n *metav1.PartialObjectMetadata) (string, func(), error) {
			return n.Name, func() { ix.PutNamespace(n.Name, n.Labels) }, nil
		},
	}
}

func newRecords(ix *authn.Index) many[*corev1.Secret] {
	return many[*corev1.Secret]{
		uidOf:  func(k key) string { return k.Name },
		uids:   ix.RecordUIDs,
		forget: ix.DeleteRecord,
		read: func(s *corev1.Secret) (func(), error) {
			r, err := record.Decode(s.Data[record.DataKey])
			if err != nil {
				return nil, err
			}
			slimRecord(r)
			uid := s.Name
			return func() { ix.PutRecord(uid, r) }, nil
		},
	}
}

// errMisnamed says that a Secret does not have the name that its content requires.
var errMisnamed = errors.New("the name of the Secret does not match its content")

func newCallerKeys(ix *authn.Index) store {
	return &typed[*corev1.Secret, authn.SiteName]{
		known:  map[types.NamespacedName]known[authn.SiteName]{},
		forget: ix.DeleteCallerKeys,
		read: func(s *corev1.Secret) (authn.SiteName, func(), error) {
			k, err := authurl.DecodeKeys(s.Data[authurl.KeysDataKey])
			if err != nil {
				return authn.SiteName{}, nil, err
			}
			if k.SecretName() != s.Name {
				return authn.SiteName{}, nil, errMisnamed
			}
			name := authn.SiteName{Namespace: k.Namespace, Name: k.Site}
			if !k.Served {
				return authn.SiteName{}, nil, errInactive // kept for later, and no caller may use them
			}
			return name, func() { ix.PutCallerKeys(name, k.Keys, k.Ends) }, nil
		},
	}
}

func newProbeKeys(ix *authn.Index) store {
	return &typed[*corev1.Secret, authn.SiteName]{
		known:  map[types.NamespacedName]known[authn.SiteName]{},
		forget: ix.DeleteProbeKey,
		read: func(s *corev1.Secret) (authn.SiteName, func(), error) {
			k, err := probe.Decode(s.Data[probe.DataKey])
			if err != nil {
				return authn.SiteName{}, nil, err
			}
			if k.SecretName() != s.Name {
				return authn.SiteName{}, nil, errMisnamed
			}
			name := authn.SiteName{Namespace: k.Namespace, Name: k.Site}
			return name, func() { ix.PutProbeKey(name, k) }, nil
		},
	}
}

// newProjections puts into the index what is remembered about sites, the authorities of their gateways, and their licences. No
// site needs one if v is nil.
func newProjections(ix *authn.Index, v *license.Verifier) store {
	return &typed[*corev1.Secret, authn.SiteName]{
		known: map[types.NamespacedName]known[authn.SiteName]{},
		forget: func(name authn.SiteName) {
			ix.DeleteMemory(name)
			ix.DeleteLicense(name)
			ix.DeleteCallerAuthorities(name)
		},
		read: func(s *corev1.Secret) (authn.SiteName, func(), error) {
			p, err := projection.Decode(s.Data[projection.DataKey])
			if err != nil {
				return authn.SiteName{}, nil, err
			}
			if p.SecretName() != s.Name {
				return authn.SiteName{}, nil, errMisnamed
			}
			name := authn.SiteName{Namespace: p.Namespace, Name: p.Site}
			return name, func() { putProjection(ix, v, name, p) }, nil
		},
	}
}

func putProjection(ix *authn.Index, v *license.Verifier, name authn.SiteName, p projection.Projection) {
	ix.PutMemory(name, authn.Memory{UID: p.UID, IssuedAfter: p.IssuedAfter})
	// The site says in its conditions why they cannot be read. Then nobody may call.
	callers, _ := trust.Parse([]byte(p.CallerCAs))
	ix.PutCallerAuthorities(name, callers)
	if v != nil {
		ix.PutLicense(name, readLicense(v, p.License))
	}
}

// owner is a user at a site.
type owner struct {
	site authn.SiteName
	user string
}

func newCredentials(ix *authn.Index) store {
	return &typed[*corev1.Secret, owner]{
		known:  map[types.NamespacedName]known[owner]{},
		forget: func(o owner) { ix.DeleteUpstreamCredential(o.site, o.user) },
		read: func(s *corev1.Secret) (owner, func(), error) {
			c, err := upstream.Decode(s.Data[upstream.DataKey])
			if err != nil {
				return owner{}, nil, err
			}
			if c.SecretName() != s.Name {
				return owner{}, nil, errMisnamed
			}
			if !c.Usable() {
				return owner{}, nil, errInactive // the product does not accept it any more
			}
			o := owner{authn.SiteName{Namespace: shared(c.Namespace), Name: shared(c.Site)}, c.User}
			held := authn.UpstreamCredential{Site: o.site, User: o.user, UserKey: c.UserKey, Authorization: c.Authorization(), Origin: shared(c.Origin)}
			return o, func() { ix.PutUpstreamCredential(held) }, nil
		},
	}
}
