package apitoken

import (
	"context"
	"fmt"
	"slices"
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
)

// report writes the status once, if it differs, and then tells by Event what has happened.
func (r *Reconciler) report(ctx context.Context, t *tokensv1alpha1.APIToken, o outcome) error {
	status := r.status(t, o)
	if !equality.Semantic.DeepEqual(status, t.Status) {
		apply := tokensac.APITokenStatus().WithConditions(conditions.ToApply(status.Conditions)...)
		if status.TokenID != "" {
			apply.WithTokenID(status.TokenID)
		}
		setTime(status.IssuedTime, apply.WithIssuedTime)
		setTime(status.ExpirationTime, apply.WithExpirationTime)
		setTime(status.NextRotationTime, apply.WithNextRotationTime)
		if err := r.write(ctx, t, apply); err != nil {
			return client.IgnoreNotFound(fmt.Errorf("writing the status: %w", err))
		}
	}
	r.tell(ctx, t, o)
	return nil
}

// status is what was observed. The id of a record that is gone is kept: it tells whose the delivered token was.
// So is the last access, which is the webhook's: it is neither applied nor a difference.
func (r *Reconciler) status(t *tokensv1alpha1.APIToken, o outcome) tokensv1alpha1.APITokenStatus {
	status := tokensv1alpha1.APITokenStatus{
		TokenID: t.Status.TokenID, IssuedTime: t.Status.IssuedTime,
		LastAccessedTime: t.Status.LastAccessedTime, LastAccessedFrom: t.Status.LastAccessedFrom,
	}
	if rec := o.state.record; rec != nil && recordAgrees(o.state) == nil {
		newest := rec.Entries[len(rec.Entries)-1]
		status.TokenID, status.IssuedTime = rec.TokenID, seconds(newest.Issued)
	}
	found := []metav1.Condition{o.ready()}
	stored := slices.Clone(t.Status.Conditions)
	if o.state.site != nil {
		status.ExpirationTime, status.NextRotationTime = seconds(o.state.end()), seconds(o.state.nextRotation())
	}
	if c := o.state.expiring(r.ExpiryNotices); c != nil {
		found = append(found, *c)
	} else {
		apimeta.RemoveStatusCondition(&stored, tokensv1alpha1.ConditionExpiring)
	}
	status.Conditions = conditions.Merge(stored, metav1.NewTime(r.Clock.Now()), t.Generation, found...)
	return status
}

func setTime(t metav1.Time, set func(metav1.Time) *tokensac.APITokenStatusApplyConfiguration) {
	if !t.IsZero() {
		set(t)
	}
}

// seconds is all that a status has.
func seconds(t time.Time) metav1.Time {
	if t.IsZero() {
		return metav1.Time{}
	}
	return metav1.NewTime(t).Rfc3339Copy()
}

func (o outcome) ready() metav1.Condition {
	c := metav1.Condition{
		Type: tokensv1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: o.decision.reason, Message: o.decision.message,
	}
	if o.decision.step == settled {
		c.Status = metav1.ConditionTrue
	}
	return c
}

// tell says what this pass did, and what it is that a person has to do now and did not have to do before.
func (r *Reconciler) tell(ctx context.Context, t *tokensv1alpha1.APIToken, o outcome) {
	// What was made may not be what lies there: somebody's Secret came first, or the record went.
	if o.minted != blocked && o.state.inPlace() {
		reason, action, note := o.made()
		ctrl.LoggerFrom(ctx).Info(reason+" a token", "tokenID", o.state.record.TokenID, "user", o.state.record.User, "site", o.state.record.Site.Name)
		r.Events.Eventf(t, nil, corev1.EventTypeNormal, reason, action, "%s", conditions.Note(note))
	}
	if c := o.state.expiring(r.ExpiryNotices); c != nil && c.Status == metav1.ConditionTrue {
		before := apimeta.FindStatusCondition(t.Status.Conditions, c.Type)
		if before == nil || before.Message != c.Message {
			r.Events.Eventf(t, nil, corev1.EventTypeWarning, c.Reason, "Notify", "%s", conditions.Note(c.Message))
		}
	}
	before := apimeta.FindStatusCondition(t.Status.Conditions, tokensv1alpha1.ConditionReady)
	passes := o.decision.reason == tokensv1alpha1.ReasonIssuePending // by itself, and soon
	if o.decision.step == blocked && !passes && (before == nil || before.Reason != o.decision.reason) {
		r.Events.Eventf(t, nil, corev1.EventTypeWarning, o.decision.reason, "Reconcile", "%s", conditions.Note(o.decision.message))
	}
}

// made says what the step did that made a new secret.
func (o outcome) made() (reason, action, note string) {
	id, secret := o.state.record.TokenID, o.state.secretName()
	switch o.minted {
	case issue:
		return tokensv1alpha1.ReasonIssued, "Issue", fmt.Sprintf("Issued token %s and delivered it to Secret '%s'.", id, secret)
	case reissue:
		return tokensv1alpha1.ReasonReissued, "Reissue",
			fmt.Sprintf("Secret '%s' was gone: delivered a new secret of token %s. The one before it is dead.", secret, id)
	case rotate:
		return tokensv1alpha1.ReasonRotated, "Rotate", fmt.Sprintf("Delivered a new secret of token %s to Secret '%s'. %s", id, secret, o.state.replaced())
	default: // adopt
		return tokensv1alpha1.ReasonImported, "Import", fmt.Sprintf("Imported what lies in Secret '%s' as token %s.", secret, id)
	}
}
