// Package site reconciles AtlassianSites: caller keys and auth URLs for their ingress, a projection of their Secrets for the
// gateway and the portal, and their status. Its subpackage credential keeps personal access tokens.
package site

import (
	"context"
	"errors"
	"fmt"
	"sync"
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
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/admission"
	"apitokens.dev/operator/controllers/index"
	"apitokens.dev/operator/controllers/internal/apierror"
	"apitokens.dev/operator/controllers/internal/packed"
	"apitokens.dev/operator/controllers/internal/watch"
	"apitokens.dev/operator/controllers/site/credential"
	"apitokens.dev/operator/controllers/site/gateway"
	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/door"
	"apitokens.dev/operator/internal/license"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/scope"
	"apitokens.dev/operator/internal/tracing"
	"apitokens.dev/operator/internal/upstream"
	"apitokens.dev/operator/internal/username"
)

const (
	// reconcileTimeout bounds one pass. Requests to the product have less: 20 s for the probe, and 40 s for personal access tokens.
	reconcileTimeout = 80 * time.Second
	// recheckPeriod is how often the Secrets of a site and its product are looked at.
	recheckPeriod = time.Minute
	// retryPeriod follows a pass that met another writer.
	retryPeriod = time.Second
	// deletionsPeriod is how long deletions of APITokens are collected for one pass.
	deletionsPeriod = 5 * time.Second
)

// Product is what a site's product is asked. It is an *atlassian.Client.
type Product interface {
	credential.Product
	Probe(ctx context.Context, u atlassian.Upstream) error
}

// Reconciler reconciles AtlassianSites.
type Reconciler struct {
	// Client reads from the cache. Live reads from the API server, also in namespaces that are not cached.
	Client  client.Client
	Live    client.Reader
	Events  events.EventRecorder
	Clock   clock.PassiveClock
	Product Product
	Memory  *credential.Memory
	// Namespace holds the projections, memories and enrolments of sites, CredentialsNamespace the caller keys and upstream
	// credentials, and IntakeNamespace what the portal received.
	Namespace, CredentialsNamespace, IntakeNamespace string
	// WebhookURL is where gateways reach the webhook, without a slash at the end.
	WebhookURL string
	// WebhookGRPCPort is the port of the webhook's Service for gRPC. Zero means that it has none.
	WebhookGRPCPort uint16
	// PortalURL is where the ingress reaches the portal, without a slash at the end.
	PortalURL string
	// TLSSecret names the Secret, in Namespace, with the certificate of webhook and portal and its authorities. It may be empty.
	TLSSecret string
	// Licenses verifies the licences of sites. Nil means that sites need none.
	Licenses *license.Verifier
	// AllowExternalUpstreams allows an `upstreamURL` that is not a Service of the site's namespace.
	AllowExternalUpstreams bool
	// Scope are the namespaces whose sites can be seen. What is kept for others is left alone.
	Scope scope.Namespaces
	// Tracer makes a span for each pass. It may be nil.
	Tracer trace.Tracer
	// Guard knows the state of the admission policies. Nil leaves their condition out.
	Guard Guard
	// Door looks at the ingresses of sites. Nil leaves their condition out.
	Door Door
	// gatewayWatch watches what was written for gateways. Without it, each pass looks.
	gatewayWatch *gateway.Watch
	// epochs holds the highest revocation epoch that the watch of sites showed, by the site's name.
	epochs *sync.Map
}

// Guard returns the state of the admission policies that was observed last. It is an *admission.Guard.
type Guard interface {
	Stored(ctx context.Context) (admission.State, error)
}

// SetupWithManager starts the reconciler with the manager, for so many sites at the same time.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, workers int) error {
	r.epochs = &sync.Map{}
	var err error
	if r.gatewayWatch, err = gateway.NewWatch(mgr); err != nil {
		return err
	}
	b := ctrl.NewControllerManagedBy(mgr).
		For(&tokensv1alpha1.AtlassianSite{}, builder.WithPredicates(watch.SpecChanged())).
		// A site can be gone before a pass comes to it, and its revocation epoch counts all the same.
		Watches(&tokensv1alpha1.AtlassianSite{}, handler.EnqueueRequestsFromMapFunc(r.noteEpoch), builder.WithPredicates(watch.SpecChanged())).
		// A change of one site can begin or end a conflict with another.
		Watches(&tokensv1alpha1.AtlassianSite{}, handler.EnqueueRequestsFromMapFunc(r.otherSites),
			builder.WithPredicates(watch.SpecChanged())).
		// Secrets of a site that is gone name it too, and are removed.
		Watches(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(r.sitesOfSecret)).
		// A user without APITokens needs no personal access token.
		Watches(&tokensv1alpha1.APIToken{}, watch.Later(deletionsPeriod, r.siteOfLastToken), builder.WithPredicates(watch.Deleted())).
		WatchesRawSource(r.gatewayWatch.Source()).WatchesRawSource(r.Memory.Source()).
		WithOptions(controller.Options{MaxConcurrentReconciles: workers, ReconciliationTimeout: reconcileTimeout})
	if r.Door != nil {
		b.WatchesRawSource(source.Channel(r.Door.Changed(), &handler.EnqueueRequestForObject{}))
	}
	if err := errors.Join(b.Complete(tracing.Reconciler(r.Tracer, "AtlassianSite", r)), mgr.Add(r.gatewayWatch)); err != nil {
		return fmt.Errorf("setting up the AtlassianSite controller: %w", err)
	}
	return nil
}

