package apitoken

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/handler"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/upstream"
	"apitokens.dev/operator/internal/username"
)

// later has the next pass made after a time, and after everything that changes by then. So tokens that rotate in the same second, as many
// that were applied together do, hold up nobody.
func later(after time.Duration) ctrl.Result {
	if after == 0 {
		return ctrl.Result{}
	}
	return ctrl.Result{RequeueAfter: after, Priority: new(handler.LowPriority)}
}

// lookAgain has the product asked what the token waits for, and puts an APIToken at the end of its rounds. It returns the time to the
// next pass that has to be sooner, or 0.
func (r *Reconciler) lookAgain(name types.NamespacedName, o outcome, waits bool) time.Duration {
	if since := o.state.asksSince(); !since.IsZero() && !o.state.now.Before(since) && r.Ask != nil {
		site := types.NamespacedName{Namespace: o.state.site.Namespace, Name: o.state.site.Name}
		r.Ask(site, upstream.SecretName(site.Namespace, site.Name, username.Fold(o.state.token.Spec.User)), since)
	}
	if o.state.record != nil {
		r.Owners.forget(o.state.token.UID)
	}
	after := o.state.wakeAfter()
	if r.settled == nil || o.state.hasFreshSecret() {
		after = earlier(after, recheckPeriod)
	}
	if r.settled == nil {
		return after
	}
	r.settled.Add(name)
	if waits {
		r.waiting.Add(name)
	} else {
		r.waiting.Remove(name)
	}
	return after
}

// earlier returns the shorter of two times, of which 0 is never.
func earlier(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// waits reports whether a pass left something to do that no event tells of.
func (o outcome) waits() bool {
	return o.decision.step == blocked && !slices.Contains(evented, o.decision.reason) || len(o.state.refused) > 0
}

// evented are the reasons of tokens that wait for nothing that a Secret in their namespace says. A change of the site, or of the
// object that they do wait for, comes as an event.
var evented = []string{
	tokensv1alpha1.ReasonSuspended, tokensv1alpha1.ReasonExpired, tokensv1alpha1.ReasonUpstreamCredentialMissing,
	tokensv1alpha1.ReasonRevokedByEpoch, tokensv1alpha1.ReasonEpochPending, tokensv1alpha1.ReasonDeclaredUnguarded, tokensv1alpha1.ReasonSiteNotFound,
	tokensv1alpha1.ReasonSiteInvalid, tokensv1alpha1.ReasonNamespaceNotAllowed, tokensv1alpha1.ReasonUserBlocked,
	tokensv1alpha1.ReasonOwnerChanged, tokensv1alpha1.ReasonIdentityNotRepresentable,
}

// hasFreshSecret reports whether a secret of the record is so new that another writer may not have seen it.
func (s state) hasFreshSecret() bool {
	return s.record != nil && slices.ContainsFunc(s.record.Entries, func(e record.Entry) bool { return s.now.Sub(e.Issued) < freshness })
}

// wakeAfter returns the time until the passing of time changes something, or 0 if it does not.
func (s state) wakeAfter() (after time.Duration) {
	if s.site == nil {
		return 0
	}
	for _, t := range [...]time.Time{s.end(), s.nextRotation(), s.site.Spec.IssuedAfter.Time, s.asksSince()} {
		if left := t.Sub(s.now); left > 0 {
			after = earlier(after, left)
		}
	}
	return after
}
