// Package controllers runs the process that writes: it reconciles APITokens and AtlassianSites.
package controllers

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/admission"
	"apitokens.dev/operator/controllers/apitoken"
	"apitokens.dev/operator/controllers/certificates"
	"apitokens.dev/operator/controllers/index"
	"apitokens.dev/operator/controllers/internal/packed"
	"apitokens.dev/operator/controllers/internal/scoped"
	"apitokens.dev/operator/controllers/internal/secretnames"
	"apitokens.dev/operator/controllers/internal/shared"
	"apitokens.dev/operator/controllers/site"
	"apitokens.dev/operator/controllers/site/credential"
	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/door"
	"apitokens.dev/operator/internal/license"
	"apitokens.dev/operator/internal/manager"
	"apitokens.dev/operator/internal/prerequisites"
	"apitokens.dev/operator/internal/scope"
	"apitokens.dev/operator/internal/servingcert"
	"apitokens.dev/operator/internal/tracing"
)

const (
	// LeaderElectionID names the lease that the leading replica renews.
	LeaderElectionID = "apitoken-controller"
	// fieldOwner is the field owner of every write, and the reporter of Events.
	fieldOwner = "apitoken-controller"
	// tokenWorkers is how many APITokens are reconciled at the same time. A new one mostly waits for looks that all of them share, so that
	// each costs the API server less the more there are.
	tokenWorkers = 128
	// workers is how many deleted APITokens, and how many records, are looked at at the same time. Each mostly waits for the API server.
	workers = 64
	// siteWorkers is how many sites are reconciled at the same time. One with a product that hangs holds a worker for up to a
	// minute at a time, so there are more workers than sites that hang in a cluster. Idle ones cost nothing.
	siteWorkers = 64
	// intakeWorkers is how many new personal access tokens are checked at the same time. Each waits for its product.
	intakeWorkers = 32

	// startAttempts is how often the cluster is looked at, once a second, before the process refuses to start.
	startAttempts = 30

	shutdownTimeout = 30 * time.Second
)

// Options are the settings of the process.
type Options struct {
	manager.Telemetry
	// ExpiryNoticeDays are the days before expiry at which to warn.
	ExpiryNoticeDays []int
	// LeaderElection lets only one replica write.
	LeaderElection bool
	// Namespace holds records, projections and enrolments, CredentialsNamespace the caller keys and upstream credentials, and
	// IntakeNamespace the personal access tokens that the portal received.
	Namespace, CredentialsNamespace, IntakeNamespace string
	// Scope limits the controllers to the APITokens and AtlassianSites of some namespaces.
	Scope scope.Namespaces
	// WebhookURL is the URL of the webhook for gateways, the beginning of every auth URL.
	WebhookURL string
	// WebhookGRPCPort is the port of the webhook's Service for Envoy's external authorization over gRPC. Zero means that it has none.
	WebhookGRPCPort uint16
	// PortalURL is the URL of the portal for the ingress.
	PortalURL string
	// TLSSecret names the Secret, in Namespace, with the certificate that webhook and portal serve if their URLs begin with https.
	// The controller makes and renews it, unless another party wrote it. Empty means that the controller makes none.
	TLSSecret string
	// Serve gets the certificate in that Secret whenever the controller has looked at it. It may be nil.
	Serve func(cert, key []byte)
	// Licenses verifies the licences of sites. Nil means that sites need none.
	Licenses *license.Verifier
	// WatchSecrets has the controller watch the Secrets of the namespaces in Scope by their names.
	WatchSecrets bool
	// AllowExternalUpstreams allows an `upstreamURL` that is not a Service of the site's namespace.
	AllowExternalUpstreams bool
}

