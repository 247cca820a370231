package apitoken

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/internal/apierror"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/recordstore"
)

const (
	// orphanedSince is the annotation with the time at which a record was first seen without its APIToken.
	orphanedSince = "apitokens.dev/orphaned-since"
	// orphanRetention is how long such a record is kept. In that time somebody notices that a restore from a backup gave every
	// APIToken a new UID. The record does not authenticate.
	orphanRetention = 30 * 24 * time.Hour
	// sweepPeriod is how often each record is checked for its APIToken, whether a deletion was observed or not.
	sweepPeriod = 5 * time.Minute
)

// Orphans sweeps all records. It marks the records of APITokens whose deletion was not observed, and removes them after
// orphanRetention.
type Orphans struct {
	Client    client.Client
	Live      client.Reader
	Events    events.EventRecorder
	Clock     clock.PassiveClock
	Namespace string
	// Deletions are shared with the Cleaner, which removes their records.
	Deletions *Deletions
}

// SetupWithManager adds it to the manager.
func (r *Orphans) SetupWithManager(mgr ctrl.Manager, workers int) error {
	records := predicate.NewPredicateFuncs(func(o client.Object) bool {
		s, ok := o.(*corev1.Secret)
		return ok && s.Namespace == r.Namespace && s.Type == record.SecretType
	})
	err := ctrl.NewControllerManagedBy(mgr).
		Named("apitoken-orphans").
		For(&corev1.Secret{}, builder.WithPredicates(records)).
		WithOptions(controller.Options{MaxConcurrentReconciles: workers, ReconciliationTimeout: reconcileTimeout}).
		Complete(reconcile.AsReconciler(mgr.GetClient(), r))
	if err != nil {
		return fmt.Errorf("setting up the controller of orphaned records: %w", err)
	}
	return nil
}

// Reconcile implements reconcile.ObjectReconciler.
func (r *Orphans) Reconcile(ctx context.Context, stored *corev1.Secret) (ctrl.Result, error) {
	decoded, err := recordstore.Decode(stored)
	if err != nil {
		return ctrl.Result{}, nil // its APIToken is unknown; it does not authenticate, and stays
	}
	again, err := r.look(ctx, stored, decoded)
	switch {
	case apierror.IsRace(err):
		return ctrl.Result{RequeueAfter: retryPeriod}, nil
	case errors.Is(err, errRefused) || apierror.EmitRefusal(ctx, r.Events, stored, err):
		return ctrl.Result{RequeueAfter: recheckPeriod}, nil
	}
	return ctrl.Result{RequeueAfter: again}, err
}

func (r *Orphans) look(ctx context.Context, stored *corev1.Secret, decoded *record.Record) (time.Duration, error) {
	owner, err := r.owner(ctx, types.UID(stored.Name), decoded.APIToken)
	if err != nil {
		return 0, err
	}
	since, marked := stored.Annotations[orphanedSince]
	switch {
	case owner && marked:
		return sweepPeriod, r.mark(ctx, stored, "")
	case owner, !marked && r.Deletions.has(types.UID(stored.Name)):
		return sweepPeriod, nil
	}
	seen, err := time.Parse(time.RFC3339, since)
	if err != nil {
		if err := r.mark(ctx, stored, r.Clock.Now().UTC().Format(time.RFC3339)); err != nil {
			return 0, err
		}
		r.Events.Eventf(stored, nil, corev1.EventTypeWarning, tokensv1alpha1.ReasonRecordOrphaned, "Keep",
			"APIToken '%s' in namespace '%s', of token %s, is gone, and its deletion was not seen: the record is dead, and kept for %d days. "+
				"If there was a restore from a backup, repair it (see docs/how-to/restore.md).",
			decoded.APIToken.Name, decoded.APIToken.Namespace, decoded.TokenID, orphanRetention/(24*time.Hour))
		return sweepPeriod, nil
	}
	if r.Clock.Since(seen) < orphanRetention {
		return sweepPeriod, nil
	}
	return 0, r.remove(ctx, stored, decoded)
}

// owner reports whether the APIToken of a record exists. It trusts only the API server that it does not.
func (r *Orphans) owner(ctx context.Context, uid types.UID, ref record.Ref) (bool, error) {
	for _, reader := range []client.Reader{r.Client, r.Live} {
		var t tokensv1alpha1.APIToken
		err := reader.Get(ctx, client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name}, &t)
		if err != nil && !apierrors.IsNotFound(err) {
			return false, fmt.Errorf("reading the APIToken of a record: %w", err)
		}
		if err == nil && t.UID == uid {
			return true, nil
		}
	}
	return false, nil
}

// mark sets the annotation orphanedSince, or removes it if since is empty.
func (r *Orphans) mark(ctx context.Context, stored *corev1.Secret, since string) error {
	marked := stored.DeepCopy()
	if since == "" {
		delete(marked.Annotations, orphanedSince)
	} else {
		if marked.Annotations == nil {
			marked.Annotations = map[string]string{}
		}
		marked.Annotations[orphanedSince] = since
	}
	if err := r.Client.Update(ctx, marked); err != nil {
		return fmt.Errorf("marking an orphaned record: %w", err)
	}
	return nil
}

// remove removes the Secrets of an APIToken that is gone for orphanRetention. It leaves a delivered Secret that another
// APIToken delivers to by now.
func (r *Orphans) remove(ctx context.Context, stored *corev1.Secret, decoded *record.Record) error {
	var inUse tokensv1alpha1.APITokenList
	if err := r.Client.List(ctx, &inUse, client.InNamespace(decoded.APIToken.Namespace)); err != nil {
		return fmt.Errorf("listing APITokens: %w", err)
	}
	cleaner := Cleaner{Client: r.Client, Live: r.Live, Events: r.Events, Namespace: r.Namespace}
	gone := Gone{types.NamespacedName{Namespace: decoded.APIToken.Namespace, Name: decoded.APIToken.Name}, types.UID(stored.Name)}
	for i := range inUse.Items {
		if inUse.Items[i].Spec.Delivery.SecretName == decoded.DeliverySecret {
			if err := cleaner.remove(ctx, stored); err != nil {
				return fmt.Errorf("removing an orphaned record: %w", err)
			}
			return nil
		}
	}
	return cleaner.clean(ctx, gone)
}
