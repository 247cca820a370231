package packed

import (
	"maps"
	"slices"
	"strings"
	"unique"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"apitokens.dev/operator/internal/record"
)

// secret is a Secret with one value. Another one stays as it is.
type secret struct {
	readOnly

	name, uid, version string
	// tokenID is the value of the label with it, or empty. annotations are in the form of joined.
	tokenID, annotations string
	value                string
	created              int64 // seconds since 1970
	shape                unique.Handle[secretShape]
	// whole is the Secret itself if it says more than that. Then shape has its namespace and type, and only the first three texts are
	// set.
	whole *corev1.Secret
}

// secretShape is the part of a Secret that many have in common.
type secretShape struct {
	namespace string
	kind      corev1.SecretType
	// key is the key of the value. labels are in the form of joined, without the token id.
	key, labels string
}

func packSecret(s *corev1.Secret) *secret {
	s.ManagedFields = nil
	p := &secret{
		name: s.Name, uid: string(s.UID), version: s.ResourceVersion, tokenID: s.Labels[record.LabelTokenID], annotations: joined(s.Annotations, ""),
		created: seconds(s.CreationTimestamp),
	}
	shape := secretShape{namespace: s.Namespace, kind: s.Type, labels: joined(s.Labels, record.LabelTokenID)}
	for key, value := range s.Data {
		shape.key, p.value = key, string(value)
	}
	p.shape = unique.Make(shape)
	if u := p.unpack(); !equality.Semantic.DeepEqual(u.ObjectMeta, s.ObjectMeta) || !equality.Semantic.DeepEqual(u.Data, s.Data) ||
		len(s.StringData) > 0 || s.Immutable != nil {
		return &secret{name: p.name, uid: p.uid, version: p.version, shape: unique.Make(secretShape{namespace: s.Namespace, kind: s.Type}), whole: s}
	}
	return p
}

// unpack returns the Secret.
func (p *secret) unpack() *corev1.Secret {
	if p.whole != nil {
		return p.whole.DeepCopy()
	}
	shape := p.shape.Value()
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: shape.namespace, Name: p.name, UID: types.UID(p.uid), ResourceVersion: p.version, CreationTimestamp: instant(p.created),
			Labels: p.GetLabels(), Annotations: p.GetAnnotations(),
		},
		Type: shape.kind, Data: map[string][]byte{shape.key: []byte(p.value)},
	}
}

// joined returns labels or annotations as one text, without the one with the name except. The names and values have no zero byte, or
// come out otherwise than they went in.
func joined(all map[string]string, except string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if name != except {
			b.WriteString(name + "\x00" + all[name] + "\x00")
		}
	}
	return b.String()
}

// split is the inverse of joined. It returns nil for nothing.
func split(text string) map[string]string {
	var all map[string]string
	for text != "" {
		var name, value string
		name, text, _ = strings.Cut(text, "\x00")
		value, text, _ = strings.Cut(text, "\x00")
		if all == nil {
			all = map[string]string{}
		}
		all[name] = value
	}
	return all
}

func (p *secret) secretType() corev1.SecretType { return p.shape.Value().kind }

// DeepCopyObject implements client.Object, as do the others. The copy is the Secret.
func (p *secret) DeepCopyObject() runtime.Object { return p.unpack() }

func (p *secret) GetNamespace() string       { return p.shape.Value().namespace }
func (p *secret) GetName() string            { return p.name }
func (p *secret) GetUID() types.UID          { return types.UID(p.uid) }
func (p *secret) GetResourceVersion() string { return p.version }

// GetGeneration returns 0 for Secrets that the API server sends: they have no generation.
func (p *secret) GetGeneration() int64 {
	if p.whole != nil {
		return p.whole.Generation
	}
	return 0
}

func (p *secret) GetLabels() map[string]string {
	if p.whole != nil {
		return p.whole.Labels
	}
	labels := split(p.shape.Value().labels)
	if p.tokenID != "" {
		if labels == nil {
			labels = map[string]string{}
		}
		labels[record.LabelTokenID] = p.tokenID
	}
	return labels
}

func (p *secret) GetAnnotations() map[string]string {
	if p.whole != nil {
		return p.whole.Annotations
	}
	return split(p.annotations)
}

func (p *secret) GetDeletionTimestamp() *metav1.Time {
	if p.whole != nil {
		return p.whole.DeletionTimestamp
	}
	return nil
}

func (p *secret) GetCreationTimestamp() metav1.Time {
	if p.whole != nil {
		return p.whole.CreationTimestamp
	}
	return instant(p.created)
}
