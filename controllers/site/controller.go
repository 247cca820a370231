// Package site brings AtlassianSites about: caller keys and auth URLs for their ingress, and working copies of the
// personal access tokens that token owners act with.
package site

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
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/license"
	"apitokens.dev/operator/internal/record"
)

const (
	// reconcileTimeout bounds one pass, in which the product may be asked about every personal access token.
	reconcileTimeout = 2 * time.Minute
	// recheckPeriod is how often given Secrets and the product are looked at.
	recheckPeriod = time.Minute
	// retryPeriod follows a pass that others kept changing things under.
	retryPeriod = time.Second

	labelNamespace = record.LabelSiteNamespace
	labelSite      = record.LabelSite
)

// Product asks the product. It is an *atlassian.Client.
type Product interface {
	WhoAmI(ctx context.Context, u atlassian.Upstream, as atlassian.Credential) (atlassian.User, error)
	Probe(ctx context.Context, u atlassian.Upstream) error
	CreatePAT(ctx context.Context, u atlassian.Upstream, as atlassian.Credential, name string, days int) (atlassian.PAT, error)
	ListPATs(ctx context.Context, u atlassian.Upstream, as atlassian.Credential) ([]atlassian.PAT, error)
	DeletePAT(ctx context.Context, u atlassian.Upstream, as atlassian.Credential, id int64) error
}

// Reconciler brings one AtlassianSite about.
type Reconciler struct {
	// Client reads from the cache. Live reads from the API server, in namespaces that are not cached too.
	Client  client.Client
	Live    client.Reader
	Events  events.EventRecorder
	Clock   clock.PassiveClock
	Product Product
	Memory  *Memory
	// Namespace holds the caller keys and projections, CredentialsNamespace the upstream credentials.
	Namespace, CredentialsNamespace string
	// WebhookURL is where gateways reach the webhook, without a slash at the end.
	WebhookURL string
	// PortalURL is where the ingress reaches the portal, without a slash at the end.
	PortalURL string
	// Licenses verifies the licences of sites. Nil means that none are needed.
	Licenses *license.Verifier
	// AllowExternalUpstreams lets `upstreamURL` be something else than a Service of the site's namespace.
	AllowExternalUpstreams bool
}

// SetupWithManager starts the reconciler with the manager.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	err := ctrl.NewControllerManagedBy(mgr).
		For(&tokensv1alpha1.AtlassianSite{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		// Whatever becomes of one site can end or begin a conflict with another.
		Watches(&tokensv1alpha1.AtlassianSite{}, handler.EnqueueRequestsFromMapFunc(r.otherSites),
			builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		// Secrets that lost their site name it too, so that they are removed.
		Watches(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(siteOfSecret)).
		// Whose last APIToken goes needs no personal access token any more.
		Watches(&tokensv1alpha1.APIToken{}, handler.EnqueueRequestsFromMapFunc(siteOfToken), builder.WithPredicates(deletions)).
		WithOptions(controller.Options{ReconciliationTimeout: reconcileTimeout}).
		Complete(r)
	if err != nil {
		return fmt.Errorf("setting up the AtlassianSite controller: %w", err)
	}
	return nil
}

// Reconcile brings an AtlassianSite about, or removes what is left of one.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	var s tokensv1alpha1.AtlassianSite
	err := r.Client.Get(ctx, request.NamespacedName, &s)
	switch {
	case apierrors.IsNotFound(err):
		r.Memory.keep(request.NamespacedName, nil)
		return quiet(ctrl.Result{}, r.removeAll(ctx, request.NamespacedName, ofSite))
	case err != nil:
		return ctrl.Result{}, fmt.Errorf("reading the AtlassianSite: %w", err)
	case !s.DeletionTimestamp.IsZero():
		return ctrl.Result{}, nil
	}
	o, err := r.pass(ctx, &s)
	return quiet(ctrl.Result{RequeueAfter: next(o.licensing, r.Clock.Now())}, errors.Join(err, r.report(ctx, &s, o)))
}

// quiet takes a race with another writer for what it is: something to look at again.
func quiet(result ctrl.Result, err error) (ctrl.Result, error) {
	switch {
	case err == nil:
		return result, nil
	case apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err):
		return ctrl.Result{RequeueAfter: retryPeriod}, nil
	default:
		return ctrl.Result{}, err
	}
}

