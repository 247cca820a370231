// Package serving runs the gateway and the portal: the port, the feed behind it, and an orderly shutdown.
package serving

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"apitokens.dev/operator/internal/feed"
	"apitokens.dev/operator/internal/manager"
)

// Options are the settings that the gateway and the portal share.
type Options struct {
	manager.Telemetry
	// BindAddress is the address of the handler. Nothing else is served there.
	BindAddress string
	// TLS is how all ports for clients speak TLS.
	TLS TLSFiles
	// DrainDelay is how long the process keeps serving after SIGTERM while it reports not ready.
	// ShutdownTimeout bounds how long requests in flight may take after that.
	DrainDelay, ShutdownTimeout time.Duration

	Feed feed.Config
	// Audit receives the audit lines.
	Audit io.Writer

	// Clock tells the time. Nil means the real one.
	Clock clock.Clock
	// Registry receives the metrics. Nil means the registry that /metrics serves.
	Registry prometheus.Registerer
}

// Prepare sets the clock and the registry of a process of its own, and what its clients read from the environment. It returns the
// certificate of its ports, or nil for plain HTTP. Call it before the first client is made.
func (o *Options) Prepare(log logr.Logger) (*Certificate, error) {
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	if o.Registry == nil {
		o.Registry = metrics.Registry
	}
	if err := setTransportEnv(); err != nil {
		return nil, err
	}
	return loadCertificate(*o, log)
}

// Server serves ports from what a feed keeps fresh.
//
// On shutdown it reports not ready but keeps serving for drainDelay, then finishes the requests in flight. The feed and
// the background work stop last, so that the last answer is as fresh as the first.
type Server struct {
	ports []Port
	feed  *feed.Feed
	// certificate is that of the ports, or nil.
	certificate *Certificate
	// background runs as long as the feed does. It may be nil.
	background                  func(context.Context)
	drainDelay, shutdownTimeout time.Duration

	draining atomic.Bool
}

// Port is an address and what serves there. Serve returns nil once Shutdown has been called, which finishes the requests in
// flight until its context is done.
type Port struct {
	Address  string
	Serve    func(net.Listener) error
	Shutdown func(context.Context) error
}

// HTTP is how a port serves HTTP.
type HTTP struct {
	Server *http.Server
	// AlsoPlain accepts connections without TLS beside those with it.
	AlsoPlain bool
	// Brief means that handlers take no longer than a moment: they need not know whether their client has left.
	Brief bool
}

// Serve answers until the server is shut down, with TLS if it has settings for that.
func (h HTTP) Serve(l net.Listener) error {
	if err := h.Server.Serve(h.listen(conns{l})); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving HTTP: %w", err)
	}
	return nil
}

// NewServer returns a server at the BindAddress, which renews the certificate of its ports if that is not nil. background runs
// beside it until the last request is answered; it may be nil.
func NewServer(o Options, web HTTP, certificate *Certificate, f *feed.Feed, background func(context.Context)) *Server {
	web.AlsoPlain = certificate.AlsoPlain()
	return &Server{
		ports: []Port{{o.BindAddress, web.Serve, web.Server.Shutdown}}, feed: f, certificate: certificate, background: background,
		drainDelay: o.DrainDelay, shutdownTimeout: o.ShutdownTimeout,
	}
}

// AddPort adds a port, before the server starts.
func (s *Server) AddPort(p Port) { s.ports = append(s.ports, p) }

// SetupWithManager adds the server and its readiness check to the manager.
func (s *Server) SetupWithManager(mgr ctrl.Manager) error {
	if err := errors.Join(mgr.Add(s), mgr.AddReadyzCheck("serving", s.Ready)); err != nil {
		return fmt.Errorf("setting up the server: %w", err)
	}
	return nil
}

// NeedLeaderElection is false: every replica serves.
func (s *Server) NeedLeaderElection() bool { return false }

// Ready fails until the feed is ready and there is a certificate, and again from SIGTERM on.
func (s *Server) Ready(r *http.Request) error {
	if s.draining.Load() {
		return errors.New("shutting down: gateways should ask another replica")
	}
	if err := s.certificate.ready(); err != nil {
		return err
	}
	return s.feed.Ready(r)
}

// Start serves until ctx is done and all requests in flight are answered.
func (s *Server) Start(ctx context.Context) error {
	defer Reserve()()
	listeners, err := s.listen(ctx)
	if err != nil {
		return err
	}
	afterCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.feed.Start(afterCtx) })
	group.Go(func() error {
		select {
		case <-s.feed.Synced():
			manager.SettleMemory()
		case <-afterCtx.Done():
		}
		return nil
	})
	for _, run := range s.beside() {
		group.Go(func() error {
			run(afterCtx)
			return nil
		})
	}
	for i, p := range s.ports {
		group.Go(func() error { return p.Serve(listeners[i]) })
	}
	group.Go(func() error {
		defer stop()
		<-ctx.Done()
		return s.drain(context.WithoutCancel(ctx))
	})
	return group.Wait()
}

// beside returns what runs beside the ports.
func (s *Server) beside() (all []func(context.Context)) {
	if s.background != nil {
		all = append(all, s.background)
	}
	if s.certificate != nil {
		all = append(all, s.certificate.run)
	}
	return all
}

// listen listens on all ports, or on none.
func (s *Server) listen(ctx context.Context) ([]net.Listener, error) {
	var listeners []net.Listener
	for _, p := range s.ports {
		l, err := Listen(ctx, p.Address)
		if err != nil {
			for _, l := range listeners {
				_ = l.Close() // the first error says why
			}
			return nil, fmt.Errorf("listening: %w", err)
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

// Listen listens without TCP keep-alive, which would take four system calls for each connection. Servers have to find out by themselves
// that a client is gone: those of HTTP end a connection that is idle.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	return (&net.ListenConfig{KeepAlive: -1}).Listen(ctx, "tcp", address)
}

func (s *Server) drain(ctx context.Context) error {
	s.draining.Store(true)
	<-time.After(s.drainDelay)
	ctx, cancel := context.WithTimeout(ctx, s.shutdownTimeout)
	defer cancel()
	var group errgroup.Group
	for _, p := range s.ports {
		group.Go(func() error { return p.Shutdown(ctx) })
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("waiting for requests in flight: %w", err)
	}
	return nil
}

// Limits of both ports.
const (
	readHeaderTimeout = 5 * time.Second
	idleTimeout       = 2 * time.Minute
	// maxHeaderBytes has room for everything that nginx lets through with the sample configuration: 4 buffers of 16 KiB, the
	// Host once more in X-Original-URL, and a space behind each colon that the client left out. nginx makes a 500 of the
	// answer to more.
	maxHeaderBytes = 128 << 10
)

// NewHTTP returns an HTTP server whose handler answers every request. The library answers none by itself. timeout bounds
// reading a request, and writing its answer.
func NewHTTP(handler http.Handler, timeout time.Duration) *http.Server {
	return &http.Server{
		Handler: handler,
		// Otherwise the library would answer `OPTIONS *` with 200.
		DisableGeneralOptionsHandler: true,
		ReadHeaderTimeout:            readHeaderTimeout,
		ReadTimeout:                  timeout,
		WriteTimeout:                 timeout,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               maxHeaderBytes,
	}
}

// setTransportEnv sets the environment variables of feed.TransportEnv, unless they are set.
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