// Run runs the controllers until ctx is done.
func Run(ctx context.Context, config *rest.Config, o Options, log logr.Logger) error {
	notices, err := expiryNotices(o.ExpiryNoticeDays)
	if err != nil {
		return err
	}
	mgr, err := newManager(ctx, config, o, log)
	if err != nil || ctx.Err() != nil {
		return err
	}
	guard, checks := &admission.Guard{Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Namespace: o.Namespace}, credential.NewMemory()
	tokens := &apitoken.Reconciler{
		Client: mgr.GetClient(), Live: shared.NewReader(mgr.GetAPIReader()), Events: mgr.GetEventRecorder(fieldOwner),
		Clock: clock.RealClock{}, Random: rand.Reader, Guard: guard, Ask: checks.Ask, Tracer: o.Tracer,
		Namespace: o.Namespace, CredentialsNamespace: o.CredentialsNamespace, ExpiryNotices: notices, Scope: o.Scope,
	}
	deletions, expiry := &apitoken.Deletions{}, apitoken.NewExpiry(clock.RealClock{}, notices)
	cleaner := &apitoken.Cleaner{
		Client: tokens.Client, Live: mgr.GetAPIReader(), Events: tokens.Events, Clock: tokens.Clock, Namespace: o.Namespace, Deletions: deletions,
	}
	orphans := &apitoken.Orphans{
		Client: tokens.Client, Live: mgr.GetAPIReader(), Events: tokens.Events, Clock: tokens.Clock, Namespace: o.Namespace, Deletions: deletions, Scope: o.Scope,
	}
	prober := door.NewProber(clock.RealClock{}, door.Asker{Clock: clock.RealClock{}}.Look)
	sites := &site.Reconciler{
		Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Events: mgr.GetEventRecorder(fieldOwner),
		Clock: clock.RealClock{}, Memory: checks, Product: atlassian.NewClient().Wrap(tracing.Transport(o.Tracer, "product")),
		Namespace: o.Namespace, CredentialsNamespace: o.CredentialsNamespace, IntakeNamespace: o.IntakeNamespace,
		WebhookURL: o.WebhookURL, WebhookGRPCPort: o.WebhookGRPCPort, PortalURL: o.PortalURL, TLSSecret: o.TLSSecret,
		AllowExternalUpstreams: o.AllowExternalUpstreams, Licenses: o.Licenses, Guard: guard, Door: prober, Scope: o.Scope, Tracer: o.Tracer,
	}
	if err := errors.Join(
		index.AddTo(ctx, mgr.GetCache()), expiry.Watch(ctx, mgr.GetCache()), addAsker(mgr, sites, tokens), watchSecrets(ctx, mgr, o, tokens),
		registerMetrics(mgr.GetClient(), guard, checks, o, expiry), (&admission.Reconciler{Guard: guard}).SetupWithManager(mgr),
		tokens.SetupWithManager(mgr, tokenWorkers, clock.RealClock{}), cleaner.SetupWithManager(mgr, workers),
		orphans.SetupWithManager(mgr, workers, clock.RealClock{}), metrics.Registry.Register(tokens.RecheckAge()),
		sites.SetupWithManager(mgr, siteWorkers), sites.Intake().SetupWithManager(mgr, intakeWorkers),
		mgr.Add(prober), mgr.AddReadyzCheck("ping", healthz.Ping), addHeartbeat(mgr, o), addCertificates(mgr, o),
	); err != nil {
		return err
	}
	if err := mgr.Start(ctx); err != nil {
		return fmt.Errorf("running the controllers: %w", err)
	}
	return nil
}

// addAsker has products asked for the owners of new APITokens. It comes before the controller of those is set up.
func addAsker(mgr ctrl.Manager, sites *site.Reconciler, tokens *apitoken.Reconciler) error {
	asker := credential.NewAsker(sites.Keeper())
	tokens.Owners = apitoken.NewOwners(asker.Ask)
	return asker.SetupWithManager(mgr, siteWorkers)
}

// watchSecrets has the controller of APITokens see which Secrets change, with Options.WatchSecrets. It comes before that controller is
// set up.
func watchSecrets(ctx context.Context, mgr ctrl.Manager, o Options, tokens *apitoken.Reconciler) (err error) {
	if !o.WatchSecrets {
		return nil
	}
	if err := index.AddSecretsTo(ctx, mgr.GetCache()); err != nil {
		return err
	}
	tokens.Secrets, err = secretnames.AddTo(mgr, watched(o.Scope), o.Namespace, o.CredentialsNamespace, o.IntakeNamespace)
	return err
}

// awaitPrerequisites returns when the cluster has what the controllers need, or when ctx is done.
func awaitPrerequisites(ctx context.Context, mgr ctrl.Manager, o Options, log logr.Logger) error {
	server, err := discovery.NewDiscoveryClientForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return fmt.Errorf("making a client for the API server's version: %w", err)
	}
	check := &prerequisites.Check{
		Live: mgr.GetAPIReader(), Server: server, Log: log, Attempts: startAttempts, Period: time.Second,
		Namespace: o.Namespace, CredentialsNamespace: o.CredentialsNamespace, IntakeNamespace: o.IntakeNamespace, Scope: o.Scope,
		WatchSecrets: o.WatchSecrets,
	}
	return check.Await(ctx)
}