// Reconcile makes one pass over an AtlassianSite, or removes what is kept for one that is gone.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	if !r.Scope.Has(request.Namespace) {
		return ctrl.Result{}, nil // whether the site is gone cannot be seen
	}
	var s tokensv1alpha1.AtlassianSite
	err := r.Client.Get(ctx, request.NamespacedName, &s)
	switch {
	case apierrors.IsNotFound(err):
		return r.removeGone(ctx, request.NamespacedName)
	case err != nil:
		return ctrl.Result{}, fmt.Errorf("reading the AtlassianSite: %w", err)
	case !s.DeletionTimestamp.IsZero():
		return r.rememberLast(ctx, &s)
	}
	o, err := r.pass(ctx, &s)
	err = errors.Join(err, r.askDoor(ctx, &s, &o), r.observeGuard(ctx, &o))
	again := ctrl.Result{RequeueAfter: nextPass(o.licensing, r.Clock.Now())}
	reportErr := r.report(ctx, &s, o)
	if apierror.EmitRefusal(ctx, r.Events, &s, reportErr) {
		reportErr = nil
	}
	return retryRace(again, errors.Join(err, reportErr))
}

// rememberLast makes a pass over a site that waits for its end: nobody is to lose its revocation epoch.
func (r *Reconciler) rememberLast(ctx context.Context, s *tokensv1alpha1.AtlassianSite) (ctrl.Result, error) {
	if malformed(s) != nil {
		return ctrl.Result{}, nil
	}
	_, _, err := r.remember(ctx, s, false)
	return retryRace(ctrl.Result{}, err)
}

// retryRace turns a race with another writer into another pass. It is no error.
func retryRace(result ctrl.Result, err error) (ctrl.Result, error) {
	switch {
	case err == nil:
		return result, nil
	case apierror.IsRace(err):
		return ctrl.Result{RequeueAfter: retryPeriod}, nil
	default:
		return ctrl.Result{}, err
	}
}

// outcome is the result of a pass. Fields that the pass did not get to are zero.
type outcome struct {
	problem *problem
	// refusal is the message about the first write that the API server refused.
	refusal string
	// probed means that the product was asked, with the result probe.
	probed bool
	probe  error
	// checked means that credentials are the findings of a complete pass over the working copies.
	checked     bool
	credentials credential.Findings
	// callers means that gateways can ask about the site.
	callers bool
	// shut says why the site's ingress is not answered although the site is served, or is nil.
	shut *problem
	// keys are the caller keys, unless the site wants client certificates. rotated means that the pass replaced the current ones.
	keys        authurl.Keys
	rotated     bool
	authURLName string
	// endpoints are where gateways reach webhook and portal.
	endpoints endpoints
	// epoch is the highest revocation epoch that is remembered. farAhead means that the site's own is not.
	epoch    time.Time
	farAhead bool
	// door is the finding about the ingress as it is now, or nil.
	door *door.Finding
	// gateways are the findings of a complete pass over what gateways need, or nil.
	gateways *gateway.Findings
	// guard is the state of the admission policies, or nil.
	guard *admission.State
	// licenses means that sites need licences here. licensing is the judgement of this one's.
	licenses  bool
	licensing *licensing
}

func (r *Reconciler) pass(ctx context.Context, s *tokensv1alpha1.AtlassianSite) (outcome, error) {
	o := outcome{licenses: r.Licenses != nil}
	if o.problem = malformed(s); o.problem != nil {
		return o, nil // what is kept for the site stays: what it says is unknown
	}
	var all tokensv1alpha1.AtlassianSiteList
	if err := r.Client.List(ctx, &all); err != nil {
		return o, fmt.Errorf("listing the AtlassianSites: %w", err)
	}
	o.problem = notServed(s, all.Items, r.AllowExternalUpstreams)
	served := o.problem == nil
	m, damaged, err := r.remember(ctx, s, served)
	if damaged != nil {
		o.problem = damaged
		return o, nil // what is projected stays, and nothing that is not
	}
	if o.noteRefusal(err) != nil {
		return o, err
	}
	o.epoch, o.farAhead = m.IssuedAfter, farAhead(s.Spec.IssuedAfter.Time, r.Clock.Now())
	if err := r.admitCallers(ctx, s, &o); err != nil {
		return o, err
	}
	named, err := r.readNamed(ctx, s)
	if err != nil {
		return o, o.noteRefusal(err)
	}
	o.shut = shutOut(s, r.WebhookURL, named.callers)
	if err := o.noteRefusal(r.projectSite(ctx, s, named, m, served)); err != nil || !o.callers {
		return o, err
	}
	wireErr := r.wire(ctx, s, m, o.keys, &o)
	if o.licenses {
		o.licensing = judgeLicense(r.Licenses, s.Spec, named.license, r.Clock.Now())
	}
	product := r.probe(ctx, s, named.cas, &o)
	o.credentials, err = r.Keeper().Reconcile(ctx, s, product)
	o.checked = err == nil
	return o, errors.Join(wireErr, o.noteRefusal(err))
}

