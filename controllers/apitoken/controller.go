// Package apitoken reconciles APITokens: it makes tokens, stores their records, delivers them, and removes the Secrets of
// deleted APITokens.
package apitoken

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"go.opentelemetry.io/otel/trace"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/admission"
	"apitokens.dev/operator/controllers/internal/apierror"
	"apitokens.dev/operator/controllers/internal/recheck"
	"apitokens.dev/operator/controllers/internal/secretnames"
	"apitokens.dev/operator/controllers/internal/watch"
	"apitokens.dev/operator/internal/manager"
	"apitokens.dev/operator/internal/scope"
	"apitokens.dev/operator/internal/tracing"
)

const (
	// reconcileTimeout limits one pass.
	reconcileTimeout = 30 * time.Second
	// recheckPeriod is the longest time between two looks at an APIToken, if there are few. Then a Secret that is delivered or
	// imported is read: it is watched only on demand, because a watch takes the right to list everybody's Secrets.
	recheckPeriod = time.Minute
	// freshness is how long a secret is looked at every recheckPeriod: an APIToken may have imported the same one, and a
	// candidate may be under way.
	freshness = 2 * recheckPeriod
	// retryPeriod is the time to the next pass after a conflict with another writer.
	retryPeriod = time.Second
	// maxSteps limits one pass. Every state needs fewer steps until it is settled.
	maxSteps = 12
)

// Guard says whether the admission policies are in force, and since when.
type Guard interface {
	// Stored returns the state that was observed last.
	Stored(ctx context.Context) (admission.State, error)
	// Observe returns the state of now.
	Observe(ctx context.Context) (admission.State, error)
	// Check does too, and asks the API server in the namespace of the APIToken.
	Check(ctx context.Context, t *tokensv1alpha1.APIToken) (admission.State, error)
}

// Reconciler reconciles APITokens. A pass takes one step at a time: observe, decide, act, observe again.
type Reconciler struct {
	// Client reads from the cache. Live reads from the API server, also in namespaces that are not cached.
	Client client.Client
	Live   client.Reader
	Events events.EventRecorder
	Clock  clock.PassiveClock
	Random io.Reader
	// Guard knows since when the admission policies are in force. It is an *admission.Guard.
	Guard Guard
	// Namespace holds the records, CredentialsNamespace the upstream credentials.
	Namespace, CredentialsNamespace string
	// Tracer makes a span for each pass. It may be nil.
	Tracer trace.Tracer
	// Ask has the product name the owner of a working copy at this time or later, and the answer published. Nil asks nobody.
	Ask func(site types.NamespacedName, copyName string, since time.Time)
	// Owners has the product name the owner of a new token before it is issued. Nil issues it at once.
	Owners *Owners
	// Secrets tells which delivered Secrets and Secrets to import from change. Nil tells of none: then the rounds come to each.
	Secrets *secretnames.Cache
	// Scope limits the namespaces whose APITokens and AtlassianSites are in the cache.
	Scope scope.Namespaces
	// ExpiryNotices are the times before expiry at which to warn, in whole days, the longest first.
	ExpiryNotices []time.Duration

	// settled has every APIToken, and waiting has those with something left to do. They are nil outside a manager.
	settled, waiting *recheck.Round
	// found are the APITokens that no pass has looked at since the start.
	found *found
	// created are the records of this process whose creation no event has shown. It is nil outside a manager.
	created *created
	// ofSecrets has the APITokens whose Secret changed. It is nil outside a manager.
	ofSecrets chan watch.Due
}

// The paces of looking at APITokens that do not change. Both are a bit faster than they have to be, because a round moves once a
// second.
var (
	// settledPace is that of all APITokens. It limits the load on the API server, whatever their number.
	settledPace = recheck.Pace{Period: recheckPeriod - 5*time.Second, PerSecond: 20}
	// waitingPace is that of those which wait for what no event tells, such as a Secret to import from.
	waitingPace = recheck.Pace{Period: recheckPeriod - 5*time.Second, PerSecond: 5}
)

// SetupWithManager adds the reconciler to the manager, whose cache has the indexes of package index. The ticker clock paces its
// rechecks.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, workers int, ticker clock.WithTicker) error {
	r.found, r.created = newFound(manager.SettleMemory), &created{names: map[string]struct{}{}}
	r.settled, r.waiting = recheck.New(ticker, settledPace), recheck.New(ticker, waitingPace)
	r.ofSecrets = make(chan watch.Due)
	err := ctrl.NewControllerManagedBy(mgr).
		For(&tokensv1alpha1.APIToken{}, builder.WithPredicates(r.changed())).
		Watches(&tokensv1alpha1.AtlassianSite{}, handler.EnqueueRequestsFromMapFunc(r.tokensOfSite),
			builder.WithPredicates(watch.SpecChanged(), watch.AfterStart())).
		Watches(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(r.tokensOfSecret),
			builder.WithPredicates(watch.AfterStart(), r.created.byOthers(r.Namespace),
				predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool { return concernsTokens(e.ObjectOld, e.ObjectNew) }})).
		Watches(&corev1.Namespace{}, handler.EnqueueRequestsFromMapFunc(r.tokensOfNamespace), builder.OnlyMetadata,
			builder.WithPredicates(watch.LabelsChanged(), watch.AfterStart())).
		WatchesRawSource(r.found.Source()).WatchesRawSource(r.settled.Source()).WatchesRawSource(r.waiting.Source()).WatchesRawSource(r.Owners.source()).
		WatchesRawSource(ofChanged(r.ofSecrets)).
		WithOptions(controller.Options{MaxConcurrentReconciles: workers, ReconciliationTimeout: reconcileTimeout}).
		Complete(tracing.Reconciler(r.Tracer, "APIToken", r.byName(mgr.GetClient())))
	if err := errors.Join(err, r.watchSecrets(mgr), mgr.Add(r.found), mgr.Add(r.settled), mgr.Add(r.waiting)); err != nil {
		return fmt.Errorf("setting up the APIToken controller: %w", err)
	}
	return nil
}

