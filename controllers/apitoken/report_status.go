package apitoken

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	tokensac "apitokens.dev/operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"apitokens.dev/operator/controllers/internal/conditions"
)

// writeStatus applies a status to the APIToken as it was when the pass began. If only the last access changed meanwhile,
// it applies the status to the newer version: a busy token would never get a status otherwise.
func (r *Reconciler) writeStatus(ctx context.Context, t *tokensv1alpha1.APIToken, status *tokensac.APITokenStatusApplyConfiguration) error {
	apply := func(version string) error {
		object := tokensac.APIToken(t.Name, t.Namespace).WithUID(t.UID).WithResourceVersion(version).WithStatus(status)
		return conditions.Apply(ctx, r.Client, object, t.Malformed != "")
	}
	err := apply(t.ResourceVersion)
	if !apierrors.IsConflict(err) {
		return err
	}
	var now tokensv1alpha1.APIToken
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(t), &now); err != nil {
		return fmt.Errorf("reading the APIToken again: %w", err)
	}
	if !onlyUsed(t, &now) {
		return err
	}
	return apply(now.ResourceVersion)
}

// onlyUsed reports whether before and now differ in the last access alone.
func onlyUsed(before, now *tokensv1alpha1.APIToken) bool {
	ours := func(s tokensv1alpha1.APITokenStatus) tokensv1alpha1.APITokenStatus {
		s.LastAccessedTime, s.LastAccessedFrom = metav1.Time{}, ""
		return s
	}
	return now.UID == before.UID && now.Generation == before.Generation && equality.Semantic.DeepEqual(ours(now.Status), ours(before.Status))
}
