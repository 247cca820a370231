package extauthz

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"runtime/debug"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"k8s.io/utils/clock"

	"apitokens.dev/operator/internal/audit"
	"apitokens.dev/operator/internal/serving"
	"apitokens.dev/operator/webhook/gateway/contract"
)

const (
	// maxMessage has room for the headers that Envoy accepts by default (60 KiB), twice, and for the rest of the attributes.
	maxMessage = 256 << 10
	// handshakeTimeout bounds the setup of a connection.
	handshakeTimeout = 5 * time.Second
	// minPing is how often a client may send keep-alive pings.
	minPing = 10 * time.Second
	// ping is how long a client may be silent before it is asked whether it is still there.
	ping = time.Minute
)

// Server serves the contract on a port of its own.
type Server struct {
	grpc    *grpc.Server
	service *service
}

// NewServer returns a server that calls observe with each exchange. Its health is that of ready. There is no reflection. Without
// settings for TLS it speaks plain HTTP/2.
func NewServer(decider contract.Decider, observe func(*audit.Exchange), ready func() error, settings *tls.Config, alsoPlain bool, log logr.Logger) *Server {
	connections := serving.FailureLog(clock.RealClock{}, log, "A connection failed")
	questions := serving.FailureLog(clock.RealClock{}, log, "Answering a question failed")
	s := grpc.NewServer(
		grpc.Creds(newCredentials(settings, alsoPlain, connections)), grpc.MaxRecvMsgSize(maxMessage), grpc.ConnectionTimeout(handshakeTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: ping}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPing, PermitWithoutStream: true}),
		grpc.UnaryInterceptor(func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (answer any, err error) {
			defer func() {
				if r := recover(); r != nil {
					questions.Printf("panic: %v\n%s", r, debug.Stack())
					err = status.Error(codes.Internal, "internal error")
				}
			}()
			return handle(ctx, request)
		}),
	)
	checks := &service{decider: decider, observe: observe}
	authv3.RegisterAuthorizationServer(s, checks)
	grpc_health_v1.RegisterHealthServer(s, health{ready: ready})
	return &Server{grpc: s, service: checks}
}

// Trace has the server make a span for each question. It must be called before Serve. A nil tracer changes nothing.
func (s *Server) Trace(tracer trace.Tracer) { s.service.tracer = tracer }

// Serve answers until Shutdown is called.
func (s *Server) Serve(listener net.Listener) error {
	if err := s.grpc.Serve(listener); err != nil {
		return fmt.Errorf("serving gRPC: %w", err)
	}
	return nil
}

// Shutdown finishes the requests in flight, until ctx is done.
func (s *Server) Shutdown(ctx context.Context) error {
	stopped := make(chan struct{})
	go func() {
		s.grpc.GracefulStop()
		close(stopped)
	}()
	select {
	case <-stopped:
		return nil
	case <-ctx.Done():
		s.grpc.Stop()
		return ctx.Err()
	}
}

// health is the readiness of the process, for gateways that check it over gRPC.
type health struct {
	grpc_health_v1.UnimplementedHealthServer
	ready func() error
}

// Check implements grpc.health.v1.
func (h health) Check(context.Context, *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	if h.ready() != nil {
		return &grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_NOT_SERVING}, nil
	}
	return &grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVING}, nil
}
