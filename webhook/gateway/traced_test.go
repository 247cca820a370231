package gateway

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/authurl"
)

// Every contract answers the same with spans as without. A span says what was decided, and none of the caller key, the credentials
// and the client's path.
func TestSpansOfEveryContract(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	l := newListeners(t, sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)).Tracer("test"))
	plain := newListeners(t, nil)
	for name, ask := range askers() {
		for at, sent := range map[authn.SiteName]string{keyed: key, certified: authurl.NoKey, {Namespace: "jira", Name: "unknown"}: key} {
			settings := func(of *listeners) *tls.Config {
				return &tls.Config{RootCAs: of.ours.Pool(), MinVersion: tls.VersionTLS13}
			}
			spans.Reset()
			if got, want := ask(l, at, settings(l), sent), ask(plain, at, settings(plain), sent); !slices.Equal(got, want) {
				t.Errorf("%s, %s: answered %+v, without spans %+v", name, at, got, want)
			}
			reasons, ended := l.observed(), spans.Ended()
			if len(ended) != len(reasons) || len(reasons) == 0 {
				t.Fatalf("%s, %s: %d spans for %d questions", name, at, len(ended), len(reasons))
			}
			for i, span := range ended {
				text := fmt.Sprint(span.Name(), span.Attributes(), span.Status(), span.Events())
				for _, want := range []string{"authenticate", string(reasons[i]), at.Namespace, at.Name} {
					if !strings.Contains(text, want) {
						t.Errorf("%s, %s: the span does not say %q: %s", name, at, want, text)
					}
				}
				if failed := span.Status().Code == codes.Error; failed != (reasons[i] != authn.ReasonAuthenticated) {
					t.Errorf("%s, %s: failed %v for %s", name, at, failed, reasons[i])
				}
				for _, never := range []string{key, l.authorizationOf[keyed], "Bearer pat", "myself"} {
					if never != "" && strings.Contains(text, never) {
						t.Errorf("%s, %s: the span has %q in it: %s", name, at, never, text)
					}
				}
			}
		}
	}
}

// The span is a child of the gateway's own.
func TestSpanOfAGateway(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	l := newListeners(t, sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)).Tracer("test"))
	const trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	ask := askOver("HTTP/1.1", authurl.Nginx, "", func(h http.Header) {
		h.Set("X-Original-Url", "https://jira.example.com/rest/api/2/myself")
		h.Set("Traceparent", "00-"+trace+"-"+parent+"-01")
	})
	started := time.Now()
	ask(l, keyed, &tls.Config{RootCAs: l.ours.Pool(), MinVersion: tls.VersionTLS13}, key)
	if len(spans.Ended()) == 0 {
		t.Error("there is no span")
	}
	for _, span := range spans.Ended() {
		if span.SpanContext().TraceID().String() != trace || span.Parent().SpanID().String() != parent {
			t.Errorf("the span is in trace %s below %s", span.SpanContext().TraceID(), span.Parent().SpanID())
		}
		if span.StartTime().Before(started) || span.EndTime().Before(span.StartTime()) {
			t.Error("the span has other times")
		}
	}
}
