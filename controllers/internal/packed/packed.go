// Package packed keeps the many APITokens and Secrets in the controllers' cache in a fraction of their memory. The cache returns
// copies, and a packed object is unpacked when it is copied: readers get the object as the API server sent it, but for its field
// managers. So nobody may ask the cache not to copy.
package packed

import (
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

// Transform is the transform of a cache. It packs APITokens and Secrets, and drops the field managers of everything.
func Transform(object any) (any, error) {
	o, ok := object.(client.Object)
	if !ok {
		return object, nil
	}
	switch o := o.(type) {
	case *token, *secret:
		return o, nil // a transform may see an object twice
	case *tokensv1alpha1.APIToken:
		return packToken(o), nil
	case *corev1.Secret:
		return packSecret(o), nil
	}
	o.SetManagedFields(nil)
	return o, nil
}

// APIToken returns the APIToken that an event shows. It returns nil for another object.
func APIToken(o client.Object) *tokensv1alpha1.APIToken {
	switch o := o.(type) {
	case *token:
		return o.unpack()
	case *tokensv1alpha1.APIToken:
		return o
	}
	return nil
}

// Secret returns the Secret that an event shows. It returns nil for another object.
func Secret(o client.Object) *corev1.Secret {
	switch o := o.(type) {
	case *secret:
		return o.unpack()
	case *corev1.Secret:
		return o
	}
	return nil
}

// SecretType returns the type of the Secret that an event shows, at less cost. It is empty for another object.
func SecretType(o client.Object) corev1.SecretType {
	switch o := o.(type) {
	case *secret:
		return o.secretType()
	case *corev1.Secret:
		return o.Type
	}
	return ""
}
