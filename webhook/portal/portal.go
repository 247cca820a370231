// Package portal runs the portal, where people and scripts manage their own tokens with a REST API and a page.
package portal

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"net/http"
	"path"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel/trace"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/audit"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/feed"
	"apitokens.dev/operator/internal/manager"
	"apitokens.dev/operator/internal/serving"
	"apitokens.dev/operator/internal/tracing"
	"apitokens.dev/operator/webhook/portal/leaks"
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

// Options are the settings of the process.
type Options struct {
	serving.Options

	// IntakeNamespace is where the portal hands over personal access tokens to the controller.
	IntakeNamespace string
	// Leaks are messages about leaked tokens that the portal takes.
	Leaks leaks.Options
}

// Run serves the REST API and the page until ctx is done.
func Run(ctx context.Context, config *rest.Config, o Options, log logr.Logger) error {
	if err := o.Leaks.Check(); err != nil {
		return err
	}
	certificate, err := o.Prepare(log.WithName("tls"))
	if err != nil {
		return err
	}
	config = rest.CopyConfig(config)
	config.Wrap(selfservice.MarkConnectionErrors)
	mgr, err := manager.New(config, o.Telemetry, ctrl.Options{
		Logger: log, GracefulShutdownTimeout: new(o.DrainDelay + o.ShutdownTimeout + 5*time.Second),
		Client: client.Options{FieldOwner: fieldOwner}, NewClient: newClient,
	})
	if err != nil {
		return err
	}
	index, objects := authn.NewIndex(o.Clock.Now), feed.NewObjects()
	fed, err := feed.NewForPortal(config, o.Feed, index, objects, log.WithName("feed"), o.Registry)
	if err != nil {
		return err
	}
	auditLog := audit.NewLog(o.Audit, o.Registry)
	defer auditLog.Close()
	product := atlassian.NewClient().Wrap(tracing.Transport(o.Tracer, "product"))
	service := &selfservice.Service{
		Client: mgr.GetClient(), Objects: objects, Index: index, Product: product, Log: auditLog, Logger: log.WithName("portal"),
		Clock: o.Clock, Random: rand.Reader, Namespace: o.Feed.Namespace, IntakeNamespace: o.IntakeNamespace, Lease: o.Feed.Lease,
	}
	handler := newHandler(newMetrics(o.Registry), service, leaks.Routes(service, o.Leaks, o.Registry), o.Tracer)
	web := serving.NewHTTP(handler, requestTimeout)
	certificate.Secure(web, tls.NoClientCert)
	server := serving.NewServer(o.Options, serving.HTTP{Server: web}, certificate, fed, nil)
	if err := server.SetupWithManager(mgr); err != nil {
		return err
	}
	defer service.AwaitCleanUps()
	if err := mgr.Start(ctx); err != nil {
		return fmt.Errorf("running the portal: %w", err)
	}
	return nil
}

// newClient returns a client that reads from the API server: the feed is the only cache.
func newClient(config *rest.Config, o client.Options) (client.Client, error) {
	o.Cache = nil
	return client.New(config, o)
}

// newHandler returns the handler of the REST API, the page, and messages about leaks by their paths. It answers 404 to paths that are
// not clean, where http.ServeMux would redirect to a path that the client does not know.
func newHandler(m *requestMetrics, service *selfservice.Service, messages map[string]http.Handler, tracer trace.Tracer) http.Handler {
	mux := http.NewServeMux()
	api := tracing.Handler(tracer, "rest", m.instrument("rest", restapi.NewHandler(service)))
	pages := tracing.Handler(tracer, "page", m.instrument("page", page.NewHandler(service)))
	for path, face := range map[string]http.Handler{selfservice.APIPath: api, selfservice.PagePath: pages} {
		mux.Handle(selfservice.Mount+path, face)
		mux.Handle(selfservice.Mount+path+"/", face)
	}
	for path, take := range messages {
		mux.Handle(selfservice.Mount+path, tracing.Handler(tracer, "leaks", m.instrument("leaks", take)))
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
