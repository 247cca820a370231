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
	"apitokens.dev/operator/internal/audit"
)

// report writes the status once, if it differs, and then emits Events.
func (r *Reconciler) report(ctx context.Context, t *tokensv1alpha1.APIToken, o outcome) error {
	status := r.status(t, o)
	if !equality.Semantic.DeepEqual(status, t.Status) {
		apply := tokensac.APITokenStatus().WithConditions(conditions.ToApply(status.Conditions)...).WithObservedGeneration(status.ObservedGeneration)
		if status.TokenID != "" {
			apply.WithTokenID(status.TokenID)
		}
		setTime(status.IssuedTime, apply.WithIssuedTime)
		setTime(status.ExpirationTime, apply.WithExpirationTime)
		setTime(status.NextRotationTime, apply.WithNextRotationTime)
		if err := r.writeStatus(ctx, t, apply); err != nil {
			return client.IgnoreNotFound(fmt.Errorf("writing the status: %w", err))
		}
	}
	r.emitEvents(ctx, t, o)
	return nil
}

// status returns the status after a pass. It keeps the token id when the record is gone, so that the delivered token can be
// recognised. It keeps the last access too, which only the gateway writes.
func (r *Reconciler) status(t *tokensv1alpha1.APIToken, o outcome) tokensv1alpha1.APITokenStatus {
	status := tokensv1alpha1.APITokenStatus{
		ObservedGeneration: t.Generation, TokenID: t.Status.TokenID, IssuedTime: t.Status.IssuedTime,
		LastAccessedTime: t.Status.LastAccessedTime, LastAccessedFrom: t.Status.LastAccessedFrom,
	}
	if rec := o.state.record; rec != nil && recordAgrees(o.state) == nil {
		newest := rec.Entries[len(rec.Entries)-1]
		status.TokenID, status.IssuedTime = rec.TokenID, seconds(newest.Issued)
	}
	found := []metav1.Condition{o.ready()}
	stored := slices.Clone(t.Status.Conditions)
	if o.stalled() {
		found = append(found, conditions.Stalled(o.ready()))
	} else {
		apimeta.RemoveStatusCondition(&stored, tokensv1alpha1.ConditionStalled)
	}
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

// isReported reports whether the status of an APIToken says already why it is not ready.
func isReported(t *tokensv1alpha1.APIToken, d decision) bool {
	c := apimeta.FindStatusCondition(t.Status.Conditions, tokensv1alpha1.ConditionReady)
	return c != nil && c.Status == metav1.ConditionFalse && c.Reason == d.reason && c.Message == d.message && c.ObservedGeneration == t.Generation
}

func setTime(t metav1.Time, set func(metav1.Time) *tokensac.APITokenStatusApplyConfiguration) {
	if !t.IsZero() {
		set(t)
	}
}

// seconds rounds down to the seconds that a status stores.
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

// unstalled are the reasons not to be ready that need no person: somebody asked for that state, or time or another object
// ends it.
var unstalled = []string{
	tokensv1alpha1.ReasonSuspended, tokensv1alpha1.ReasonExpired, tokensv1alpha1.ReasonUserBlocked,
	tokensv1alpha1.ReasonSiteNotFound, tokensv1alpha1.ReasonSourceMissing, tokensv1alpha1.ReasonIssuePending, tokensv1alpha1.ReasonEpochPending,
}

// stalled reports whether the token is not ready until a person changes something.
func (o outcome) stalled() bool {
	return o.decision.step == blocked && !slices.Contains(unstalled, o.decision.reason)
}

// emitEvents emits an Event for a new secret of a token that had one before, for an imported one, for each expiry notice, and for a
// problem that a person has to solve and that is new in this pass. It also logs new secrets.
func (r *Reconciler) emitEvents(ctx context.Context, t *tokensv1alpha1.APIToken, o outcome) {
	// The new secret may not be in place: somebody else's Secret came first, or the record is gone.
	if o.minted != none && o.state.inPlace() {
		rec := o.state.record
		did := audit.Created
		if o.minted != issue {
			did = audit.Rotated // also a delivery that was lost, and a later value of an imported secret
		}
		ctrl.LoggerFrom(ctx).Info("Made a token secret",
			"action", did, "step", o.minted.String(), "tokenID", rec.TokenID, "user", rec.User, "site", rec.Site.Name)
		if o.minted != issue { // the condition of a new token says that it is issued
			reason, action, note := o.made()
			r.Events.Eventf(t, nil, corev1.EventTypeNormal, reason, action, "%s", conditions.Note(note))
		}
	}
	if c := o.state.expiring(r.ExpiryNotices); c != nil && c.Status == metav1.ConditionTrue {
		before := apimeta.FindStatusCondition(t.Status.Conditions, c.Type)
		if before == nil || before.Message != c.Message {
			r.Events.Eventf(t, nil, corev1.EventTypeWarning, c.Reason, "Notify", "%s", conditions.Note(c.Message))
		}
	}
	before := apimeta.FindStatusCondition(t.Status.Conditions, tokensv1alpha1.ConditionReady)
	changed := before == nil || before.Message != o.decision.message
	if refusal := o.state.refusal(rotate, annotate, learn, confirm, repair); refusal != "" && o.decision.step == settled && changed {
		r.Events.Eventf(t, nil, corev1.EventTypeWarning, tokensv1alpha1.ReasonWriteRefused, "Reconcile", "%s", conditions.Note(refusal))
	}
	passes := o.decision.reason == tokensv1alpha1.ReasonIssuePending // soon, without a person's help
	if o.decision.step == blocked && !passes && (before == nil || before.Reason != o.decision.reason) {
		r.Events.Eventf(t, nil, corev1.EventTypeWarning, o.decision.reason, "Reconcile", "%s", conditions.Note(o.decision.message))
	}
}

// made returns reason, action and note of the Event for a new secret.
func (o outcome) made() (reason, action, note string) {
	id, secret := o.state.record.TokenID, o.state.secretName()
	switch o.minted {
	case reissue:
		return tokensv1alpha1.ReasonReissued, "Reissue",
			fmt.Sprintf("Secret '%s' was gone: delivered a new secret of token %s. The one before it is dead.", secret, id)
	case rotate:
		return tokensv1alpha1.ReasonRotated, "Rotate", fmt.Sprintf("Delivered a new secret of token %s to Secret '%s'. %s", id, secret, o.state.replacedSecret())
	default: // adopt
		return tokensv1alpha1.ReasonImported, "Import", fmt.Sprintf("Imported what lies in Secret '%s' as token %s.", secret, id)
	}
}
