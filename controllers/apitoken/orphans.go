package apitoken

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	"apitokens.dev/operator/controllers/index"
	"apitokens.dev/operator/controllers/internal/apierror"
	"apitokens.dev/operator/controllers/internal/packed"
	"apitokens.dev/operator/controllers/internal/watch"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/recordstore"
	"apitokens.dev/operator/internal/scope"
)

const (
	// orphanedSince is the annotation with the time at which a record was first seen without its APIToken, although no deletion was
	// seen. It is kept for record.Retention: in that time somebody notices that a restore from a backup gave every APIToken a new
	// UID. The record does not authenticate.
	orphanedSince = "apitokens.dev/orphaned-since"
	// sweepPeriod is how often each record is checked for its APIToken, whether a deletion was observed or not.
	sweepPeriod = 5 * time.Minute
)

// sweep has all records come up, one part of them after the other.
type sweep struct {
	clock     clock.Clock
	cache     client.Reader
	namespace string
	due       chan watch.Due
}

// sweepPerSecond is how many records come up in a second, if there are very many. To look at one only reads the cache, unless it is an
// orphan.
const sweepPerSecond = 50

// Start sweeps until ctx is done.
func (s *sweep) Start(ctx context.Context) error {
	for part := 0; ctx.Err() == nil; part = (part + 1) % index.RecordParts {
		var records corev1.SecretList
		if err := s.cache.List(ctx, &records, client.InNamespace(s.namespace), index.Records(part)); err != nil {
			return fmt.Errorf("listing a part of the records: %w", err)
		}
		for i := range records.Items {
			select {
			case <-ctx.Done():
				return nil
			case s.due <- watch.Due{Object: client.ObjectKeyFromObject(&records.Items[i])}:
			}
		}
		select {
		case <-ctx.Done():
		case <-s.clock.After(max(sweepPeriod/index.RecordParts, time.Duration(len(records.Items))*time.Second/sweepPerSecond)):
		}
	}
	return nil
}

// Orphans sweeps all records. It marks the records of APITokens whose deletion was not observed. It removes these records, and the
// dead ones, after record.Retention, and forgets dead entries then.
type Orphans struct {
	Client    client.Client
	Live      client.Reader
	Events    events.EventRecorder
	Clock     clock.PassiveClock
	Namespace string
	// Deletions are shared with the Cleaner, which marks their records dead.
	Deletions *Deletions
	// Scope are the namespaces whose APITokens can be seen. Records of others are left alone.
	Scope scope.Namespaces

	// sweep has all of them come up again and again. It is nil outside a manager.
	sweep *sweep
	// found are the records that no pass has looked at since the start. It is nil outside a manager.
	found *found
}

// SetupWithManager adds it to the manager, whose cache has the indexes of package index. The clock paces the sweep.
func (r *Orphans) SetupWithManager(mgr ctrl.Manager, workers int, pace clock.Clock) error {
	r.sweep, r.found = &sweep{clock: pace, cache: mgr.GetClient(), namespace: r.Namespace, due: make(chan watch.Due)}, newFound(nil)
	records := predicate.NewPredicateFuncs(func(o client.Object) bool {
		return o.GetNamespace() == r.Namespace && packed.SecretType(o) == record.SecretType
	})
	err := ctrl.NewControllerManagedBy(mgr).
		Named("apitoken-orphans").
		For(&corev1.Secret{}, builder.WithPredicates(predicate.And(records, r.found.noted()))).
		WatchesRawSource(r.found.Source()).WatchesRawSource(watch.Names(r.sweep.due, 0)).
		WithOptions(controller.Options{MaxConcurrentReconciles: workers, ReconciliationTimeout: reconcileTimeout}).
		Complete(reconcile.AsReconciler(mgr.GetClient(), r))
	if err := errors.Join(err, mgr.Add(r.found), mgr.Add(r.sweep)); err != nil {
		return fmt.Errorf("setting up the controller of orphaned records: %w", err)
	}
	return nil
}

// Reconcile implements reconcile.ObjectReconciler.
func (r *Orphans) Reconcile(ctx context.Context, stored *corev1.Secret) (ctrl.Result, error) {
	r.found.take(client.ObjectKeyFromObject(stored))
	decoded, err := recordstore.Decode(stored)
	if err != nil {
		return ctrl.Result{}, nil // its APIToken is unknown; it does not authenticate, and stays
	}
	if !r.Scope.Has(decoded.APIToken.Namespace) {
		return ctrl.Result{}, nil // whether its APIToken exists cannot be seen
	}
	again, err := r.look(ctx, stored, decoded)
	switch {
	case apierror.IsRace(err):
		return ctrl.Result{RequeueAfter: retryPeriod}, nil
	case apierror.EmitRefusal(ctx, r.Events, stored, err):
		return ctrl.Result{RequeueAfter: recheckPeriod}, nil
	}
	return ctrl.Result{RequeueAfter: again}, err
}