// admitCallers keeps the caller keys of a site and the auth URLs with them. Those of a site that is not served, or that wants
// client certificates, are kept unused.
func (r *Reconciler) admitCallers(ctx context.Context, s *tokensv1alpha1.AtlassianSite, o *outcome) error {
	certified := s.Spec.CallerVerification.Type == tokensv1alpha1.CallerVerificationClientCertificate
	if o.problem != nil || certified {
		if err := r.retireKeys(ctx, client.ObjectKeyFromObject(s)); err != nil || o.problem != nil {
			return o.noteRefusal(err)
		}
	}
	address := unkeyed(s)
	if !certified {
		keys, rotated, damaged, err := r.ensureKeys(ctx, s)
		if err != nil || damaged != nil {
			o.problem = damaged
			return o.noteRefusal(err)
		}
		o.rotated, o.keys, address = rotated, keys, keys.Address
	}
	o.callers = true
	var err error
	o.endpoints, o.problem, err = r.writeAuthURLs(ctx, s, address)
	if o.problem == nil && err == nil {
		o.authURLName = authURLSecretName(s.Name)
	}
	return o.noteRefusal(err)
}

// noteRefusal notes an error if the API server refuses a write for a cause that lasts. It returns every other error.
func (o *outcome) noteRefusal(err error) error {
	message, refused := apierror.Refusal(err)
	if !refused {
		return err
	}
	if o.refusal == "" {
		o.refusal = message
	}
	return nil
}

func (r *Reconciler) observeGuard(ctx context.Context, o *outcome) error {
	if r.Guard == nil {
		return nil
	}
	state, err := r.Guard.Stored(ctx)
	if err == nil {
		o.guard = &state
	}
	return err
}

// Keeper returns the keeper of the working copies.
func (r *Reconciler) Keeper() *credential.Keeper {
	return &credential.Keeper{
		Client: r.Client, Live: r.Live, Clock: r.Clock, Product: r.Product, Memory: r.Memory,
		Namespace: r.CredentialsNamespace, StateNamespace: r.Namespace, IntakeNamespace: r.IntakeNamespace,
	}
}

// Intake returns the reconciler of what the portal received.
func (r *Reconciler) Intake() credential.Intake { return credential.Intake{Keeper: r.Keeper()} }

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

// siteOfLastToken returns the site of a deleted APIToken, unless its user has another one there: then nothing follows from the deletion.
func (r *Reconciler) siteOfLastToken(ctx context.Context, o client.Object) []reconcile.Request {
	t := packed.APIToken(o)
	if t == nil {
		return nil
	}
	site, user := types.NamespacedName{Namespace: t.SiteNamespace(), Name: t.Spec.SiteRef.Name}, username.Fold(t.Spec.User)
	var others tokensv1alpha1.APITokenList
	of := client.MatchingFields{index.ByOwner: index.Owner(site.Namespace, site.Name, user)}
	if err := r.Client.List(ctx, &others, of, client.Limit(1)); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Looking for other APITokens of a user")
	}
	if len(others.Items) > 0 || !r.Scope.Has(site.Namespace) {
		return nil
	}
	r.Memory.Changed(site, upstream.SecretName(site.Namespace, site.Name, user))
	return []reconcile.Request{{NamespacedName: site}}
}

// sitesOfSecret reads the labels of the operator's own Secrets. They only tell which site to reconcile, and what to look at there. An
// enrolment waits for the next pass: its writer is mostly a pass. A change of the admission policies, or of the certificate of webhook
// and portal, concerns all sites.
func (r *Reconciler) sitesOfSecret(ctx context.Context, o client.Object) []reconcile.Request {
	secretType := packed.SecretType(o)
	if o.GetNamespace() == r.Namespace && (secretType == admission.SecretType || o.GetName() == r.TLSSecret) {
		return r.otherSites(ctx, o)
	}
	labels := o.GetLabels()
	name := types.NamespacedName{Namespace: labels[record.LabelSiteNamespace], Name: labels[record.LabelSite]}
	if name.Namespace == "" || name.Name == "" || !r.Scope.Has(name.Namespace) {
		return nil
	}
	r.Memory.SecretChanged(name, secretType, o.GetName())
	if !ofSite(secretType) {
		return nil
	}
	return []reconcile.Request{{NamespacedName: name}}
}
