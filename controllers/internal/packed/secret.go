package packed

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"unique"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"apitokens.dev/operator/internal/record"
)

// secret is a Secret with one value. Another one stays as it is.
type secret struct {
	readOnly

	// parts are, in the form of writer: name, UID, version, the time of creation in seconds since 1970, the value of the label with the
	// token id or an empty text, the annotations in the form of joined, and the texts of the value in the frame of the shape.
	parts string
	shape unique.Handle[secretShape]
	// whole is the Secret itself if it says more than that. Then shape has its namespace and type, and only the first three parts are
	// there.
	whole *corev1.Secret
}

// secretShape is the part of a Secret that many have in common.
type secretShape struct {
	namespace string
	kind      corev1.SecretType
	// key is the key of the value, and frame that of takeApart. labels are in the form of joined, without the token id.
	key, frame, labels string
}

func packSecret(s *corev1.Secret) *secret {
	s.ManagedFields = nil
	var parts writer
	parts.text(s.Name)
	parts.text(string(s.UID))
	parts.text(s.ResourceVersion)
	tokenID, labelled := s.Labels[record.LabelTokenID]
	if !isUsual(s.ObjectMeta) || len(s.Data) != 1 || len(s.StringData) > 0 || s.Immutable != nil || labelled && tokenID == "" {
		return &secret{parts: string(parts), shape: unique.Make(secretShape{namespace: s.Namespace, kind: s.Type}), whole: s}
	}
	parts.number(seconds(s.CreationTimestamp))
	parts.text(tokenID)
	parts.text(joined(s.Annotations, ""))
	shape := secretShape{namespace: s.Namespace, kind: s.Type, labels: joined(s.Labels, record.LabelTokenID)}
	for key, value := range s.Data {
		var values []string
		shape.key = key
		shape.frame, values = takeApart(string(value))
		for _, text := range values {
			parts.text(text)
		}
	}
	return &secret{parts: string(parts), shape: unique.Make(shape)}
}

// isUsual reports whether the metadata of an object says no more than a packed object does.
func isUsual(m metav1.ObjectMeta) bool {
	if !isInSeconds(m.CreationTimestamp) || !isSplittable(m.Labels) || !isSplittable(m.Annotations) {
		return false
	}
	m.Namespace, m.Name, m.UID, m.ResourceVersion = "", "", "", ""
	m.CreationTimestamp, m.Labels, m.Annotations = metav1.Time{}, nil, nil
	return reflect.ValueOf(m).IsZero()
}

// unpack returns the Secret.
func (p *secret) unpack() *corev1.Secret {
	if p.whole != nil {
		return p.whole.DeepCopy()
	}
	shape, parts := p.shape.Value(), reader(p.parts)
	s := &corev1.Secret{Type: shape.kind}
	s.Namespace, s.Name, s.UID, s.ResourceVersion = shape.namespace, parts.text(), types.UID(parts.text()), parts.text()
	s.CreationTimestamp = instant(parts.number())
	s.Labels = labelsOf(shape, parts.text())
	s.Annotations = split(parts.text())
	s.Data = map[string][]byte{shape.key: assemble(shape.frame, &parts)}
	return s
}

func labelsOf(shape secretShape, tokenID string) map[string]string {
	labels := split(shape.labels)
	if tokenID != "" {
		if labels == nil {
			labels = map[string]string{}
		}
		labels[record.LabelTokenID] = tokenID
	}
	return labels
}

// joined returns labels or annotations as one text, without the one with the name except.
func joined(all map[string]string, except string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if name != except {
			b.WriteString(name + "\x00" + all[name] + "\x00")
		}
	}
	return b.String()
}

// isSplittable reports whether joined loses nothing.
func isSplittable(all map[string]string) bool {
	for name, value := range all {
		if strings.Contains(name, "\x00") || strings.Contains(value, "\x00") {
			return false
		}
	}
	return true
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

// identity returns the name, the UID and the version.
func (p *secret) identity() (name, uid, version string) {
	parts := reader(p.parts)
	return parts.text(), parts.text(), parts.text()
}

// meta returns the metadata.
func (p *secret) meta() metav1.ObjectMeta {
	if p.whole != nil {
		return p.whole.ObjectMeta
	}
	return p.unpack().ObjectMeta
}

func (p *secret) secretType() corev1.SecretType { return p.shape.Value().kind }

// DeepCopyObject implements client.Object, as do the others. The copy is the Secret.
func (p *secret) DeepCopyObject() runtime.Object { return p.unpack() }

func (p *secret) GetNamespace() string               { return p.shape.Value().namespace }
func (p *secret) GetName() string                    { name, _, _ := p.identity(); return name }
func (p *secret) GetUID() types.UID                  { _, uid, _ := p.identity(); return types.UID(uid) }
func (p *secret) GetResourceVersion() string         { _, _, version := p.identity(); return version }
func (p *secret) GetLabels() map[string]string       { return p.meta().Labels }
func (p *secret) GetAnnotations() map[string]string  { return p.meta().Annotations }
func (p *secret) GetCreationTimestamp() metav1.Time  { return p.meta().CreationTimestamp }
func (p *secret) GetDeletionTimestamp() *metav1.Time { return p.meta().DeletionTimestamp }

// GetGeneration returns 0 for Secrets that the API server sends: they have no generation.
func (p *secret) GetGeneration() int64 { return p.meta().Generation }
