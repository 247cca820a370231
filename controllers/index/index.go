// Package index has the indexes of the controllers' cache. No event and no pass goes through all objects of a kind: it asks for
// those that it is about.
package index

import (
	"context"
	"fmt"
	"hash/fnv"
	"iter"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/internal/packed"
	"apitokens.dev/operator/internal/enrolment"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/recordstore"
	"apitokens.dev/operator/internal/upstream"
	"apitokens.dev/operator/internal/username"
)

// The names of the indexes, for client.MatchingFields.
const (
	// BySite has the APITokens by Site.
	BySite = "site"
	// ByOwner has the APITokens by Owner.
	ByOwner = "owner"
	// ByParent has the APITokens that a token created, by the namespace of that token.
	ByParent = "parent"
	// BySecret has the APITokens by the namespace and name of the Secret that they deliver into or import from.
	BySecret = "secret"
	// ByToken has the records by the namespace and name of their APIToken.
	ByToken = "apiToken"
	// ByImporter has the records of living imported tokens by Owner.
	ByImporter = "importer"
	// ByPart has the records by part. Records selects by it.
	ByPart = "part"
	// ByKept has the Secrets about personal access tokens that are kept for a site, by type, Site and part. Kept selects by it.
	ByKept = "kept"
)

// Site is the key of a site.
func Site(namespace, name string) string { return namespace + "/" + name }

// Owner is the key of a user at a site. user is folded. The key is unique: names of objects have no slash.
func Owner(namespace, site, user string) string { return namespace + "/" + site + "/" + user }

// Secret is the key of a Secret with a token.
func Secret(namespace, name string) string { return namespace + "/" + name }

// SecretName returns the name of the Secret that an APIToken delivers into or imports from. It is empty for one of the portal.
func SecretName(t *tokensv1alpha1.APIToken) string {
	if imported := t.Spec.Credential.Imported; imported != nil {
		return imported.SecretName
	}
	return t.Spec.Delivery.SecretName
}

// RecordParts is the number of parts in which Records selects.
const RecordParts = 300

// Records selects a part of the records. Who goes through all of them needs no list of their names.
func Records(part int) client.MatchingFields {
	return client.MatchingFields{ByPart: strconv.Itoa(part)}
}

// partOf returns which of some parts an object belongs to.
func partOf(o client.Object, parts uint32) uint32 {
	name := fnv.New32a()
	_, _ = name.Write([]byte(o.GetName())) // never fails
	return name.Sum32() % parts
}

// parts is the number of parts in which Kept selects.
const parts = 16

// Kept selects the Secrets of a type that are kept for a site: working copies, intakes or enrolments. Each of its values selects a
// part of them. There may be very many, and a reader gets a copy of each.
func Kept(secretType corev1.SecretType, site types.NamespacedName) iter.Seq[client.MatchingFields] {
	return func(yield func(client.MatchingFields) bool) {
		for part := range uint32(parts) {
			if !yield(client.MatchingFields{ByKept: kept(secretType, site.Namespace, site.Name, part)}) {
				return
			}
		}
	}
}

// IsKept reports whether Kept selects a Secret.
func IsKept(s *corev1.Secret, secretType corev1.SecretType, site types.NamespacedName) bool {
	return s.Type == secretType && s.Labels[record.LabelSiteNamespace] == site.Namespace && s.Labels[record.LabelSite] == site.Name
}

func kept(secretType corev1.SecretType, namespace, site string, part uint32) string {
	return fmt.Sprintf("%s/%s/%d", secretType, Site(namespace, site), part)
}

