// Package manager makes the controller-runtime manager of each process.
package manager

import (
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/trace"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/tracing"
)

// Telemetry is what a process says of itself: probes, metrics and spans.
type Telemetry struct {
	// Tracer makes spans. Nil means that there are none.
	Tracer trace.Tracer
	// Health is the address of /healthz and /readyz, Metrics that of /metrics. "0" turns one off.
	Health, Metrics string
	// AddReadyzCheck receives the readiness checks, in a process that serves those of several managers together. If it is nil,
	// the manager serves them.
	AddReadyzCheck func(name string, check healthz.Checker) error
}

// elsewhere is a manager whose readiness checks are served elsewhere.
type elsewhere struct {
	ctrl.Manager
	add func(name string, check healthz.Checker) error
}

// AddReadyzCheck adds the check where it is served.
func (e elsewhere) AddReadyzCheck(name string, check healthz.Checker) error {
	return e.add(name, check)
}

// New returns a manager that knows the API types and serves probes and metrics. It is healthy while it runs. The caller adds a
// readiness check.
func New(config *rest.Config, t Telemetry, o ctrl.Options) (ctrl.Manager, error) {
	StartMemory()
	o.Scheme, o.MapperProvider = runtime.NewScheme(), newMapper
	if err := errors.Join(tokensv1alpha1.AddToScheme(o.Scheme), corev1.AddToScheme(o.Scheme), coordinationv1.AddToScheme(o.Scheme),
		admissionv1.AddToScheme(o.Scheme), eventsv1.AddToScheme(o.Scheme)); err != nil {
		return nil, fmt.Errorf("registering the API types: %w", err)
	}
	o.HealthProbeBindAddress = t.Health
	o.Metrics = metricsserver.Options{BindAddress: t.Metrics}
	config = rest.CopyConfig(config)
	config.QPS = -1 // no limit here: the API server has priority and fairness
	if t.Tracer != nil {
		config.Wrap(tracing.Transport(t.Tracer, "API server"))
	}
	mgr, err := ctrl.NewManager(config, o)
	if err == nil {
		err = mgr.AddHealthzCheck("ping", healthz.Ping)
	}
	if err != nil {
		return nil, fmt.Errorf("making the manager: %w", err)
	}
	if t.AddReadyzCheck != nil {
		return elsewhere{mgr, t.AddReadyzCheck}, nil
	}
	return mgr, nil
}
