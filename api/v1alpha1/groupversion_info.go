// Package v1alpha1 is version v1alpha1 of the apitokens.dev API: AtlassianSite and APIToken.
//
// +kubebuilder:object:generate=true
// +kubebuilder:ac:generate=true
// +kubebuilder:ac:output:package="applyconfiguration"
// +groupName=apitokens.dev
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	// GroupVersion is the group and version of the objects in this package.
	GroupVersion = schema.GroupVersion{Group: "apitokens.dev", Version: "v1alpha1"}
	// SchemeGroupVersion is GroupVersion under the name that generated code asks for.
	SchemeGroupVersion = GroupVersion
	// SchemeBuilder collects what AddToScheme registers.
	SchemeBuilder = runtime.NewSchemeBuilder(addKnownTypes)
	// AddToScheme registers the types of this package.
	AddToScheme = SchemeBuilder.AddToScheme
)

func addKnownTypes(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion, &APIToken{}, &APITokenList{}, &AtlassianSite{}, &AtlassianSiteList{})
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
