package apitoken

import (
	"context"
	"errors"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/source"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/internal/apierror"
	"apitokens.dev/operator/controllers/internal/watch"
	"apitokens.dev/operator/internal/audit"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/recordstore"
)

// Gone is an APIToken whose deletion was observed. Its UID distinguishes it from a later one of the same name.
type Gone struct {
	types.NamespacedName

	UID types.UID
}

// Cleaner removes the delivered Secret of a deleted APIToken, and marks its record dead. The record says for 30 days why the token
// is refused. Then Orphans removes it.
//
// There are no owner references: the record is in another namespace. After a restore from a backup, with new UIDs, garbage
// collection would delete everything. There are no finalizers: a deletion must not wait for the operator. So the Cleaner
// acts only on deletions that it observed. Orphans keeps the other records without an APIToken.
type Cleaner struct {
	Client    client.Client
	Live      client.Reader
	Events    events.EventRecorder
	Clock     clock.PassiveClock
	Namespace string
	// Deletions are shared with Orphans.
	Deletions *Deletions
}

// Deletions are observed deletions of APITokens whose Secrets are not removed yet. A nil Deletions is empty.
type Deletions struct{ uids sync.Map }

func (d *Deletions) add(uid types.UID) {
	if d != nil {
		d.uids.Store(uid, true)
	}
}

func (d *Deletions) done(uid types.UID) {
	if d != nil {
		d.uids.Delete(uid)
	}
}

func (d *Deletions) has(uid types.UID) bool {
	if d == nil {
		return false
	}
	_, has := d.uids.Load(uid)
	return has
}

// observed notes a deletion that was observed.
func (c *Cleaner) observed(t client.Object) Gone {
	c.Deletions.add(t.GetUID())
	return Gone{client.ObjectKeyFromObject(t), t.GetUID()}
}

// SetupWithManager adds the cleaner to the manager.
func (c *Cleaner) SetupWithManager(mgr ctrl.Manager, workers int) error {
	err := builder.TypedControllerManagedBy[Gone](mgr).
		Named("apitoken-cleanup").
		WatchesRawSource(source.TypedKind(mgr.GetCache(), client.Object(&tokensv1alpha1.APIToken{}), c.observer())).
		WithOptions(controller.TypedOptions[Gone]{MaxConcurrentReconciles: workers, ReconciliationTimeout: reconcileTimeout}).
		Complete(c)
	if err != nil {
		return fmt.Errorf("setting up the clean-up of APITokens: %w", err)
	}
	return nil
}

// observer enqueues deletions. An update with another UID means that the earlier APIToken of this name was deleted.
func (c *Cleaner) observer() handler.TypedEventHandler[client.Object, Gone] {
	return handler.TypedFuncs[client.Object, Gone]{
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q workqueue.TypedRateLimitingInterface[Gone]) {
			q.Add(c.observed(e.Object))
		},
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q workqueue.TypedRateLimitingInterface[Gone]) {
			if watch.Replaced(e.ObjectOld, e.ObjectNew) {
				q.Add(c.observed(e.ObjectOld))
			}
		},
	}
}

// Reconcile implements reconcile.TypedReconciler.
func (c *Cleaner) Reconcile(ctx context.Context, g Gone) (ctrl.Result, error) {
	err := c.clean(ctx, g)
	if err == nil {
		c.Deletions.done(g.UID)
	}
	switch {
	case apierror.IsRace(err):
		return ctrl.Result{RequeueAfter: retryPeriod}, nil
	case errors.Is(err, errRefused):
		return ctrl.Result{RequeueAfter: recheckPeriod}, nil
	default:
		return ctrl.Result{}, err
	}
}

// errRefused means that an Event reports a refused write.
var errRefused = errors.New("the API server refuses to remove a Secret")

func (c *Cleaner) clean(ctx context.Context, g Gone) error {
	stored, err := getSecret(ctx, c.Live, c.Namespace, string(g.UID))
	if err != nil {
		return fmt.Errorf("reading the record: %w", err)
	}
	if stored == nil || stored.Type != record.SecretType {
		return nil
	}
	err = c.bury(ctx, g, stored)
	if apierror.EmitRefusal(ctx, c.Events, stored, err) {
		return errRefused
	}
	return err
}

// bury removes the delivered Secret, and then marks the record dead. It removes a record that says nothing about this APIToken:
// one that cannot be read, or one of another APIToken that was copied here by mistake, with the name of that one's delivered Secret.
func (c *Cleaner) bury(ctx context.Context, g Gone, stored *corev1.Secret) error {
	if exists, err := c.exists(ctx, g); err != nil || exists {
		return err
	}
	r, err := recordstore.Decode(stored)
	if err != nil || r.APIToken != (record.Ref{Namespace: g.Namespace, Name: g.Name}) {
		if err := c.remove(ctx, stored); err != nil {
			return fmt.Errorf("removing the record: %w", err)
		}
		return nil
	}
	if err := c.removeDelivered(ctx, g, r); err != nil || !r.Dead.IsZero() {
		return err
	}
	r.Kill(c.Clock.Now())
	delete(stored.Annotations, orphanedSince)
	if err := (recordstore.Store{Client: c.Client}).Update(ctx, stored, r); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("marking the record dead: %w", err)
	}
	ctrl.LoggerFrom(ctx).Info("Cleaned up after a deleted APIToken, and marked its record dead",
		"action", audit.Revoked, "tokenID", r.TokenID, "user", r.User)
	return nil
}

// exists asks the API server whether the APIToken with this UID still exists.
func (c *Cleaner) exists(ctx context.Context, g Gone) (bool, error) {
	var t tokensv1alpha1.APIToken
	err := c.Live.Get(ctx, g.NamespacedName, &t)
	if err != nil && !apierrors.IsNotFound(err) {
		return false, fmt.Errorf("reading the APIToken: %w", err)
	}
	return err == nil && t.UID == g.UID, nil
}

// removeDelivered removes the delivered Secret if it holds a token of this record. Every other Secret is somebody else's.
func (c *Cleaner) removeDelivered(ctx context.Context, g Gone, r *record.Record) error {
	if r.DeliverySecret == "" {
		return nil // an imported secret was never ours
	}
	s, err := getSecret(ctx, c.Live, g.Namespace, r.DeliverySecret)
	if err != nil {
		return fmt.Errorf("reading the delivered Secret: %w", err)
	}
	if s == nil {
		return nil
	}
	if !inspect(s, r).ours() {
		ctrl.LoggerFrom(ctx).Info("Leaving a Secret alone that does not hold the token", "secret", r.DeliverySecret)
		return nil
	}
	if err := c.remove(ctx, s); err != nil {
		return fmt.Errorf("removing the delivered Secret: %w", err)
	}
	return nil
}

// remove deletes exactly the version that was read.
func (c *Cleaner) remove(ctx context.Context, s *corev1.Secret) error {
	return client.IgnoreNotFound(c.Client.Delete(ctx, s, client.Preconditions{UID: &s.UID, ResourceVersion: &s.ResourceVersion}))
}