// CertificateHosts returns the hosts that the certificate of webhook and portal is for: those of their https URLs. Without any,
// there is none to make.
func (o Options) CertificateHosts() (hosts []string, err error) {
	if o.TLSSecret == "" {
		return nil, nil
	}
	for _, raw := range []string{o.WebhookURL, o.PortalURL} {
		u, err := url.Parse(raw)
		if err != nil {
			return nil, fmt.Errorf("reading --webhook-url and --portal-url: %w", err)
		}
		if u.Scheme == "https" {
			hosts = append(hosts, u.Hostname())
		}
	}
	return hosts, nil
}

// addCertificates has the controller make the certificate of webhook and portal.
func addCertificates(mgr ctrl.Manager, o Options) error {
	hosts, err := o.CertificateHosts()
	if err != nil || len(hosts) == 0 {
		return err
	}
	return (&certificates.Reconciler{
		Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Clock: clock.RealClock{}, Namespace: o.Namespace, AuthoritiesNamespace: o.IntakeNamespace,
		SecretName: o.TLSSecret, Names: servingcert.Names(hosts...), Serve: o.Serve,
	}).SetupWithManager(mgr)
}

// registerMetrics registers the collectors, which compute their metrics at each scrape.
func registerMetrics(c client.Reader, guard *admission.Guard, checks *credential.Memory, o Options, expiry *apitoken.Expiry) error {
	err := errors.Join(
		metrics.Registry.Register(guard),
		metrics.Registry.Register(&site.Doors{Client: c}),
		metrics.Registry.Register(&site.Checks{Memory: checks, Clock: clock.RealClock{}}),
		metrics.Registry.Register(expiry),
	)
	if err == nil && o.Licenses != nil {
		err = metrics.Registry.Register(&site.Licenses{Client: c, Verifier: o.Licenses, Namespace: o.Namespace})
	}
	if err != nil {
		return fmt.Errorf("registering the metrics: %w", err)
	}
	return nil
}

// expiryNotices converts days to durations, the longest first.
func expiryNotices(days []int) ([]time.Duration, error) {
	notices := make([]time.Duration, len(days))
	for i, d := range slices.Sorted(slices.Values(days)) {
		if d < 1 || d > 3650 {
			return nil, fmt.Errorf("a notice %d days before the end: want 1 to 3650", d)
		}
		notices[len(days)-1-i] = time.Duration(d) * 24 * time.Hour
	}
	return notices, nil
}

// newManager returns a manager for a cluster that has what the controllers need, or when ctx is done.
func newManager(ctx context.Context, config *rest.Config, o Options, log logr.Logger) (ctrl.Manager, error) {
	mgr, err := manager.New(config, o.Telemetry, ctrl.Options{
		Logger:                        log,
		GracefulShutdownTimeout:       new(shutdownTimeout),
		LeaderElection:                o.LeaderElection,
		LeaderElectionID:              LeaderElectionID,
		LeaderElectionNamespace:       o.Namespace,
		LeaderElectionReleaseOnCancel: true, // safe: nothing runs after Start returns
		Client:                        client.Options{FieldOwner: fieldOwner},
		Cache:                         CacheOptions(o),
	})
	if err != nil {
		return nil, err
	}
	return scoped.Manager(mgr, o.Scope), awaitPrerequisites(ctx, mgr, o, log)
}

// CacheOptions are those of the cache that all controllers share. It needs the indexes of package index.
func CacheOptions(o Options) cache.Options {
	return cache.Options{
		// A read of a kind that is not cached must fail, and not start to cache every Secret of the cluster.
		ReaderFailOnMissingInformer: true,
		DefaultTransform:            packed.Transform,
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Secret{}:                {Namespaces: map[string]cache.Config{o.Namespace: {}, o.CredentialsNamespace: {}, o.IntakeNamespace: {}}},
			&tokensv1alpha1.APIToken{}:      {Namespaces: watched(o.Scope)},
			&tokensv1alpha1.AtlassianSite{}: {Namespaces: watched(o.Scope)},
		},
	}
}

// watched are the namespaces of a cache. A cache of one namespace that stands for all would copy what it lists twice.
func watched(namespaces scope.Namespaces) map[string]cache.Config {
	if len(namespaces) == 0 {
		return nil
	}
	found := map[string]cache.Config{}
	for _, namespace := range namespaces {
		found[namespace] = cache.Config{}
	}
	return found
}
