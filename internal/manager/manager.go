// Package manager makes the controller-runtime manager of each process.
package manager

import (
	"errors"
	"fmt"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

// Addresses are the addresses of the endpoints for probes and metrics. "0" turns one off.
type Addresses struct {
	// Health serves /healthz and /readyz, Metrics serves /metrics.
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

// New returns a manager that knows the API types and serves at the addresses. It is healthy while it runs. The caller adds a
// readiness check.
func New(config *rest.Config, at Addresses, o ctrl.Options) (ctrl.Manager, error) {
	StartMemory()
	o.Scheme, o.MapperProvider = runtime.NewScheme(), newMapper
	if err := errors.Join(tokensv1alpha1.AddToScheme(o.Scheme), corev1.AddToScheme(o.Scheme), coordinationv1.AddToScheme(o.Scheme),
		admissionv1.AddToScheme(o.Scheme)); err != nil {
		return nil, fmt.Errorf("registering the API types: %w", err)
	}
	o.HealthProbeBindAddress = at.Health
	o.Metrics = metricsserver.Options{BindAddress: at.Metrics}
	config = rest.CopyConfig(config)
	config.QPS = -1 // no limit here: the API server has priority and fairness
	mgr, err := ctrl.NewManager(config, o)
	if err == nil {
		err = mgr.AddHealthzCheck("ping", healthz.Ping)
	}
	if err != nil {
		return nil, fmt.Errorf("making the manager: %w", err)
	}
	if at.AddReadyzCheck != nil {
		return elsewhere{mgr, at.AddReadyzCheck}, nil
	}
	return mgr, nil
}
