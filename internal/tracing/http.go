package tracing

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// FromHeader returns a context with the span that the gateway sent, in the header traceparent (https://www.w3.org/TR/trace-context/).
func FromHeader(ctx context.Context, h http.Header) context.Context {
	return propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(h))
}

// Text returns an attribute. One that is not UTF-8 would keep a whole batch of spans from being sent.
func Text(name, value string) attribute.KeyValue {
	return attribute.String(name, strings.ToValidUTF8(value, "\uFFFD"))
}

// method keeps clients from inventing names of spans.
func method(m string) string {
	known := []string{
		http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions,
	}
	if slices.Contains(known, m) {
		return m
	}
	return "HTTP"
}

// setStatus says how a request ended. From the status failed on, the span has an error.
func setStatus(span trace.Span, status, failed int) {
	span.SetAttributes(attribute.Int("http.response.status_code", status))
	if status >= failed {
		span.SetStatus(codes.Error, http.StatusText(status))
	}
}

// statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter

	status int
}

// WriteHeader implements http.ResponseWriter.
func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// roundTripper sends requests with a span around each.
type roundTripper struct {
	tracer trace.Tracer
	name   string
	next   http.RoundTripper
}

// RoundTrip implements http.RoundTripper. It does not tell the other side of the span.
func (t roundTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, span := t.tracer.Start(r.Context(), t.name+" "+method(r.Method), trace.WithSpanKind(trace.SpanKindClient))
	defer span.End()
	response, err := t.next.RoundTrip(r.WithContext(ctx))
	if err != nil {
		span.SetStatus(codes.Error, "no answer") // the error may quote the URL
		return response, err
	}
	setStatus(span, response.StatusCode, http.StatusBadRequest)
	return response, nil
}

// WrappedRoundTripper is for client-go.
func (t roundTripper) WrappedRoundTripper() http.RoundTripper { return t.next }
