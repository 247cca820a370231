package webhook

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"path"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/projection"
	"apitokens.dev/operator/webhook/audit"
	"apitokens.dev/operator/webhook/authn"
	"apitokens.dev/operator/webhook/feed"
	"apitokens.dev/operator/webhook/portal"
	"apitokens.dev/operator/webhook/profile"
	restapi "apitokens.dev/operator/webhook/rest"
)

const (
	// portalFieldOwner is the name under which the portal writes.
	portalFieldOwner = "apitoken-portal"
	// portalTimeout bounds a request to the portal, which may wait for the product and for the API server.
	portalTimeout = time.Minute
)

// RunPortal serves the REST API and the page until ctx is done.
func RunPortal(ctx context.Context, config *rest.Config, o Options, log logr.Logger) error {
	if err := setTransportEnv(); err != nil {
		return err
	}
	mgr, err := newPortalManager(config, o, log)
	if err != nil {
		return err
	}
	if err := fillCache(ctx, mgr); err != nil {
		return err
	}
	index := authn.NewIndex(time.Now)
	fed, err := feed.NewOfTokens(config, o.Feed, index, log.WithName("feed"), metrics.Registry)
	if err != nil {
		return err
	}
	lines := audit.NewLog(o.Audit, metrics.Registry)
	defer lines.Close()
	serves := &serving{
		server: newServer(o.BindAddress, portalHandler(newPortalMetrics(metrics.Registry), &portal.Portal{
			Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Index: index, Product: atlassian.NewClient(), Log: lines, Logger: log.WithName("portal"),
			Clock: clock.RealClock{}, Random: rand.Reader, Namespace: o.Feed.Namespace, CredentialsNamespace: o.Feed.CredentialsNamespace,
		})),
		feed: fed, drainDelay: o.DrainDelay, shutdownTimeout: o.ShutdownTimeout,
	}
	serves.server.ReadTimeout, serves.server.WriteTimeout = portalTimeout, portalTimeout
	if err := errors.Join(
		mgr.Add(serves), mgr.AddHealthzCheck("ping", healthz.Ping), mgr.AddReadyzCheck("serving", serves.Ready),
	); err != nil {
		return fmt.Errorf("setting up the portal: %w", err)
	}
	if err := mgr.Start(ctx); err != nil {
		return fmt.Errorf("running the portal: %w", err)
	}
	return nil
}

// portalHandler is all that the portal serves. A path that is not as it should be is not found, rather than mended.
func portalHandler(m *portalMetrics, p *portal.Portal) http.Handler {
	mux := http.NewServeMux()
	api, page := m.of("rest", restapi.NewHandler(p)), m.of("page", profile.NewHandler(p))
	for path, face := range map[string]http.Handler{portal.APIPath: api, portal.PagePath: page} {
		mux.Handle(portal.Mount+path, face) // or the library would answer with a redirect, to a path that is none of the client's
		mux.Handle(portal.Mount+path+"/", face)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		portal.Protect(w.Header(), portal.NothingLoads)
		clean := path.Clean("/" + r.URL.Path)
		if r.URL.Path != clean && r.URL.Path != clean+"/" {
			http.NotFound(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// fillCache says what is cached. Whatever else is read from the cache fails.
func fillCache(ctx context.Context, mgr ctrl.Manager) error {
	if err := portal.Indices(ctx, mgr.GetFieldIndexer()); err != nil {
		return err
	}
	for _, object := range []client.Object{&tokensv1alpha1.APIToken{}, &tokensv1alpha1.AtlassianSite{}, &corev1.Secret{}} {
		if _, err := mgr.GetCache().GetInformer(ctx, object); err != nil {
			return fmt.Errorf("watching what the portal lists: %w", err)
		}
	}
	return nil
}

// newPortalManager caches what the portal lists, and of Secrets only what the controller projects of sites.
func newPortalManager(config *rest.Config, o Options, log logr.Logger) (ctrl.Manager, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(tokensv1alpha1.AddToScheme(scheme), corev1.AddToScheme(scheme)); err != nil {
		return nil, fmt.Errorf("registering the API types: %w", err)
	}
	config = rest.CopyConfig(config)
	config.QPS = -1
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                  scheme,
		Logger:                  log,
		HealthProbeBindAddress:  o.HealthAddress,
		Metrics:                 metricsserver.Options{BindAddress: o.MetricsAddress},
		GracefulShutdownTimeout: new(o.DrainDelay + o.ShutdownTimeout + 5*time.Second),
		Client:                  client.Options{FieldOwner: portalFieldOwner},
		Cache: cache.Options{
			ReaderFailOnMissingInformer: true,
			DefaultTransform:            cache.TransformStripManagedFields(),
			ByObject: map[client.Object]cache.ByObject{
				&tokensv1alpha1.APIToken{}:      {},
				&tokensv1alpha1.AtlassianSite{}: {},
				&corev1.Secret{}: {Namespaces: map[string]cache.Config{o.Feed.Namespace: {
					FieldSelector: fields.OneTermEqualSelector("type", projection.SecretType),
				}}},
			},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("making the manager: %w", err)
	}
	return mgr, nil
}
