package feed

import (
	"errors"
	"fmt"
	"maps"
	"slices"

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

// store puts objects of one kind into the index.
type store interface {
	// put adds or replaces an object. One that cannot be read is removed, and put returns an error.
	put(client.Object) error
	remove(key)
	keys() []key
}

// typed is a store of objects of type T. The index identifies each of them by an I.
type typed[T client.Object, I comparable] struct {
	// known has the objects in the index, with their I.
	known map[key]I
	// read puts an object into the index and returns its I. With an error, it returns an I only if a part is in the index.
	read func(T) (I, error)
	// forget removes it from the index.
	forget func(I)
}

// errInactive says that an object exists but does not count.
var errInactive = errors.New("it does not count")

func (s *typed[T, I]) put(o client.Object) error {
	object, ok := o.(T)
	if !ok {
		return fmt.Errorf("unexpected type %T", o)
	}
	k := keyOf(o)
	var none I
	id, err := s.read(object)
	if errors.Is(err, errInactive) {
		s.remove(k)
		return nil
	}
	if id == none {
		s.remove(k)
		return err
	}
	if old, ok := s.known[k]; ok && old != id {
		s.forget(old)
	}
	s.known[k] = id
	return err
}

func (s *typed[T, I]) remove(k key) {
	if id, ok := s.known[k]; ok {
		delete(s.known, k)
		s.forget(id)
	}
}

func (s *typed[T, I]) keys() []key { return slices.Collect(maps.Keys(s.known)) }

func newTokens(ix *authn.Index) store {
	return &typed[*tokensv1alpha1.APIToken, string]{
		known:  map[key]string{},
		forget: ix.DeleteToken,
		read: func(t *tokensv1alpha1.APIToken) (string, error) {
			if !t.DeletionTimestamp.IsZero() {
				return "", errInactive
			}
			token, err := readToken(t)
			if err != nil {
				// It agrees with no record. Without it, its record would seem to be that of a deleted APIToken.
				token = authn.Token{UID: string(t.UID)}
			}
			ix.PutToken(token)
			return token.UID, err
		},
	}
}

func newSites(ix *authn.Index) store {
	return &typed[*tokensv1alpha1.AtlassianSite, authn.SiteName]{
		known:  map[key]authn.SiteName{},
		forget: ix.DeleteSite,
		read: func(s *tokensv1alpha1.AtlassianSite) (authn.SiteName, error) {
			if !s.DeletionTimestamp.IsZero() {
				return authn.SiteName{}, errInactive
			}
			site, err := readSite(s)
			if err != nil {
				return authn.SiteName{}, err
			}
			ix.PutSite(site)
			return site.Name, nil
		},
	}
}

func newNamespaces(ix *authn.Index) store {
	return &typed[*metav1.PartialObjectMetadata, string]{
		known:  map[key]string{},
		forget: ix.DeleteNamespace,
		read: func(n *metav1.PartialObjectMetadata) (string, error) {
			ix.PutNamespace(n.Name, n.Labels)
			return n.Name, nil
		},
	}
}

func newRecords(ix *authn.Index) store {
	return &typed[*corev1.Secret, string]{
		known:  map[key]string{},
		forget: ix.DeleteRecord,
		read: func(s *corev1.Secret) (string, error) {
			r, err := record.Decode(s.Data[record.DataKey])
			if err != nil {
				return "", err
			}
			slimRecord(r)
			ix.PutRecord(s.Name, r)
			return s.Name, nil
		},
	}
}

// errMisnamed says that a Secret does not have the name that its content requires.
var errMisnamed = errors.New("the name of the Secret does not match its content")

func newCallerKeys(ix *authn.Index) store {
	return &typed[*corev1.Secret, authn.SiteName]{
		known:  map[key]authn.SiteName{},
		forget: ix.DeleteCallerKeys,
		read: func(s *corev1.Secret) (authn.SiteName, error) {
			k, err := authurl.DecodeKeys(s.Data[authurl.KeysDataKey])
			if err != nil {
				return authn.SiteName{}, err
			}
			if k.SecretName() != s.Name {
				return authn.SiteName{}, errMisnamed
			}
			name := authn.SiteName{Namespace: k.Namespace, Name: k.Site}
			if !k.Served {
				return authn.SiteName{}, errInactive // kept for later, and no caller may use them
			}
			ix.PutCallerKeys(name, k.Keys, k.Ends)
			return name, nil
		},
	}
}

func newProbeKeys(ix *authn.Index) store {
	return &typed[*corev1.Secret, authn.SiteName]{
		known:  map[key]authn.SiteName{},
		forget: ix.DeleteProbeKey,
		read: func(s *corev1.Secret) (authn.SiteName, error) {
			k, err := probe.Decode(s.Data[probe.DataKey])
			if err != nil {
				return authn.SiteName{}, err
			}
			if k.SecretName() != s.Name {
				return authn.SiteName{}, errMisnamed
			}
			name := authn.SiteName{Namespace: k.Namespace, Name: k.Site}
			ix.PutProbeKey(name, k)
			return name, nil
		},
	}
}

// newProjections puts into the index what is remembered about sites, the authorities of their gateways, and their licences. No
// site needs one if v is nil.
func newProjections(ix *authn.Index, v *license.Verifier) store {
	return &typed[*corev1.Secret, authn.SiteName]{
		known: map[key]authn.SiteName{},
		forget: func(name authn.SiteName) {
			ix.DeleteMemory(name)
			ix.DeleteLicense(name)
			ix.DeleteCallerAuthorities(name)
		},
		read: func(s *corev1.Secret) (authn.SiteName, error) {
			p, err := projection.Decode(s.Data[projection.DataKey])
			if err != nil {
				return authn.SiteName{}, err
			}
			if p.SecretName() != s.Name {
				return authn.SiteName{}, errMisnamed
			}
			name := authn.SiteName{Namespace: p.Namespace, Name: p.Site}
			ix.PutMemory(name, authn.Memory{UID: p.UID, IssuedAfter: p.IssuedAfter})
			// The site says in its conditions why they cannot be read. Then nobody may call.
			callers, _ := trust.Parse([]byte(p.CallerCAs))
			ix.PutCallerAuthorities(name, callers)
			if v != nil {
				ix.PutLicense(name, readLicense(v, p.License))
			}
			return name, nil
		},
	}
}

// owner is a user at a site.
type owner struct {
	site authn.SiteName
	user string
}

func newCredentials(ix *authn.Index) store {
	return &typed[*corev1.Secret, owner]{
		known:  map[key]owner{},
		forget: func(o owner) { ix.DeleteUpstreamCredential(o.site, o.user) },
		read: func(s *corev1.Secret) (owner, error) {
			c, err := upstream.Decode(s.Data[upstream.DataKey])
			if err != nil {
				return owner{}, err
			}
			if c.SecretName() != s.Name {
				return owner{}, errMisnamed
			}
			if !c.Usable() {
				return owner{}, errInactive // the product does not accept it any more
			}
			o := owner{authn.SiteName{Namespace: c.Namespace, Name: c.Site}, c.User}
			ix.PutUpstreamCredential(authn.UpstreamCredential{Site: o.site, User: o.user, UserKey: c.UserKey, Authorization: c.Authorization(), Origin: c.Origin})
			return o, nil
		},
	}
}
