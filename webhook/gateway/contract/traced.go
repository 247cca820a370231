package contract

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"apitokens.dev/operator/internal/audit"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/tracing"
)

// spanName is the name of the span of one question of a gateway.
const spanName = "authenticate"

// NewTracedHandler returns the handler of NewHandler with a span for each question. It is a child of the gateway's, if the gateway
// says which one that is.
func NewTracedHandler(tracer trace.Tracer, decider Decider, observe func(*audit.Exchange)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, span := StartSpan(r.Context(), tracer, r.Header)
		defer span.End()
		NewHandler(decider, Described(span, observe)).ServeHTTP(w, r.WithContext(ctx))
	})
}

// StartSpan starts the span of one question that came with these headers.
func StartSpan(ctx context.Context, tracer trace.Tracer, h http.Header) (context.Context, trace.Span) {
	return tracer.Start(tracing.FromHeader(ctx, h), spanName, trace.WithSpanKind(trace.SpanKindServer))
}

// Described returns an observe function that says in the span what was decided. Nothing that the client wrote is an attribute but the
// public id of its token.
func Described(span trace.Span, observe func(*audit.Exchange)) func(*audit.Exchange) {
	return func(x *audit.Exchange) {
		span.SetAttributes(
			tracing.Text("apitokens.site.namespace", x.Site.Namespace), tracing.Text("apitokens.site.name", x.Site.Name),
			tracing.Text("apitokens.verdict", x.Decision.Verdict.String()), tracing.Text("apitokens.reason", string(x.Decision.Reason)),
			tracing.Text("apitokens.token.id", x.Decision.TokenID),
		)
		if x.Decision.Verdict == authn.CannotDecide {
			span.SetStatus(codes.Error, string(x.Decision.Reason))
		}
		observe(x)
	}
}
