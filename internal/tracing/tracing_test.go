package tracing_test

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel/trace"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"apitokens.dev/operator/internal/tracing"
)

// received is a collector that keeps what it receives.
type received struct {
	collector.UnimplementedTraceServiceServer

	mu    sync.Mutex
	names []string
	all   strings.Builder
}

// Export implements the collector's service (opentelemetry/proto/collector/trace/v1).
func (c *received) Export(_ context.Context, r *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, of := range r.GetResourceSpans() {
		for _, scope := range of.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				c.names = append(c.names, span.GetName())
				c.all.WriteString(" trace " + hex.EncodeToString(span.GetTraceId()) + " parent " + hex.EncodeToString(span.GetParentSpanId()))
			}
		}
	}
	c.all.WriteString(r.String())
	return &collector.ExportTraceServiceResponse{}, nil
}

// ServeHTTP is the same over HTTP.
func (c *received) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	request := &collector.ExportTraceServiceRequest{}
	if err == nil {
		err = proto.Unmarshal(body, request)
	}
	if err != nil || r.URL.Path != "/v1/traces" {
		http.Error(w, "not a trace", http.StatusBadRequest)
		return
	}
	_, _ = c.Export(r.Context(), request)
}

// listen starts the collector, and returns its address.
func (c *received) listen(t *testing.T, protocol string) string {
	t.Helper()
	if protocol != "grpc" {
		server := httptest.NewServer(c)
		t.Cleanup(server.Close)
		return server.URL
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, c)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return "http://" + listener.Addr().String()
}

const (
	secret = "asp_0123456789abcdef_0123456789abcdefghijklmnopqrstuvwxyz0123456789"
	parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
)

// work does one of everything that has a span, with a secret wherever a request can have one.
func work(t *testing.T, tracer trace.Tracer) {
	t.Helper()
	served := tracing.Handler(tracer, "rest", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	}))
	server := httptest.NewServer(served)
	defer server.Close()
	client := &http.Client{Transport: tracing.Transport(tracer, "product")(http.DefaultTransport)}
	for _, method := range []string{http.MethodPost, secret[:16]} {
		request, err := http.NewRequestWithContext(t.Context(), method, server.URL+"/"+secret+"?x="+secret, strings.NewReader(secret))
		if err != nil {
			t.Fatal(err)
		}
		request.SetBasicAuth(secret, secret)
		request.Header.Set("Traceparent", parent)
		request.Header.Set("Tracestate", "")
		request.Header.Set("User-Agent", secret)
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
	}
	request, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:1/"+secret, http.NoBody)
	if response, err := client.Do(request); err == nil {
		response.Body.Close()
		t.Error("something answers")
	}
	pass := tracing.Reconciler(tracer, "APIToken", reconcile.Func(func(context.Context, reconcile.Request) (reconcile.Result, error) {
		return reconcile.Result{}, &url.Error{Op: "Get", URL: "https://jira.intranet/" + secret, Err: errors.New("the user alice\xff")}
	}))
	if _, err := pass.Reconcile(t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Namespace: "jira", Name: "alice-ci"}}); err == nil {
		t.Error("the error is lost")
	}
}

// Spans reach a collector over both protocols, as children of the gateway's, without any secret.
func TestSpansReachACollector(t *testing.T) {
	for _, protocol := range []string{"", "http/protobuf", "grpc"} {
		t.Run(protocol, func(t *testing.T) {
			c := &received{}
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.listen(t, protocol))
			t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
			t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "k8s.cluster.name=blue")
			tracer, stop, err := tracing.Start(t.Context(), "portal", logr.Discard())
			if err != nil {
				t.Fatal(err)
			}
			work(t, tracer)
			stop()
			c.mu.Lock()
			defer c.mu.Unlock()
			for _, want := range []string{"rest POST", "rest HTTP", "product POST", "product HTTP", "product GET", "reconcile APIToken"} {
				if !strings.Contains("|"+strings.Join(c.names, "|")+"|", "|"+want+"|") {
					t.Errorf("no span is named %q: %q", want, c.names)
				}
			}
			all := c.all.String()
			for _, want := range []string{"apitoken-portal", "blue", "alice-ci", "trace " + parent[3:35] + " parent " + parent[36:52]} {
				if !strings.Contains(all, want) {
					t.Errorf("the spans do not say %q: %s", want, all)
				}
			}
			for _, never := range []string{secret[:12], "jira.intranet", "the user"} {
				if strings.Contains(all, never) {
					t.Errorf("the spans have %q in them: %s", never, all)
				}
			}
		})
	}
}

// Without an endpoint nothing is wrapped, so that it costs nothing. A setting that is wrong is an error at the start.
func TestStart(t *testing.T) {
	const endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT"
	for _, tc := range []struct {
		name string
		env  map[string]string
		on   bool
		err  string
	}{
		{name: "nothing is set"},
		{name: "other settings", env: map[string]string{"OTEL_SERVICE_NAME": "x", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}},
		{name: "an endpoint", env: map[string]string{endpoint: "http://127.0.0.1:1"}, on: true},
		{name: "one for traces", env: map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1/v1/traces"}, on: true},
		{name: "no exporter", env: map[string]string{endpoint: "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"}},
		{name: "turned off", env: map[string]string{endpoint: "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "True"}},
		{name: "another protocol", env: map[string]string{endpoint: "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"},
			err: "setting up traces: OTEL_EXPORTER_OTLP_PROTOCOL=http/json: must be grpc or http/protobuf"},
		{name: "attributes that cannot be read", env: map[string]string{endpoint: "http://127.0.0.1:1", "OTEL_RESOURCE_ATTRIBUTES": "x"},
			err: "setting up traces: reading OTEL_RESOURCE_ATTRIBUTES"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for name, value := range tc.env {
				t.Setenv(name, value)
			}
			tracer, stop, err := tracing.Start(t.Context(), "webhook", logr.Discard())
			if tc.err != "" {
				if err == nil || !strings.HasPrefix(err.Error(), tc.err) {
					t.Fatalf("the error is %v, want %s", err, tc.err)
				}
				return
			}
			if err != nil || (tracer != nil) != tc.on {
				t.Fatalf("tracer %v, error %v, want on %v", tracer, err, tc.on)
			}
			stop()
		})
	}
}

// An attribute that is not UTF-8 would keep the whole batch from being sent.
func TestText(t *testing.T) {
	if got := tracing.Text("name", "a\xffb").Value.AsString(); got != "a\uFFFDb" {
		t.Errorf("the attribute is %q", got)
	}
}
