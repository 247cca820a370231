package site

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	tokensac "apitokens.dev/operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"apitokens.dev/operator/controllers/internal/conditions"
)

// report writes the status once, if it differs, then emits Events for what a person has to do. The Events about personal
// access tokens come first and in any case: they are found once, and the change is stored already.
func (r *Reconciler) report(ctx context.Context, s *tokensv1alpha1.AtlassianSite, o outcome) error {
	for _, e := range o.credentials.Events {
		r.Events.Eventf(s, nil, corev1.EventTypeWarning, e.Reason, "Check", "%s", conditions.Note(e.Note))
	}
	status := o.status(s, metav1.NewTime(r.Clock.Now()))
	if len(status.Conditions) > 0 && !equality.Semantic.DeepEqual(status, s.Status) {
		apply := tokensac.AtlassianSiteStatus().WithConditions(conditions.ToApply(status.Conditions)...).WithObservedGeneration(status.ObservedGeneration)
		if status.AuthURLSecretName != "" {
			apply.WithAuthURLSecretName(status.AuthURLSecretName)
		}
		object := tokensac.AtlassianSite(s.Name, s.Namespace).WithUID(s.UID).WithResourceVersion(s.ResourceVersion).WithStatus(apply)
		if err := conditions.Apply(ctx, r.Client, object, s.Malformed != ""); err != nil {
			return client.IgnoreNotFound(fmt.Errorf("writing the status: %w", err))
		}
	}
	r.emitEvents(s, status.Conditions)
	return nil
}

// status returns the new status. Conditions that the pass did not get to stay. For a site that is not served, they go.
func (o outcome) status(s *tokensv1alpha1.AtlassianSite, now metav1.Time) tokensv1alpha1.AtlassianSiteStatus {
	status := tokensv1alpha1.AtlassianSiteStatus{
		Conditions:         conditions.Merge(s.Status.Conditions, now, s.Generation, o.conditions(s)...),
		ObservedGeneration: s.Generation,
		AuthURLSecretName:  s.Status.AuthURLSecretName,
	}
	if o.problem == nil && o.probed {
		apimeta.RemoveStatusCondition(&status.Conditions, tokensv1alpha1.ConditionStalled)
	}
	if !o.licenses || o.problem != nil {
		apimeta.RemoveStatusCondition(&status.Conditions, tokensv1alpha1.ConditionLicensed)
	}
	switch {
	case o.problem != nil:
		status.AuthURLSecretName = ""
		apimeta.RemoveStatusCondition(&status.Conditions, tokensv1alpha1.ConditionUpstreamReachable)
		apimeta.RemoveStatusCondition(&status.Conditions, tokensv1alpha1.ConditionUpstreamCredentialsReady)
	case o.authURLName != "":
		status.AuthURLSecretName = o.authURLName
	}
	return status
}

// conditions returns the conditions that the pass got to.
func (o outcome) conditions(s *tokensv1alpha1.AtlassianSite) []metav1.Condition {
	var found []metav1.Condition
	add := func(conditionType string, ok bool, reason, message string) {
		c := metav1.Condition{Type: conditionType, Status: metav1.ConditionFalse, Reason: reason, Message: message}
		if ok {
			c.Status = metav1.ConditionTrue
		}
		found = append(found, c)
	}
	switch {
	case o.problem != nil:
		add(tokensv1alpha1.ConditionReady, false, o.problem.reason, o.problem.message)
		found = append(found, conditions.Stalled(found[0])) // each problem needs a person
	case o.probed:
		add(tokensv1alpha1.ConditionReady, true, tokensv1alpha1.ReasonServing,
			fmt.Sprintf("The webhook answers for this site. The auth URLs for its ingress are in Secret '%s'.", o.authURLName))
	}
	if o.probed {
		reason, message := reachability(s.Spec, o.probe)
		add(tokensv1alpha1.ConditionUpstreamReachable, o.probe == nil, reason, message)
	}
	if o.checked {
		ok, reason, message := o.credentials.Condition()
		add(tokensv1alpha1.ConditionUpstreamCredentialsReady, ok, reason, message)
	}
	if l := o.licensing; l != nil {
		add(tokensv1alpha1.ConditionLicensed, l.reason == tokensv1alpha1.ReasonLicenseValid, l.reason, l.message)
	}
	return found
}

// emitEvents emits an Event for each condition that became False, and for a site that became Ready.
func (r *Reconciler) emitEvents(s *tokensv1alpha1.AtlassianSite, now []metav1.Condition) {
	for _, c := range now {
		before := apimeta.FindStatusCondition(s.Status.Conditions, c.Type)
		changed := before == nil || before.Status != c.Status || before.Reason != c.Reason
		switch {
		case !changed:
		case c.Status == metav1.ConditionFalse:
			r.Events.Eventf(s, nil, corev1.EventTypeWarning, c.Reason, "Reconcile", "%s", conditions.Note(c.Message))
		case c.Type == tokensv1alpha1.ConditionReady:
			r.Events.Eventf(s, nil, corev1.EventTypeNormal, c.Reason, "Reconcile", "%s", conditions.Note(c.Message))
		}
	}
}
