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
	"apitokens.dev/operator/internal/projection"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/upstream"
)

// key tells two objects apart that had the same name one after the other.
type key struct {
	types.NamespacedName
	uid types.UID
}

func keyOf(o client.Object) key {
	return key{types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}, o.GetUID()}
}

// store turns objects of one kind into what the index joins.
type store interface {
	// put adds or replaces. An object that cannot be read is an error, and removed.
	put(client.Object) error
	remove(key)
	keys() []key
}

// typed is a store of objects T, of which the index keeps what is known by an I.
type typed[T client.Object, I comparable] struct {
	// known are the objects that are in the index, and as what.
	known map[key]I
	// read puts an object into the index and returns what it is known by there.
	read func(T) (I, error)
	// forget removes it from the index.
	forget func(I)
}

// errEnded says that an object is there, but counts for none.
var errEnded = errors.New("it does not count")

func (s *typed[T, I]) put(o client.Object) error {
	object, ok := o.(T)
	if !ok {
		return fmt.Errorf("unexpected type %T", o)
	}
	k := keyOf(o)
	id, err := s.read(object)
	if err != nil {
		s.remove(k)
		if errors.Is(err, errEnded) {
			return nil
		}
		return err
	}
	if old, ok := s.known[k]; ok && old != id {
		s.forget(old)
	}
	s.known[k] = id
	return nil
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
				return "", errEnded
			}
			token, err := readToken(t)
			if err != nil {
				return "", err
			}
			ix.PutToken(token)
			return token.UID, nil
		},
	}
}

func newSites(ix *authn.Index) store {
	return &typed[*tokensv1alpha1.AtlassianSite, authn.SiteName]{
		known:  map[key]authn.SiteName{},
		forget: ix.DeleteSite,
		read: func(s *tokensv1alpha1.AtlassianSite) (authn.SiteName, error) {
			if !s.DeletionTimestamp.IsZero() {
				return authn.SiteName{}, errEnded
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
			ix.PutRecord(s.Name, r)
			return s.Name, nil
		},
	}
}

// errMisnamed says that a Secret claims to be about something that another name is for.
var errMisnamed = errors.New("the name of the Secret does not go with what it holds")

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
			ix.PutCallerKeys(name, k.Keys)
			return name, nil
		},
	}
}

func newLicenses(ix *authn.Index, v *license.Verifier) store {
	return &typed[*corev1.Secret, authn.SiteName]{
		known:  map[key]authn.SiteName{},
		forget: ix.DeleteLicense,
		read: func(s *corev1.Secret) (authn.SiteName, error) {
			p, err := projection.Decode(s.Data[projection.DataKey])
			if err != nil {
				return authn.SiteName{}, err
			}
			if p.SecretName() != s.Name {
				return authn.SiteName{}, errMisnamed
			}
			name := authn.SiteName{Namespace: p.Namespace, Name: p.Site}
			ix.PutLicense(name, readLicense(v, p.License))
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
				return owner{}, errEnded // the product accepts it no longer: as if there were none
			}
			o := owner{authn.SiteName{Namespace: c.Namespace, Name: c.Site}, c.User}
			ix.PutUpstreamCredential(authn.UpstreamCredential{Site: o.site, User: o.user, Authorization: c.Authorization(), Origin: c.Origin})
			return o, nil
		},
	}
}