// look returns when to look at the record again.
func (r *Orphans) look(ctx context.Context, stored *corev1.Secret, decoded *record.Record) (time.Duration, error) {
	now := r.Clock.Now()
	switch {
	case decoded.RetentionOver(now):
		return 0, r.forget(ctx, stored)
	case !decoded.Dead.IsZero():
		return decoded.Dead.Add(record.Retention).Sub(now), nil
	}
	since, marked := stored.Annotations[orphanedSince]
	seen, err := time.Parse(time.RFC3339, since)
	marked = marked && err == nil
	over := marked && now.Sub(seen) >= record.Retention
	owned, err := r.owned(ctx, types.UID(stored.Name), decoded.APIToken, !marked || over)
	switch {
	case err != nil:
		return 0, err
	case owned:
		return r.sweepLater(), r.tidy(ctx, stored, decoded)
	case over:
		return 0, r.remove(ctx, stored, decoded)
	case marked || r.Deletions.has(types.UID(stored.Name)):
		return r.sweepLater(), nil
	}
	return r.sweepLater(), r.mark(ctx, stored, decoded)
}

// sweepLater returns the time to the next look outside a manager.
func (r *Orphans) sweepLater() time.Duration {
	if r.sweep == nil {
		return sweepPeriod
	}
	return 0
}

// owned reports whether the APIToken of a record exists, by the cache. Only with live does it ask the API server too, before the
// record is taken for an orphan.
func (r *Orphans) owned(ctx context.Context, uid types.UID, ref record.Ref, live bool) (bool, error) {
	readers := []client.Reader{r.Client}
	if live {
		readers = append(readers, r.Live)
	}
	for _, reader := range readers {
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

// tidy removes the mark of an orphan from a record that is none, and dead entries that were kept long enough.
func (r *Orphans) tidy(ctx context.Context, stored *corev1.Secret, decoded *record.Record) error {
	_, marked := stored.Annotations[orphanedSince]
	if pruned := decoded.Prune(r.Clock.Now()); !pruned && !marked {
		return nil
	}
	tidied := stored.DeepCopy()
	delete(tidied.Annotations, orphanedSince)
	return recordstore.Store{Client: r.Client}.Update(ctx, tidied, decoded)
}

// mark marks an orphan, and says so in an Event.
func (r *Orphans) mark(ctx context.Context, stored *corev1.Secret, decoded *record.Record) error {
	marked := stored.DeepCopy()
	metav1.SetMetaDataAnnotation(&marked.ObjectMeta, orphanedSince, r.Clock.Now().UTC().Format(time.RFC3339))
	if err := r.Client.Update(ctx, marked); err != nil {
		return fmt.Errorf("marking an orphaned record: %w", err)
	}
	r.Events.Eventf(stored, nil, corev1.EventTypeWarning, tokensv1alpha1.ReasonRecordOrphaned, "Keep",
		"APIToken '%s' in namespace '%s', of token %s, is gone, and its deletion was not seen: the record is dead, and kept for %d days. "+
			"If there was a restore from a backup, repair it (see docs/how-to/restore.md).",
		decoded.APIToken.Name, decoded.APIToken.Namespace, decoded.TokenID, record.Retention/(24*time.Hour))
	return nil
}

// remove removes the Secrets of an APIToken that is gone for record.Retention. It leaves a delivered Secret that another
// APIToken delivers to by now.
func (r *Orphans) remove(ctx context.Context, stored *corev1.Secret, decoded *record.Record) error {
	var inUse tokensv1alpha1.APITokenList
	if err := r.Client.List(ctx, &inUse, client.InNamespace(decoded.APIToken.Namespace)); err != nil {
		return fmt.Errorf("listing APITokens: %w", err)
	}
	gone := Gone{types.NamespacedName{Namespace: decoded.APIToken.Namespace, Name: decoded.APIToken.Name}, types.UID(stored.Name)}
	if !slices.ContainsFunc(inUse.Items, func(t tokensv1alpha1.APIToken) bool { return t.Spec.Delivery.SecretName == decoded.DeliverySecret }) {
		if err := r.cleaner().removeDelivered(ctx, gone, decoded); err != nil {
			return err
		}
	}
	return r.forget(ctx, stored)
}

// forget removes a record that was kept long enough.
func (r *Orphans) forget(ctx context.Context, stored *corev1.Secret) error {
	if err := r.cleaner().remove(ctx, stored); err != nil {
		return fmt.Errorf("removing a record: %w", err)
	}
	return nil
}

func (r *Orphans) cleaner() *Cleaner {
	return &Cleaner{Client: r.Client, Live: r.Live, Events: r.Events, Clock: r.Clock, Namespace: r.Namespace}
}
