// Package apitoken reconciles APITokens: it makes tokens, stores their records, delivers them, and removes the Secrets of
// deleted APITokens.
package apitoken

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
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
	"apitokens.dev/operator/controllers/index"
	"apitokens.dev/operator/controllers/internal/apierror"
	"apitokens.dev/operator/controllers/internal/packed"
	"apitokens.dev/operator/controllers/internal/recheck"
	"apitokens.dev/operator/controllers/internal/secretnames"
	"apitokens.dev/operator/controllers/internal/watch"
	"apitokens.dev/operator/internal/enrolment"
	"apitokens.dev/operator/internal/manager"
	"apitokens.dev/operator/internal/projection"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/recordstore"
	"apitokens.dev/operator/internal/scope"
	"apitokens.dev/operator/internal/tracing"
	"apitokens.dev/operator/internal/upstream"
	"apitokens.dev/operator/internal/username"
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
			builder.WithPredicates(r.siteChanged(), watch.AfterStart())).
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

// tokensOfSite returns requests for the APITokens of a site.
func (r *Reconciler) tokensOfSite(ctx context.Context, site client.Object) []reconcile.Request {
	return r.tokensAt(ctx, site.GetNamespace(), site.GetName())
}

func (r *Reconciler) tokensAt(ctx context.Context, namespace, site string) []reconcile.Request {
	return r.list(ctx, everyone, client.MatchingFields{index.BySite: index.Site(namespace, site)})
}

// tokensOfNamespace returns requests for the APITokens of a namespace that refer to sites elsewhere, and for those that were
// created with a token of the namespace.
func (r *Reconciler) tokensOfNamespace(ctx context.Context, namespace client.Object) []reconcile.Request {
	if !r.Scope.Has(namespace.GetName()) {
		return nil
	}
	elsewhere := func(t *tokensv1alpha1.APIToken) bool { return t.SiteNamespace() != t.Namespace }
	return append(r.list(ctx, elsewhere, client.InNamespace(namespace.GetName())),
		r.list(ctx, everyone, client.MatchingFields{index.ByParent: namespace.GetName()})...)
}

func everyone(*tokensv1alpha1.APIToken) bool { return true }

// concernsTokens reports whether an update of a Secret can change what is decided about an APIToken. A new licence or authority of a
// site cannot, nor a renewed personal access token.
func concernsTokens(old, now client.Object) bool {
	before, after := packed.Secret(old), packed.Secret(now)
	if before == nil || after == nil {
		return true
	}
	switch after.Type {
	case projection.SecretType:
		was, err := projection.Decode(before.Data[projection.DataKey])
		is, unreadable := projection.Decode(after.Data[projection.DataKey])
		return err != nil || unreadable != nil || !was.IssuedAfter.Equal(is.IssuedAfter) || !was.LimitsSince.Equal(is.LimitsSince)
	case upstream.SecretType:
		was, err := upstream.Decode(before.Data[upstream.DataKey])
		is, unreadable := upstream.Decode(after.Data[upstream.DataKey])
		return err != nil || unreadable != nil || was.Origin != is.Origin || was.Usable() != is.Usable() || was.UserKey != is.UserKey
	case enrolment.SecretType:
		was, err := enrolment.Decode(before.Data[enrolment.DataKey])
		is, unreadable := enrolment.Decode(after.Data[enrolment.DataKey])
		return err != nil || unreadable != nil || was.UserKey != is.UserKey || was.Name != is.Name || !was.Checked.Equal(is.Checked)
	default:
		return true
	}
}

// tokensOfSecret returns requests for the APITokens of a record, an upstream credential, an enrolment or the projection of a site, or
// for all after a change of the admission policies. A damaged Secret names no APIToken: the next periodic pass finds it.
func (r *Reconciler) tokensOfSecret(ctx context.Context, o client.Object) []reconcile.Request {
	if !slices.Contains(typesOfTokens, packed.SecretType(o)) {
		return nil
	}
	s := packed.Secret(o)
	switch {
	case s.Type == admission.SecretType && s.Namespace == r.Namespace:
		return r.list(ctx, everyone)
	case s.Type == record.SecretType && s.Namespace == r.Namespace:
		if stored, err := record.Decode(s.Data[record.DataKey]); err == nil {
			return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: stored.APIToken.Namespace, Name: stored.APIToken.Name}}}
		}
	case s.Type == projection.SecretType && s.Namespace == r.Namespace:
		if p, err := projection.Decode(s.Data[projection.DataKey]); err == nil {
			return r.tokensAt(ctx, p.Namespace, p.Site)
		}
	case s.Type == upstream.SecretType && s.Namespace == r.CredentialsNamespace:
		if c, err := upstream.Decode(s.Data[upstream.DataKey]); err == nil {
			return r.list(ctx, everyone, client.MatchingFields{index.ByOwner: index.Owner(c.Namespace, c.Site, c.User)})
		}
	case s.Type == enrolment.SecretType && s.Namespace == r.Namespace:
		if e, err := enrolment.Decode(s.Data[enrolment.DataKey]); err == nil {
			return r.list(ctx, r.lacksOwner(ctx), client.MatchingFields{index.ByOwner: index.Owner(e.Namespace, e.Site, e.User)})
		}
	}
	return nil
}

// lacksOwner reports for an APIToken whether its record in the cache has no owner. Only these depend on the user's enrolment, which
// changes every few hours.
func (r *Reconciler) lacksOwner(ctx context.Context) func(*tokensv1alpha1.APIToken) bool {
	return func(t *tokensv1alpha1.APIToken) bool {
		s, err := getSecret(ctx, r.Client, r.Namespace, string(t.UID))
		if err != nil || s == nil {
			return true
		}
		stored, err := recordstore.Decode(s)
		return err != nil || stored.UserKey == ""
	}
}

// typesOfTokens are those of the Secrets that tokensOfSecret reads.
var typesOfTokens = []corev1.SecretType{admission.SecretType, record.SecretType, projection.SecretType, upstream.SecretType, enrolment.SecretType}

func (r *Reconciler) list(ctx context.Context, wanted func(*tokensv1alpha1.APIToken) bool, scope ...client.ListOption) []reconcile.Request {
	var list tokensv1alpha1.APITokenList
	if err := r.Client.List(ctx, &list, scope...); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Listing APITokens to reconcile")
		return nil
	}
	var requests []reconcile.Request
	for i := range list.Items {
		if wanted(&list.Items[i]) {
			requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
		}
	}
	return requests
}
