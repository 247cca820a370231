// Package webhook is the process that gateways ask: it serves the contracts from an index that the feed keeps fresh.
package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"apitokens.dev/operator/webhook/audit"
	"apitokens.dev/operator/webhook/authn"
	"apitokens.dev/operator/webhook/contract"
	"apitokens.dev/operator/webhook/feed"
	"apitokens.dev/operator/webhook/usage"
)

// Options are the settings of a process that serves: the webhook, or the portal.
type Options struct {
	// BindAddress is where gateways ask, or the ingress sends what is for the portal. Nothing else is served there.
	BindAddress string
	// HealthAddress serves /healthz and /readyz, MetricsAddress serves /metrics.
	HealthAddress, MetricsAddress string
	// DrainDelay is for how long the process goes on serving after it was told to end, but says that it is not ready.
	// ShutdownTimeout bounds how long requests in flight may take after that, and FlushTimeout how long the webhook may
	// take then to write when tokens were last used.
	DrainDelay, ShutdownTimeout, FlushTimeout time.Duration

	Feed feed.Config
	// Audit is where the audit lines go.
	Audit io.Writer
}

// Limits of the authentication port. A question is one header block: what is larger or slower is no gateway.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	writeTimeout      = 10 * time.Second
	idleTimeout       = 2 * time.Minute
	// Browsers' cookies and Negotiate come along: nginx's large_client_header_buffers are 4 of 8 KiB.
	maxHeaderBytes = 64 << 10
)

// Run serves until ctx is done.
func Run(ctx context.Context, config *rest.Config, o Options, log logr.Logger) error {
	if err := setTransportEnv(); err != nil {
		return err
	}
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Logger:                  log,
		HealthProbeBindAddress:  o.HealthAddress,
		Metrics:                 metricsserver.Options{BindAddress: o.MetricsAddress},
		GracefulShutdownTimeout: new(o.DrainDelay + o.ShutdownTimeout + o.FlushTimeout + 5*time.Second),
	})
	if err != nil {
		return fmt.Errorf("making the manager: %w", err)
	}
	index := authn.NewIndex(time.Now)
	fed, err := feed.New(config, o.Feed, index, log.WithName("feed"), metrics.Registry)
	if err != nil {
		return err
	}
	write, err := usage.NewWriter(config)
	if err != nil {
		return err
	}
	uses := usage.NewRecorder(write, clock.RealClock{}, o.FlushTimeout, log.WithName("usage"), metrics.Registry)
	// The log outlives the manager: it writes what the last requests left in its queue.
	lines := audit.NewLog(o.Audit, metrics.Registry)
	defer lines.Close()
	observe := func(x contract.Exchange) {
		lines.Observe(x)
		uses.Observe(x)
	}
	serves := &serving{
		server: newServer(o.BindAddress, contract.NewHandler(index, observe)), feed: fed, background: uses.Run,
		drainDelay: o.DrainDelay, shutdownTimeout: o.ShutdownTimeout,
	}
	if err := errors.Join(
		mgr.Add(serves), mgr.AddHealthzCheck("ping", healthz.Ping), mgr.AddReadyzCheck("serving", serves.Ready),
	); err != nil {
		return fmt.Errorf("setting up the webhook: %w", err)
	}
	if err := mgr.Start(ctx); err != nil {
		return fmt.Errorf("running the webhook: %w", err)
	}
	return nil
}

func setTransportEnv() error {
	for name, value := range feed.TransportEnv() {
		if _, set := os.LookupEnv(name); !set {
			if err := os.Setenv(name, value); err != nil {
				return fmt.Errorf("setting %s: %w", name, err)
			}
		}
	}
	return nil
}

// newServer returns the server of the authentication port: the handler answers whatever comes, and nothing else does.
func newServer(address string, handler http.Handler) *http.Server {
	return &http.Server{
		Addr:    address,
		Handler: handler,
		// `OPTIONS *` too is for the handler: the library would answer 200.
		DisableGeneralOptionsHandler: true,
		ReadHeaderTimeout:            readHeaderTimeout,
		ReadTimeout:                  readTimeout,
		WriteTimeout:                 writeTimeout,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               maxHeaderBytes,
	}
}
