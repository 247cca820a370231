// Package tracing sends spans to an OpenTelemetry collector, if the environment names one. A span never has a secret in it: no header,
// no URL, and no body is an attribute.
package tracing

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"apitokens.dev/operator/internal/version"
)

// scope is the name of the instrumentation.
const scope = "apitokens.dev/operator"

// stopTimeout bounds sending the last spans.
const stopTimeout = 5 * time.Second

// Start returns a tracer that is set up by the OTEL_ variables of the environment
// (https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/), and a function that sends the last spans.
// Without an endpoint in them the tracer is nil: nothing is traced.
func Start(ctx context.Context, mode string, log logr.Logger) (trace.Tracer, func(), error) {
	if !named() {
		return nil, func() {}, nil
	}
	exporter, err := newExporter(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("setting up traces: %w", err)
	}
	// What the environment says stands last, so that it wins.
	about, err := resource.New(ctx, resource.WithAttributes(
		Text("service.name", "apitoken-"+mode), Text("service.version", version.Running().Version),
	), resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, nil, fmt.Errorf("setting up traces: reading OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Info("Spans were not sent", "error", err.Error()) }))
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(about))
	stop := func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			log.Info("The last spans were not sent", "error", err.Error())
		}
	}
	return provider.Tracer(scope), stop, nil
}

// named reports whether the environment names a collector and does not turn traces off.
func named() bool {
	off := strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") || os.Getenv("OTEL_TRACES_EXPORTER") == "none"
	return !off && (os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != "")
}

var errProtocol = errors.New("must be grpc or http/protobuf")

// newExporter returns the exporter of the protocol that the environment says, or else of http/protobuf, as the specification says.
func newExporter(ctx context.Context) (*otlptrace.Exporter, error) {
	name := "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
	if os.Getenv(name) == "" {
		name = "OTEL_EXPORTER_OTLP_PROTOCOL"
	}
	switch protocol := os.Getenv(name); protocol {
	case "grpc":
		return otlptracegrpc.New(ctx)
	case "", "http/protobuf":
		return otlptracehttp.New(ctx)
	default:
		return nil, fmt.Errorf("%s=%s: %w", name, protocol, errProtocol)
	}
}

// Handler returns a handler with a span around each request, named after what it serves. With a nil tracer it returns h.
func Handler(tracer trace.Tracer, name string, h http.Handler) http.Handler {
	if tracer == nil {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, span := tracer.Start(FromHeader(r.Context(), r.Header), name+" "+method(r.Method), trace.WithSpanKind(trace.SpanKindServer))
		defer span.End()
		counted := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		h.ServeHTTP(counted, r.WithContext(ctx))
		setStatus(span, counted.status, http.StatusInternalServerError)
	})
}

// Transport returns what wraps the transport of a client with a span for each request, named after what it asks. With a nil tracer it
// changes nothing.
func Transport(tracer trace.Tracer, name string) func(http.RoundTripper) http.RoundTripper {
	return func(next http.RoundTripper) http.RoundTripper {
		if tracer == nil {
			return next
		}
		return roundTripper{tracer: tracer, name: name, next: next}
	}
}

// Reconciler returns a reconciler with a span around each pass over an object of a kind. With a nil tracer it returns next.
func Reconciler(tracer trace.Tracer, kind string, next reconcile.Reconciler) reconcile.Reconciler {
	if tracer == nil {
		return next
	}
	return reconcile.Func(func(ctx context.Context, r reconcile.Request) (reconcile.Result, error) {
		ctx, span := tracer.Start(ctx, "reconcile "+kind)
		defer span.End()
		span.SetAttributes(Text("k8s.namespace.name", r.Namespace), Text("apitokens.object.name", r.Name))
		result, err := next.Reconcile(ctx, r)
		if err != nil {
			span.SetStatus(codes.Error, "failed") // the error may quote a URL or a user, and is in the log
		}
		return result, err
	})
}
