package admission

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"apitokens.dev/operator/controllers/internal/apierror"
)

const (
	// recheckPeriod is how often the policies are read. They are not watched: RBAC cannot limit a watch to some names. A gap
	// between two readings is seen by the UID and the generation.
	recheckPeriod = 5 * time.Second
	// retryPeriod is the time to the next pass after a conflict with another writer.
	retryPeriod = time.Second
)

// Reconciler keeps the memory of a Guard up to date.
type Reconciler struct{ Guard *Guard }

// SetupWithManager adds the reconciler to the manager.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	it := reconcile.Request{NamespacedName: client.ObjectKey{Namespace: r.Guard.Namespace, Name: SecretName}}
	enqueue := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request { return []reconcile.Request{it} })
	err := ctrl.NewControllerManagedBy(mgr).
		Named("admission").
		Watches(&corev1.Secret{}, enqueue, builder.WithPredicates(predicate.NewPredicateFuncs(func(o client.Object) bool {
			return o.GetNamespace() == it.Namespace && o.GetName() == it.Name
		}))).
		// Without the Secret there is no event to begin with.
		WatchesRawSource(source.Func(func(_ context.Context, q workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
			q.Add(it)
			return nil
		})).
		Complete(r)
	if err != nil {
		return fmt.Errorf("setting up the controller of the admission policies: %w", err)
	}
	return nil
}

// Reconcile implements reconcile.Reconciler.
func (r *Reconciler) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	_, err := r.Guard.Observe(ctx)
	switch {
	case apierror.IsRace(err):
		return ctrl.Result{RequeueAfter: retryPeriod}, nil
	case err != nil:
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: recheckPeriod}, nil
}

var inForceDesc = prometheus.NewDesc("apitoken_admission_policy_in_force",
	"1 if the admission policy is installed and bound everywhere, else 0. Nothing is issued while one is 0.", []string{"policy"}, nil)

// Describe implements prometheus.Collector.
func (g *Guard) Describe(to chan<- *prometheus.Desc) { to <- inForceDesc }

// Collect implements prometheus.Collector.
func (g *Guard) Collect(to chan<- prometheus.Metric) {
	s, err := g.read(context.Background(), g.Client)
	if err != nil {
		to <- prometheus.NewInvalidMetric(inForceDesc, err)
		return
	}
	m := decode(s)
	for _, p := range policies {
		value := 1.0
		if m.Problems[p.name] != "" || len(m.Objects) == 0 {
			value = 0
		}
		to <- prometheus.MustNewConstMetric(inForceDesc, prometheus.GaugeValue, value, p.name)
	}
}
