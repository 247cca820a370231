package tokens

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The marks of what GitOps tools apply.
const (
	fluxKustomization = "kustomize.toolkit.fluxcd.io/name"
	fluxHelmRelease   = "helm.toolkit.fluxcd.io/name"
	argoTracking      = "argocd.argoproj.io/tracking-id"
	argoInstance      = "argocd.argoproj.io/instance"
)

// managedBy says which GitOps tool declares an object, or nothing. Such a tool makes a deleted object again.
func managedBy(o metav1.Object) string {
	for _, mark := range []struct{ value, tool string }{
		{o.GetLabels()[fluxKustomization], "Flux, Kustomization "},
		{o.GetLabels()[fluxHelmRelease], "Flux, HelmRelease "},
		{o.GetLabels()[argoInstance], "Argo CD, application "},
		{o.GetAnnotations()[argoTracking], "Argo CD, "},
	} {
		if mark.value != "" {
			return mark.tool + mark.value
		}
	}
	return ""
}
