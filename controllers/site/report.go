package site

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	tokensac "apitokens.dev/operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"apitokens.dev/operator/controllers/internal/conditions"
	"apitokens.dev/operator/controllers/site/credential"
	"apitokens.dev/operator/internal/terms"
)

// report writes the status once, if it differs, then emits Events for what a person has to do. The Events about personal
// access tokens come first and in any case: they are found once, and the change is stored already.
func (r *Reconciler) report(ctx context.Context, s *tokensv1alpha1.AtlassianSite, o outcome) error {
	for _, e := range o.credentials.Events {
		if !terms.NeedsUpstreamCredentials(s) {
			break // they say that requests are refused
		}
		r.Events.Eventf(s, nil, corev1.EventTypeWarning, e.Reason, "Check", "%s", conditions.Note(e.Note))
	}
	if o.rotated {
		r.Events.Eventf(s, nil, corev1.EventTypeNormal, tokensv1alpha1.ReasonCallerKeysRotated, "Rotate",
			"New caller keys were made. Give the ingress the auth URLs in Secret '%s' within 24 hours: the keys before work until then.", authURLSecretName(s.Name))
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
	r.emitEvents(ctx, s, status.Conditions)
	return nil
}

// status returns the new status. Conditions that the pass did not get to stay. For a site that is not served, they go.
func (o outcome) status(s *tokensv1alpha1.AtlassianSite, now metav1.Time) tokensv1alpha1.AtlassianSiteStatus {
	status := tokensv1alpha1.AtlassianSiteStatus{
		Conditions:         conditions.Merge(s.Status.Conditions, now, s.Generation, o.conditions(s)...),
		ObservedGeneration: s.Generation,
		AuthURLSecretName:  s.Status.AuthURLSecretName,
	}
	if ready, ok := o.ready(s); ok && !isStalled(ready) {
		apimeta.RemoveStatusCondition(&status.Conditions, tokensv1alpha1.ConditionStalled)
	}
	if o.problem != nil || len(s.Spec.Gateways) == 0 && (o.gateways == nil || len(o.gateways.Problems) == 0) {
		apimeta.RemoveStatusCondition(&status.Conditions, tokensv1alpha1.ConditionGatewaysConfigured)
	}
	if !o.licenses || o.problem != nil {
		apimeta.RemoveStatusCondition(&status.Conditions, tokensv1alpha1.ConditionLicensed)
	}
	switch {
	case o.problem != nil:
		if o.problem.reason == tokensv1alpha1.ReasonAuthURLConflict {
			status.AuthURLSecretName = ""
		}
		apimeta.RemoveStatusCondition(&status.Conditions, tokensv1alpha1.ConditionUpstreamReachable)
		apimeta.RemoveStatusCondition(&status.Conditions, tokensv1alpha1.ConditionUpstreamCredentialsReady)
		apimeta.RemoveStatusCondition(&status.Conditions, tokensv1alpha1.ConditionIngressProtected)
	case o.authURLName != "":
		status.AuthURLSecretName = o.authURLName
	}
	return status
}

// conditions returns the conditions that the pass got to.
func (o outcome) conditions(s *tokensv1alpha1.AtlassianSite) []metav1.Condition {
	var found []metav1.Condition
	if ready, ok := o.ready(s); ok {
		found = append(found, ready)
		if isStalled(ready) {
			found = append(found, conditions.Stalled(ready))
		}
	}
	if o.probed {
		found = append(found, o.reachable(s))
	}
	if o.checked {
		ok, reason, message := credentialsReady(s, o.credentials)
		found = append(found, condition(tokensv1alpha1.ConditionUpstreamCredentialsReady, ok, reason, message))
	}
	if o.door != nil {
		found = append(found, o.protected())
	}
	if o.gateways != nil && (len(s.Spec.Gateways) > 0 || len(o.gateways.Problems) > 0) {
		found = append(found, gatewaysCondition(o.gateways))
	}
	if o.guard != nil {
		found = append(found, o.guard.Condition())
	}
	if l := o.licensing; l != nil {
		found = append(found, condition(tokensv1alpha1.ConditionLicensed, l.reason == tokensv1alpha1.ReasonLicenseValid, l.reason, l.message))
	}
	return found
}

// credentialsReady sums up the findings about personal access tokens. A site that hands users over in a header does without them.
func credentialsReady(s *tokensv1alpha1.AtlassianSite, f credential.Findings) (ok bool, reason, message string) {
	if terms.NeedsUpstreamCredentials(s) {
		return f.Condition()
	}
	return true, tokensv1alpha1.ReasonNotNeeded, "The product gets the name of the user in a header (`handoff`), so no personal access token is used."
}

func condition(conditionType string, ok bool, reason, message string) metav1.Condition {
	status := metav1.ConditionFalse
	if ok {
		status = metav1.ConditionTrue
	}
	return metav1.Condition{Type: conditionType, Status: status, Reason: reason, Message: message}
}

// isStalled reports whether a site stays not ready until a person changes something. The product may answer again, and a Secret
// that is missing may still come.
func isStalled(ready metav1.Condition) bool {
	switch ready.Reason {
	case tokensv1alpha1.ReasonNoAnswer, tokensv1alpha1.ReasonCAUnusable, tokensv1alpha1.ReasonCallerAuthoritiesUnusable,
		tokensv1alpha1.ReasonCredentialUnusable, tokensv1alpha1.ReasonGatewayNotInstalled, tokensv1alpha1.ReasonGatewayRouteMissing,
		tokensv1alpha1.ReasonGatewayNotAccepted:
		return false
	default:
		return ready.Status == metav1.ConditionFalse
	}
}

func (o outcome) reachable(s *tokensv1alpha1.AtlassianSite) metav1.Condition {
	reason, message := reachability(s.Spec, o.probe)
	return condition(tokensv1alpha1.ConditionUpstreamReachable, o.probe == nil, reason, message)
}

// ready returns the condition Ready, which a deployment waits for: it is False with the first cause that keeps the site from
// working. ok is false if the pass did not come far enough to say.
func (o outcome) ready(s *tokensv1alpha1.AtlassianSite) (c metav1.Condition, ok bool) {
	notReady := func(reason, message string) (metav1.Condition, bool) {
		return condition(tokensv1alpha1.ConditionReady, false, reason, message), true
	}
	switch {
	case o.problem != nil && o.refusal != "":
		return notReady(o.problem.reason, o.problem.message+" "+o.refusal)
	case o.problem != nil:
		return notReady(o.problem.reason, o.problem.message)
	case o.refusal != "":
		return notReady(tokensv1alpha1.ReasonWriteRefused, o.refusal)
	case o.farAhead:
		return notReady(tokensv1alpha1.ReasonEpochFarAhead, fmt.Sprintf(
			"`issuedAfter` is %s, more than 24 hours ahead: all tokens are dead, and none is issued before that time. It cannot go back. "+
				"If it is a mistake, delete this AtlassianSite and create it again with another time: the operator does not remember this one.",
			s.Spec.IssuedAfter.UTC().Format(time.RFC3339)))
	case o.shut != nil:
		return notReady(o.shut.reason, o.shut.message)
	case o.probe != nil:
		c := o.reachable(s)
		return notReady(c.Reason, c.Message)
	case !o.checked || o.gateways == nil && len(s.Spec.Gateways) > 0:
		return metav1.Condition{}, false
	}
	if ok, reason, message := credentialsReady(s, o.credentials.Blocking(s)); !ok {
		return notReady(reason, message)
	}
	if o.gateways != nil && len(o.gateways.Problems) > 0 {
		c := gatewaysCondition(o.gateways)
		return notReady(c.Reason, c.Message)
	}
	if o.guard != nil && !o.guard.InForce() {
		return notReady(o.guard.Reason, o.guard.Message)
	}
	return condition(tokensv1alpha1.ConditionReady, true, tokensv1alpha1.ReasonServing, o.serving(s)), true
}

// serving returns the message of a site that works.
func (o outcome) serving(s *tokensv1alpha1.AtlassianSite) string {
	message := fmt.Sprintf("The webhook answers for this site. The auth URLs for its ingress are in Secret '%s'.", o.authURLName)
	if o.endpoints.kept {
		message += " They are those of plain HTTP, from before TLS: delete this Secret, and give the ingress the https URLs that come in its place."
	}
	if o.epoch.After(s.Spec.IssuedAfter.Time) {
		message += fmt.Sprintf(" Tokens issued before %s are dead, because of an earlier AtlassianSite of this name.", o.epoch.Format(time.RFC3339))
	}
	if end := o.keys.LastEnd(); !end.IsZero() {
		message += fmt.Sprintf(" The caller keys before those of %s work until %s: give the ingress the new auth URLs before that.",
			o.keys.Made.Format(time.RFC3339), end.Format(time.RFC3339))
	}
	return message
}

// emitEvents logs each change of a condition. It emits an Event for each condition that became False for a reason of its own, for a
// site that became Ready, and for an ingress that became protected, or of which nothing is known any more.
func (r *Reconciler) emitEvents(ctx context.Context, s *tokensv1alpha1.AtlassianSite, now []metav1.Condition) {
	emitted := map[string]bool{}
	for _, c := range now {
		before := apimeta.FindStatusCondition(s.Status.Conditions, c.Type)
		if before == nil || before.Status != c.Status || before.Reason != c.Reason || before.Message != c.Message {
			ctrl.LoggerFrom(ctx).Info("A condition changed", "type", c.Type, "status", c.Status, "reason", c.Reason, "message", c.Message)
		}
		changed := before == nil || before.Status != c.Status || before.Reason != c.Reason
		switch {
		case !changed || emitted[c.Reason]:
		case c.Status == metav1.ConditionFalse:
			emitted[c.Reason] = true
			r.Events.Eventf(s, nil, corev1.EventTypeWarning, c.Reason, "Reconcile", "%s", conditions.Note(c.Message))
		case c.Type == tokensv1alpha1.ConditionReady, c.Type == tokensv1alpha1.ConditionIngressProtected && before != nil:
			r.Events.Eventf(s, nil, corev1.EventTypeNormal, c.Reason, "Reconcile", "%s", conditions.Note(c.Message))
		}
	}
}
