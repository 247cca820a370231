// Package portal runs the portal, where people and scripts manage their own tokens with a REST API and a page.
package portal

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"path"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/audit"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/feed"
	"apitokens.dev/operator/internal/manager"
	"apitokens.dev/operator/internal/projection"
	"apitokens.dev/operator/internal/serving"
	"apitokens.dev/operator/webhook/portal/page"
	restapi "apitokens.dev/operator/webhook/portal/rest"
	"apitokens.dev/operator/webhook/portal/selfservice"
)

const (
	// fieldOwner is the field manager of the portal's writes.
	fieldOwner = "apitoken-portal"
	// requestTimeout bounds reading a request, and writing its answer.
	requestTimeout = time.Minute
)

// Run serves the REST API and the page until ctx is done.
func Run(ctx context.Context, config *rest.Config, o serving.Options, log logr.Logger) error {
	if err := serving.SetTransportEnv(); err != nil {
		return err
	}
	o = o.WithDefaults()
	config = rest.CopyConfig(config)
	config.Wrap(selfservice.MarkConnectionErrors)
	mgr, err := newManager(ctx, config, o, log)
	if err != nil {
		return err
	}
	index := authn.NewIndex(o.Clock.Now)
	fed, err := feed.NewOfTokens(config, o.Feed, index, log.WithName("feed"), o.Registry)
	if err != nil {
		return err
	}
	auditLog := audit.NewLog(o.Audit, o.Registry)
	defer auditLog.Close()
	service := &selfservice.Service{
		Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Index: index, Product: atlassian.NewClient(), Log: auditLog, Logger: log.WithName("portal"),
		Clock: o.Clock, Random: rand.Reader, Namespace: o.Feed.Namespace, CredentialsNamespace: o.Feed.CredentialsNamespace,
	}
	handler := newHandler(newMetrics(o.Registry), service)
	server := serving.NewServer(o, serving.NewHTTP(handler, requestTimeout), fed, nil)
	if err := server.SetupWithManager(mgr); err != nil {
		return err
	}
	if err := mgr.Start(ctx); err != nil {
		return fmt.Errorf("running the portal: %w", err)
	}
	service.AwaitCleanUps()
	return nil
}

// newHandler returns the handler of the REST API and the page. It answers 404 to paths that are not clean, where http.ServeMux
// would redirect to a path that the client does not know.
func newHandler(m *requestMetrics, service *selfservice.Service) http.Handler {
	mux := http.NewServeMux()
	api, pages := m.instrument("rest", restapi.NewHandler(service)), m.instrument("page", page.NewHandler(service))
	for path, face := range map[string]http.Handler{selfservice.APIPath: api, selfservice.PagePath: pages} {
		mux.Handle(selfservice.Mount+path, face)
		mux.Handle(selfservice.Mount+path+"/", face)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		selfservice.Protect(w.Header(), selfservice.NothingLoads)
		clean := path.Clean("/" + r.URL.Path)
		if r.URL.Path != clean && r.URL.Path != clean+"/" {
			http.NotFound(w, r)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), selfservice.AnswerTimeout)
		defer cancel()
		mux.ServeHTTP(w, r.WithContext(ctx))
	})
}

// fillCache starts the informers of the cache. Reads of other kinds fail.
func fillCache(ctx context.Context, mgr ctrl.Manager) error {
	if err := selfservice.Indices(ctx, mgr.GetFieldIndexer()); err != nil {
		return err
	}
	for _, object := range []client.Object{&tokensv1alpha1.APIToken{}, &tokensv1alpha1.AtlassianSite{}, &corev1.Secret{}} {
		if _, err := mgr.GetCache().GetInformer(ctx, object); err != nil {
			return fmt.Errorf("starting an informer: %w", err)
		}
	}
	return nil
}

// newManager returns a manager that caches APITokens, AtlassianSites, and of the Secrets only the projections of sites.
func newManager(ctx context.Context, config *rest.Config, o serving.Options, log logr.Logger) (ctrl.Manager, error) {
	mgr, err := manager.New(config, o.Addresses, ctrl.Options{
		Logger:                  log,
		GracefulShutdownTimeout: new(o.DrainDelay + o.ShutdownTimeout + 5*time.Second),
		Client:                  client.Options{FieldOwner: fieldOwner},
		Cache: cache.Options{
			ReaderFailOnMissingInformer: true,
			DefaultTransform:            cache.TransformStripManagedFields(),
			ByObject: map[client.Object]cache.ByObject{
				&tokensv1alpha1.APIToken{}:      {},
				&tokensv1alpha1.AtlassianSite{}: {},
				// Secrets are only read, and those with many certificate authorities are large.
				&corev1.Secret{}: {UnsafeDisableDeepCopy: new(true), Namespaces: map[string]cache.Config{o.Feed.Namespace: {
					FieldSelector: fields.OneTermEqualSelector("type", projection.SecretType),
				}}},
			},
		},
	})
	if err != nil {
		return nil, err
	}
	return mgr, fillCache(ctx, mgr)
}
