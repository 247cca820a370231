package packed

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// readOnly has the methods of client.Object that a packed object cannot have, or that nobody asks a cached one. Those that would
// change it do nothing: objects in a cache do not change.
type readOnly struct{}

func (readOnly) GetObjectKind() schema.ObjectKind              { return schema.EmptyObjectKind }
func (readOnly) GetGenerateName() string                       { return "" }
func (readOnly) GetSelfLink() string                           { return "" }
func (readOnly) GetDeletionGracePeriodSeconds() *int64         { return nil }
func (readOnly) GetFinalizers() []string                       { return nil }
func (readOnly) GetOwnerReferences() []metav1.OwnerReference   { return nil }
func (readOnly) GetManagedFields() []metav1.ManagedFieldsEntry { return nil }
func (readOnly) SetNamespace(string)                           {}
func (readOnly) SetName(string)                                {}
func (readOnly) SetGenerateName(string)                        {}
func (readOnly) SetUID(types.UID)                              {}
func (readOnly) SetResourceVersion(string)                     {}
func (readOnly) SetGeneration(int64)                           {}
func (readOnly) SetSelfLink(string)                            {}
func (readOnly) SetCreationTimestamp(metav1.Time)              {}
func (readOnly) SetDeletionTimestamp(*metav1.Time)             {}
func (readOnly) SetDeletionGracePeriodSeconds(*int64)          {}
func (readOnly) SetLabels(map[string]string)                   {}
func (readOnly) SetAnnotations(map[string]string)              {}
func (readOnly) SetFinalizers([]string)                        {}
func (readOnly) SetOwnerReferences([]metav1.OwnerReference)    {}
func (readOnly) SetManagedFields([]metav1.ManagedFieldsEntry)  {}