// Keys are the functions of the indexes by their names. An object with an empty key is not in the index.
var Keys = map[string]func(client.Object) string{
	BySite: ofToken(func(t *tokensv1alpha1.APIToken) string { return Site(t.SiteNamespace(), t.Spec.SiteRef.Name) }),
	ByOwner: ofToken(func(t *tokensv1alpha1.APIToken) string {
		return Owner(t.SiteNamespace(), t.Spec.SiteRef.Name, username.Fold(t.Spec.User))
	}),
	ByParent: ofToken(func(t *tokensv1alpha1.APIToken) string { return t.Spec.CreatedBy.Namespace }),
	BySecret: ofToken(func(t *tokensv1alpha1.APIToken) string {
		if name := SecretName(t); name != "" {
			return Secret(t.Namespace, name)
		}
		return ""
	}),
	ByToken: ofRecord(func(r *record.Record) string { return r.APIToken.Namespace + "/" + r.APIToken.Name }),
	ByImporter: ofRecord(func(r *record.Record) string {
		if !r.Imported || !r.Dead.IsZero() {
			return ""
		}
		return Owner(r.Site.Namespace, r.Site.Name, r.User)
	}),
	ByPart: func(o client.Object) string {
		if packed.SecretType(o) != record.SecretType {
			return ""
		}
		return strconv.Itoa(int(partOf(o, RecordParts)))
	},
	ByKept: ofKept,
}

// ofKept goes by the labels, as kubectl would.
func ofKept(o client.Object) string {
	switch secretType := packed.SecretType(o); secretType {
	case upstream.SecretType, upstream.IntakeType, enrolment.SecretType:
		labels := o.GetLabels()
		return kept(secretType, labels[record.LabelSiteNamespace], labels[record.LabelSite], partOf(o, parts))
	default:
		return ""
	}
}

func ofToken(key func(*tokensv1alpha1.APIToken) string) func(client.Object) string {
	return func(o client.Object) string {
		if t := packed.APIToken(o); t != nil {
			return key(t)
		}
		return ""
	}
}

// ofRecord leaves out Secrets that hold no record.
func ofRecord(key func(*record.Record) string) func(client.Object) string {
	return func(o client.Object) string {
		if packed.SecretType(o) != record.SecretType {
			return ""
		}
		r, err := recordstore.Decode(packed.Secret(o))
		if err != nil {
			return ""
		}
		return key(r)
	}
}

// ofSecrets are the indexes of Secrets. Readers ask for those of one namespace.
var ofSecrets = []string{ByToken, ByImporter, ByPart, ByKept}

// AddTo adds the indexes to the informers of a cache, before it starts, all but BySecret.
func AddTo(ctx context.Context, to cache.Cache) error {
	for name := range Keys {
		if name == BySecret {
			continue
		}
		if err := add(ctx, to, name); err != nil {
			return err
		}
	}
	return nil
}

// AddSecretsTo adds the index BySecret, which only those need who watch these Secrets.
func AddSecretsTo(ctx context.Context, to cache.Cache) error { return add(ctx, to, BySecret) }

// add adds an index. It answers as if by IndexField, but each object has one key and not two: readers name the namespace of Secrets,
// and none of APITokens. There are very many of both.
func add(ctx context.Context, to cache.Cache, name string) error {
	var of client.Object = &tokensv1alpha1.APIToken{}
	prefix := func(client.Object) string { return allNamespaces }
	if slices.Contains(ofSecrets, name) {
		of, prefix = &corev1.Secret{}, client.Object.GetNamespace
	}
	informer, err := to.GetInformer(ctx, of, cache.BlockUntilSynced(false))
	if err == nil {
		err = informer.AddIndexers(toolscache.Indexers{"field:" + name: keyed(prefix, Keys[name])})
	}
	if err != nil {
		return fmt.Errorf("indexing by %s: %w", name, err)
	}
	return nil
}

// allNamespaces is the namespace by which the reader of the cache asks for objects of all.
const allNamespaces = "__all_namespaces"

func keyed(prefix, key func(client.Object) string) toolscache.IndexFunc {
	return func(object any) ([]string, error) {
		o, ok := object.(client.Object)
		if !ok {
			return nil, fmt.Errorf("indexing a %T: it is no object", object)
		}
		if k := key(o); k != "" {
			return []string{prefix(o) + "/" + k}, nil
		}
		return nil, nil
	}
}

// Of returns the keys of an object as a cache wants them.
func Of(key func(client.Object) string) client.IndexerFunc {
	return func(o client.Object) []string {
		if k := key(o); k != "" {
			return []string{k}
		}
		return nil
	}
}