// outcome is what a pass found out. What it could not find out is nil.
type outcome struct {
	problem     *problem
	probed      bool
	probe       error
	checked     bool
	rejected    []rejection
	findings    []finding
	authURLName string
	// licenses says whether sites need licences here, and licensing what became of this one's.
	licenses  bool
	licensing *licensing
}

func (r *Reconciler) pass(ctx context.Context, s *tokensv1alpha1.AtlassianSite) (outcome, error) {
	o := outcome{licenses: r.Licenses != nil}
	var all tokensv1alpha1.AtlassianSiteList
	if err := r.Client.List(ctx, &all); err != nil {
		return o, fmt.Errorf("listing the AtlassianSites: %w", err)
	}
	if o.problem = baseURLConflict(s, all.Items); o.problem == nil {
		o.problem = upstreamNotAllowed(s, r.AllowExternalUpstreams)
	}
	if o.problem != nil {
		// It is not served: without keys nobody can call for it, and nothing is sent to its upstream. What its users would
		// have to sign in for once more is kept.
		return o, r.removeAll(ctx, client.ObjectKeyFromObject(s), func(s *corev1.Secret) bool { return ofSite(s) && !fromPortal(s) })
	}
	keys, problem, err := r.ensureKeys(ctx, s)
	if err != nil || problem != nil {
		o.problem = problem
		return o, err
	}
	if o.problem, err = r.writeAuthURLs(ctx, s, keys); err != nil {
		return o, err
	}
	if o.problem == nil {
		o.authURLName = authURLSecretName(s.Name)
	}
	given, err := r.readGiven(ctx, s)
	if err != nil {
		return o, err
	}
	if err := r.projectSite(ctx, s, given); err != nil {
		return o, err
	}
	if o.licenses {
		o.licensing = judgeLicense(r.Licenses, s.Spec, given.license, r.Clock.Now())
	}
	err = r.credentials(ctx, s, r.probe(ctx, s, given.cas, &o), &o)
	o.checked = err == nil
	return o, err
}

func (r *Reconciler) otherSites(ctx context.Context, changed client.Object) []reconcile.Request {
	var all tokensv1alpha1.AtlassianSiteList
	if err := r.Client.List(ctx, &all); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Listing the AtlassianSites")
		return nil
	}
	var others []reconcile.Request
	for i := range all.Items {
		if all.Items[i].UID != changed.GetUID() {
			others = append(others, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&all.Items[i])})
		}
	}
	return others
}

// deletions are all that is of interest about APITokens.
var deletions = predicate.Funcs{
	CreateFunc:  func(event.CreateEvent) bool { return false },
	UpdateFunc:  func(event.UpdateEvent) bool { return false },
	GenericFunc: func(event.GenericEvent) bool { return false },
}

func siteOfToken(_ context.Context, o client.Object) []reconcile.Request {
	t, ok := o.(*tokensv1alpha1.APIToken)
	if !ok {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: t.SiteNamespace(), Name: t.Spec.SiteRef.Name}}}
}

// siteOfSecret reads the labels that the operator put on its own Secrets. They only say where to look.
func siteOfSecret(_ context.Context, o client.Object) []reconcile.Request {
	s, ok := o.(*corev1.Secret)
	if !ok || !ofSite(s) {
		return nil
	}
	name := types.NamespacedName{Namespace: s.Labels[labelNamespace], Name: s.Labels[labelSite]}
	if name.Namespace == "" || name.Name == "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: name}}
}
