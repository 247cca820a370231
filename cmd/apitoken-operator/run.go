package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"apitokens.dev/operator/internal/serving"
	"apitokens.dev/operator/internal/tracing"
)

const (
	// portalBindAddress is the portal's default address beside the webhook.
	portalBindAddress = ":8090"
	probeTimeout      = 10 * time.Second
)

func newRunCommand() *cobra.Command {
	modes := []mode{newController(), newWebhook(), newPortal()}
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run controller, webhook and portal in one process, for a small cluster",
		Long: "Run controller, webhook and portal in one process, for a small cluster. There must be only one such process.\n\n" +
			"Each of the three acts as its own service account, apitoken-controller, apitoken-webhook or apitoken-portal, in\n" +
			"--namespace. So the process needs only the right to impersonate these accounts.",
		Args: cobra.NoArgs,
	}
	for _, m := range modes {
		addFlags(cmd.Flags(), m)
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		kubeconfig, err := config.GetConfig()
		if err != nil {
			return fmt.Errorf("finding the API server: %w", err)
		}
		namespace, err := cmd.Flags().GetString("namespace")
		if err != nil {
			return fmt.Errorf("reading the flags: %w", err)
		}
		if err := shareCertificate(modes); err != nil {
			return err
		}
		tracer, stop, err := tracing.Start(cmd.Context(), cmd.Name(), ctrl.Log.WithName("tracing"))
		if err != nil {
			return err
		}
		defer stop()
		for _, m := range modes {
			m.telemetry.Tracer = tracer
		}
		return runAll(cmd.Context(), kubeconfig, modes, namespace, ctrl.Log)
	}
	return cmd
}

// addFlags adds the flags of a mode. A flag that several modes have sets all of them.
func addFlags(f *pflag.FlagSet, m mode) {
	m.cmd.Flags().VisitAll(func(flag *pflag.Flag) {
		flag = new(*flag)
		switch known := f.Lookup(flag.Name); {
		case flag.Name == "leader-elect": // there is only one process
		case flag.Name == "bind-address" && known != nil:
			flag.Name, flag.DefValue = "portal-bind-address", portalBindAddress
			_ = flag.Value.Set(portalBindAddress) // a string takes every value
			f.AddFlag(flag)
		case known != nil:
			known.Value = sharedValue{known.Value, flag.Value}
		default:
			f.AddFlag(flag)
		}
	})
}

// sharedValue is the value of a flag that several modes have.
type sharedValue struct {
	pflag.Value
	other pflag.Value
}

// Set sets the flag of every mode.
func (v sharedValue) Set(s string) error { return errors.Join(v.Value.Set(s), v.other.Set(s)) }

// runAll runs the modes until ctx is done, or until one of them fails. They share one endpoint for probes, and one for
// metrics.
func runAll(ctx context.Context, kubeconfig *rest.Config, modes []mode, namespace string, log logr.Logger) error {
	probes, err := listenForProbes(ctx, modes[0].telemetry.Health)
	if err != nil {
		return err
	}
	ready := &readiness{want: len(modes)}
	group, ctx := errgroup.WithContext(ctx)
	for i, m := range modes {
		share(m, ready, i == 0)
		as := rest.CopyConfig(kubeconfig)
		as.Impersonate.UserName = "system:serviceaccount:" + namespace + ":apitoken-" + m.cmd.Name()
		group.Go(func() error { return m.run(ctx, as, log.WithName(m.cmd.Name())) })
	}
	return answerProbes(probes, ready, group.Wait)
}

// share sets up a mode for a process that it shares with others. One mode serves the metrics of all.
func share(m mode, ready *readiness, servesMetrics bool) {
	m.telemetry.Health = "0"
	m.telemetry.AddReadyzCheck = func(_ string, check healthz.Checker) error { return ready.add(m.cmd.Name(), check) }
	if !servesMetrics {
		m.telemetry.Metrics = "0"
	}
	if s := m.serving; s != nil {
		s.Registry = prometheus.WrapRegistererWith(prometheus.Labels{"mode": m.cmd.Name()}, metrics.Registry)
		s.Audit = &wholeLines{out: s.Audit}
	}
}

// shareCertificate has webhook and portal serve what the controller has in its Secret, unless files are named. So they need not wait
// for a kubelet that writes the Secret into files.
func shareCertificate(modes []mode) error {
	o := modes[0].controller
	hosts, err := o.CertificateHosts()
	if err != nil || len(hosts) == 0 {
		return err
	}
	held := &serving.Held{}
	o.Serve = held.Hold
	for _, m := range modes {
		if s := m.serving; s != nil && s.TLS.Cert == "" && s.TLS.Key == "" {
			s.TLS.Held = held
		}
	}
	return nil
}

// listenForProbes returns nil if address turns probes off.
func listenForProbes(ctx context.Context, address string) (net.Listener, error) {
	if address == "0" {
		return nil, nil
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listening for probes: %w", err)
	}
	return listener, nil
}

// answerProbes serves /healthz and /readyz until wait returns. The listener may be nil.
func answerProbes(listener net.Listener, ready *readiness, wait func() error) error {
	if listener == nil {
		return wait()
	}
	mux := http.NewServeMux()
	mux.Handle("/healthz", healthz.CheckHandler{Checker: healthz.Ping})
	mux.Handle("/readyz", healthz.CheckHandler{Checker: ready.check})
	server := serving.NewHTTP(mux, probeTimeout)
	var group errgroup.Group
	group.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("answering probes: %w", err)
		}
		return nil
	})
	return errors.Join(wait(), server.Close(), group.Wait())
}

// readiness is that of all modes together.
type readiness struct {
	want int

	mu     sync.Mutex
	checks map[string]healthz.Checker
}

func (r *readiness) add(mode string, check healthz.Checker) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.checks == nil {
		r.checks = map[string]healthz.Checker{}
	}
	r.checks[mode] = check
	return nil
}

// check fails until every mode has a check, and as long as one fails.
func (r *readiness) check(request *http.Request) error {
	r.mu.Lock()
	checks := maps.Clone(r.checks)
	r.mu.Unlock()
	if len(checks) < r.want {
		return fmt.Errorf("%d of %d modes have started", len(checks), r.want)
	}
	for mode, check := range checks {
		if err := check(request); err != nil {
			return fmt.Errorf("%s: %w", mode, err)
		}
	}
	return nil
}

// wholeLines writes only whole lines, because two logs share the output.
type wholeLines struct {
	out  io.Writer
	rest []byte
}

// Write writes what ends with p, and keeps the begun line.
func (w *wholeLines) Write(p []byte) (int, error) {
	w.rest = append(w.rest, p...)
	end := bytes.LastIndexByte(w.rest, '\n') + 1
	if end == 0 {
		return len(p), nil
	}
	_, err := w.out.Write(w.rest[:end])
	w.rest = append(w.rest[:0], w.rest[end:]...)
	if err != nil {
		return len(p), fmt.Errorf("writing the log: %w", err)
	}
	return len(p), nil
}