// byName reconciles the APIToken with a name. That of one that is gone may have come up in a round.
func (r *Reconciler) byName(from client.Reader) reconcile.Reconciler {
	return reconcile.Func(func(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
		var t tokensv1alpha1.APIToken
		switch err := from.Get(ctx, request.NamespacedName, &t); {
		case apierrors.IsNotFound(err):
			r.found.take(request.NamespacedName)
			r.forget(request.NamespacedName)
			return reconcile.Result{}, nil
		case err != nil:
			return reconcile.Result{}, fmt.Errorf("reading the APIToken: %w", err)
		}
		return r.Reconcile(ctx, &t)
	})
}

// forget takes an APIToken out of the rounds.
func (r *Reconciler) forget(name types.NamespacedName) {
	if r.settled != nil {
		r.settled.Remove(name)
		r.waiting.Remove(name)
	}
}

// Reconcile implements reconcile.ObjectReconciler.
func (r *Reconciler) Reconcile(ctx context.Context, t *tokensv1alpha1.APIToken) (ctrl.Result, error) {
	name := client.ObjectKeyFromObject(t)
	first := r.found.take(name)
	if !t.DeletionTimestamp.IsZero() {
		// It does not authenticate any more. The Cleaner removes its Secrets once it is gone.
		r.forget(name)
		return ctrl.Result{}, nil
	}
	if first {
		if o, as, err := r.asFound(ctx, t); as && err == nil {
			return later(r.lookAgain(name, o, false)), nil
		}
	}
	o, err := r.pass(ctx, t)
	refused := false
	if err == nil && o.decision.step != remove {
		err = r.report(ctx, t, o)
		refused = apierror.EmitRefusal(ctx, r.Events, t, err)
	}
	switch {
	case errors.Is(err, errOwnerAsked):
		return ctrl.Result{RequeueAfter: ownerWait}, nil
	case apierror.IsRace(err):
		return ctrl.Result{RequeueAfter: retryPeriod}, nil
	case err != nil && !refused, o.decision.step == remove:
		return ctrl.Result{}, err
	}
	return later(r.lookAgain(name, o, refused || o.waits())), nil
}

// outcome is the result of a pass.
type outcome struct {
	state    state
	decision decision
	// minted is the last step that made a new secret, or none.
	minted step
}

// pass takes steps until nothing is left to write. It trusts the cache only for the answer that nothing is to be done, or nothing
// but what the status says already, and for personal access tokens. Every other decision rests on live reads, before and after a secret
// is made: the step *read live* of the model of stopping.
func (r *Reconciler) pass(ctx context.Context, t *tokensv1alpha1.APIToken) (outcome, error) {
	s, err := r.observeWith(ctx, t, r.Client, written{}, r.cheapLook(t))
	if err != nil {
		return outcome{}, err
	}
	d := decide(s.state)
	if !hasNoStatus(t) && (d.step == settled || d.step == blocked && isReported(t, d)) {
		return outcome{state: s.state, decision: d}, nil
	}
	if d.step.mints() && r.Owners.await(s.state) {
		return outcome{}, errOwnerAsked
	}
	minted, refused, made := none, map[step]string{}, written{unrecorded: hasNoStatus(t) && s.recordSecret == nil, counted: s.counted}
	for range maxSteps {
		s, err := r.observe(ctx, t, r.Live, made)
		if err != nil {
			return outcome{}, err
		}
		s.refused = refused
		if made.unrecorded && decide(s.state).step != issue {
			made.unrecorded = false
			continue
		}
		d, err := r.decideLive(ctx, &s)
		if err != nil || d.step == blocked || d.step == settled {
			return outcome{s.state, d, minted}, err
		}
		made, err = r.act(ctx, d.step, s)
		if message, ok := apierror.Refusal(err); ok {
			refused[d.step] = message
			continue
		}
		if err != nil || d.step == remove {
			return outcome{s.state, d, minted}, err
		}
		if d.step.mints() {
			minted = d.step
		}
	}
	return outcome{}, errUnsettled
}

// cheapLook returns how to look at the Secret of a token, in a pass that may end before anything is read live. That of one without a
// status is most likely not there yet.
func (r *Reconciler) cheapLook(t *tokensv1alpha1.APIToken) func(context.Context, *observed) error {
	if hasNoStatus(t) {
		return assumeSecret
	}
	return r.observeSecret
}

// hasNoStatus reports whether a generated token has no status yet, so that a look at the cache would not be the last one.
func hasNoStatus(t *tokensv1alpha1.APIToken) bool {
	return t.Spec.Credential.Type == tokensv1alpha1.CredentialGenerated && len(t.Status.Conditions) == 0
}

// decideLive decides after it asked the API server whether the admission policies are in force, if the decision rests on that:
// before issuing in the namespace of the APIToken.
func (r *Reconciler) decideLive(ctx context.Context, s *observed) (decision, error) {
	d := decide(s.state)
	if d.step == annotate || d.step == stop {
		now, err := r.Guard.Observe(ctx)
		if err != nil {
			return decision{}, err
		}
		s.guard = guardOf(now)
		d = decide(s.state)
	}
	if d.step.mints() {
		now, err := r.Guard.Check(ctx, s.token)
		if err != nil {
			return decision{}, err
		}
		s.guard = guardOf(now)
		d = decide(s.state)
	}
	return d, nil
}

var errUnsettled = errors.New("the APIToken did not settle: something else keeps changing its Secrets")
