// Package gateway is the process that gateways ask. It answers each contract from an index that the feed keeps fresh.
package gateway

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel/trace"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"

	"apitokens.dev/operator/internal/audit"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/feed"
	"apitokens.dev/operator/internal/manager"
	"apitokens.dev/operator/internal/serving"
	"apitokens.dev/operator/webhook/gateway/contract"
	"apitokens.dev/operator/webhook/gateway/extauthz"
	"apitokens.dev/operator/webhook/gateway/usage"
)

// requestTimeout bounds one question of a gateway. It is no longer than the time for a header, so that a deadline is set once.
const requestTimeout = 5 * time.Second

// Options are the settings of the process.
type Options struct {
	serving.Options
	// GRPCBindAddress is the address of Envoy's contract over gRPC. None, or "0", turns it off.
	GRPCBindAddress string
	// FlushTimeout bounds the time to write last accesses after the last request.
	FlushTimeout time.Duration
}

// clientCertificates asks every gateway for a certificate. The rules of each site verify it, and not all sites want one.
const clientCertificates = tls.RequestClientCert

// NewWeb returns the server of the HTTP contracts, with TLS if there is a certificate, and with spans if there is a tracer.
func NewWeb(index *authn.Index, observe func(*audit.Exchange), certificate *serving.Certificate, tracer trace.Tracer) *http.Server {
	handler := contract.NewHandler(index, observe)
	if tracer != nil {
		handler = contract.NewTracedHandler(tracer, index, observe)
	}
	web := serving.NewHTTP(handler, requestTimeout)
	if certificate != nil {
		web.ConnContext = contract.WithConnection
	}
	certificate.Secure(web, clientCertificates)
	return web
}

// Run answers gateways until ctx is done.
func Run(ctx context.Context, config *rest.Config, o Options, log logr.Logger) error {
	certificate, err := o.Prepare(log.WithName("tls"))
	if err != nil {
		return err
	}
	mgr, err := manager.New(config, o.Telemetry, ctrl.Options{
		Logger: log, GracefulShutdownTimeout: new(o.DrainDelay + o.ShutdownTimeout + o.FlushTimeout + 5*time.Second),
	})
	if err != nil {
		return err
	}
	index := authn.NewIndex(o.Clock.Now)
	fed, err := feed.New(config, o.Feed, index, log.WithName("feed"), o.Registry)
	if err != nil {
		return err
	}
	write, err := usage.NewWriter(config)
	if err != nil {
		return err
	}
	uses := usage.NewRecorder(write, o.Clock, o.FlushTimeout, log.WithName("usage"), o.Registry)
	// The log ends after the manager, so that it writes the lines of the last requests.
	lines := audit.NewLog(o.Audit, o.Registry)
	defer lines.Close()
	observe := func(x *audit.Exchange) {
		lines.Observe(x)
		uses.Observe(x)
	}
	web := NewWeb(index, observe, certificate, o.Tracer)
	server := serving.NewServer(o.Options, serving.HTTP{Server: web, Brief: true}, certificate, fed, uses.Run)
	if a := o.GRPCBindAddress; a != "" && a != "0" {
		ready := func() error { return server.Ready(nil) }
		envoy := extauthz.NewServer(index, observe, ready, certificate.Config(clientCertificates), certificate.AlsoPlain(), log.WithName("grpc"))
		envoy.Trace(o.Tracer)
		server.AddPort(serving.Port{Address: a, Serve: envoy.Serve, Shutdown: envoy.Shutdown})
	}
	if err := server.SetupWithManager(mgr); err != nil {
		return err
	}
	if err := mgr.Start(ctx); err != nil {
		return fmt.Errorf("running the gateway: %w", err)
	}
	return nil
}
